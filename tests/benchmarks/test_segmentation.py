"""The benchmark of segmentation: its images, and a short form of it."""

import json
import os

import numpy as np
import pytest

from benchmarks import pasted_digits, segmentation
from keras_mae.trainers import run
from keras_mae.trainers.pretrain import build


@pytest.fixture(autouse=True)
def one_background(monkeypatch):
    """Flat pictures, darker for the test, in place of photographs: to read these takes seconds."""
    digits = np.zeros((20, 28, 28), "uint8")
    digits[:, 8:20, 8:20] = 255
    monkeypatch.setattr(
        pasted_digits,
        "_parts",
        lambda of_test: ([np.full((200, 300), 50.0 if of_test else 100.0)], digits, np.arange(20) % 10),
    )


def test_scenes():
    images, masks = pasted_digits.scenes(20, 0, of_test=False)
    assert images.shape == (20, 32, 32, 1) and images.dtype == "uint8" and masks.dtype == "int32"
    assert [sorted(set(mask.ravel())) for mask in masks] == [[0, number % 10 + 1] for number in range(20)]
    levels = images[..., 0]  # ink of 200 to 255 on 60, of which half counts
    assert 130 <= levels[masks > 0].min() and levels[masks == 0].max() <= 158
    assert set(levels[:, 0, 0]) == {60}
    for other, same in (
        (pasted_digits.scenes(20, 0, of_test=False), True),
        (pasted_digits.scenes(20, 1, False), False),
    ):
        assert np.array_equal(other[1], masks) == same
    assert set(pasted_digits.scenes(3, 0, of_test=True)[0][..., 0][:, 0, 0]) == {30}


@pytest.mark.medium
def test_short_form(tmp_path, monkeypatch):
    """What is there is taken as it is; the frozen encoder is that of the pretraining run."""
    trained = []

    def pretrain(config, data, folder, overwrite):
        assert np.load(data.removeprefix("npz:"))["images"].shape == (7, 32, 32, 1)
        os.makedirs(folder)
        build(config).encoder.save(os.path.join(folder, run.ENCODER))
        trained.append(folder)

    small = {"encoder.num_layers": 1, "encoder.hidden_dim": 16}
    settings = {"UNLABELLED": 7, "LABELLED": 10, "TESTED": 20, "EPOCHS": 2, "BATCH": 5, "PRETRAINING": small}
    ways = {"HEADS": ("linear",), "WAYS": {"pretrained, frozen": (True, 0)}, "pretrain": pretrain}
    for name, value in {**settings, **ways}.items():
        monkeypatch.setattr(segmentation, name, value)
    found = segmentation.measure(str(tmp_path), 0)
    assert trained == [str(tmp_path / "mae")] and 0 < found["pretrained, frozen"]["linear"] < 1
    (tmp_path / run.RESULTS).write_text(json.dumps({"pretrained, frozen": {"linear": 0.5}}))
    assert segmentation.measure(str(tmp_path), 0) == {"pretrained, frozen": {"linear": 0.5}} and len(trained) == 1


@pytest.mark.slow
def test_a_pretrained_encoder_is_worth_ten_points(tmp_path, monkeypatch):
    """One seed of the study, with the stronger head."""
    monkeypatch.undo()  # the photographs
    ways = {way: segmentation.WAYS[way] for way in ("from scratch", "pretrained")}
    monkeypatch.setattr(segmentation, "WAYS", ways)
    monkeypatch.setattr(segmentation, "HEADS", ("mask_transformer",))
    found = segmentation.measure(str(tmp_path), 0)
    gain = found["pretrained"]["mask_transformer"] - found["from scratch"]["mask_transformer"]
    assert gain > 0.1, found
