"""Pretraining on a folder of pictures: the run folder, corrupt images, bad input."""

import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_mae
from keras_mae.data import FolderSource, first_images
from keras_mae.data.display import _NOT_FINITE
from keras_mae.trainers import pretrain as program
from keras_mae.trainers import run
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.settings import changed
from tests.base import small_encoder, small_mae, weights_of
from tests.drawn import write_pictures
from tests.trainers.pretraining import CONFIG, STEPS, WITH_PICTURES, log_of


@pytest.mark.medium
def test_the_run_folder_holds_what_it_should(finished, arrays):
    output, _ = finished
    names = {
        "config.json",
        "log.jsonl",
        "steps.jsonl",
        "seen.gz",
        "tensorboard",
        "checkpoints",
        "model.keras",
        "encoder.keras",
        "reconstructions",
    }
    assert set(os.listdir(output.path)) == names
    assert output.config() == (WITH_PICTURES, arrays)
    assert sorted(os.listdir(output / "reconstructions")) == ["epoch_0002.png", "epoch_0003.png"]
    with Image.open(output / "reconstructions/epoch_0003.png") as picture:
        # 16 pictures in four rows, of each four forms, and two lines that say what is normalised by what
        assert picture.size == (4 * (4 * 112 + 32) - 4, 4 * (112 + 8) + 44 + 2 * 17 + 4)
    checkpoints = [name for name in os.listdir(output / "checkpoints") if name.endswith(".index")]
    assert sorted(checkpoints) == ["ckpt-4.index", "ckpt-6.index"]


@pytest.mark.medium
def test_what_is_shown_is_a_sample_and_the_same_after_a_resume(tmp_path, monkeypatch, caplog):
    """Not the first 16 of 40 by name; and what the loss is compared with is said."""
    caplog.set_level("INFO", logger="keras_mae")
    folder = write_pictures(tmp_path / "pictures", 40, size=(16, 16))
    shown = []
    monkeypatch.setattr(program, "draw_reconstructions", lambda model, images, path: shown.append(images))
    monkeypatch.setattr(program, "save_finished", lambda *_: None)

    def in_place_of_training(*_, extra, on_start, **__):
        on_start(0)
        for epoch in range(3):
            extra[0].on_epoch_end(epoch)

    monkeypatch.setattr(program, "train", in_place_of_training)
    for resume in (False, True):
        pretrain(changed(CONFIG, ["pictures_every=1"]), f"folder:{folder}", str(tmp_path / "run"), resume=resume)
    assert len(shown) == 6 and all((images == shown[0]).all() for images in shown)
    everything = first_images(FolderSource(folder), (16, 16, 3), 40, 1.0)
    numbers = [int(np.flatnonzero((everything == image).all(axis=(1, 2, 3)))[0]) for image in shown[0]]
    assert len(set(numbers)) == 16 and max(numbers) > 30 and min(numbers) < 10
    # patches of 48 values and the unbiased variance: 47/48
    assert [r.message for r in caplog.records if "a loss of 0.98 is that of predicting each patch's mean" in r.message]


def test_an_untrained_network_shows_the_picture_in_one_form_only(tmp_path, caplog):
    """Patches whose light says nothing of their neighbours', of 12 bits in 16: what is black at 8 bits."""
    rng = np.random.default_rng(0)
    light = rng.uniform(1, 13, (4, 8, 8, 1)).repeat(4, axis=1).repeat(4, axis=2)
    images = (light + rng.normal(0, 0.3, light.shape)).clip(0, 4095 / 257).astype("float32")
    mae = small_mae(encoder=small_encoder((32, 32, 1)), normalize=True)
    program.draw_reconstructions(mae, images, str(tmp_path / "a" / "shown.png"))
    pixels = np.asarray(Image.open(tmp_path / "a" / "shown.png").convert("L")).astype(float)
    zoom = 4  # 4 times 32 pixels are 128: one form after the other, and four of these in a row
    forms = [
        np.stack([pixels[40 : 40 + 128, 8 + n * (4 * 132 + 16) + kind * 132 :][:, :128] for n in range(4)])
        for kind in range(4)
    ]
    original, masked, leaking, without = (x.reshape(4, 8, 4 * zoom, 8, 4 * zoom).mean(axis=(2, 4)) for x in forms)
    assert original.min() < 30 and original.max() > 225
    hidden = masked == 128
    assert 0.4 < hidden.mean() < 0.6
    assert np.corrcoef(original[hidden], leaking[hidden])[0, 1] > 0.95
    assert abs(np.corrcoef(original[hidden], without[hidden])[0, 1]) < 0.3  # of 128 patches; chance is below 0.18
    np.testing.assert_array_equal(original[~hidden], without[~hidden])
    assert not caplog.records

    mae.decoder.head.bias.assign(np.full(16, np.nan))
    program.draw_reconstructions(mae, images, str(tmp_path / "broken.png"))
    assert caplog.records[-1].getMessage().startswith("4 of 4 reconstructions are not finite: red in ")
    assert (np.asarray(Image.open(tmp_path / "broken.png")) == _NOT_FINITE).all(axis=-1).sum() == 2 * hidden.sum() * 256


@pytest.mark.medium
def test_the_log_has_one_line_an_epoch(finished):
    log = log_of(finished[0])
    assert [record["epoch"] for record in log] == [1, 2, 3]
    assert [record["step"] for record in log] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert all(
        set(record) - {"waiting_for_data"}  # of epochs that are too short to be measured
        == {
            *("epoch", "step", "loss", "skipped_steps", "learning_rate", "seconds", "images_per_second"),
            *("gradient_norm", "largest_gradient_norm", "memory"),
        }
        for record in log
    )
    assert all(0 < record["loss"] < 10 and record["images_per_second"] > 0 for record in log)
    # warm-up ends after the first epoch, and the cosine at 0; in float32
    assert log[0]["learning_rate"] == pytest.approx(CONFIG.optimizer.peak_learning_rate, rel=1e-6)
    assert log[-1]["learning_rate"] == pytest.approx(0, abs=1e-9)


@pytest.mark.medium
def test_tensorboard_has_the_same_numbers(finished):
    output, _ = finished
    (name,) = os.listdir(output / "tensorboard/train")
    found = {}
    for event in tf.compat.v1.train.summary_iterator(os.path.join(output / "tensorboard/train", name)):
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = float(
                np.frombuffer(value.tensor.tensor_content, "float32")[0]
            )
    for tag in ("loss", "learning_rate"):
        expected = {record["epoch"] - 1: record[tag] for record in log_of(output)}
        assert found[f"epoch_{tag}"] == pytest.approx(expected, abs=1e-6)  # the log's losses have six decimals


@pytest.mark.medium
def test_the_models_load_and_are_those_that_were_trained(finished):
    output, mae = finished
    loaded = keras.saving.load_model(output.model_path(run.MODEL))
    assert isinstance(loaded, keras_mae.MaskedAutoencoder)
    for part in ("encoder", "decoder", "masking"):
        assert getattr(loaded, part).get_config() == getattr(mae, part).get_config()
    assert loaded.target.normalize == mae.target.normalize  # its name counts the targets of a process
    encoder = keras.saving.load_model(output.model_path(run.ENCODER))
    assert isinstance(encoder, keras_mae.ViTEncoder)
    for one, other in ((loaded, mae), (encoder, mae.encoder)):
        assert all((a == b).all() for a, b in zip(weights_of(one), weights_of(other), strict=True))
    fresh = build(CONFIG)
    assert any((a != b).any() for a, b in zip(weights_of(fresh), weights_of(mae), strict=True))


@pytest.mark.medium
def test_corrupt_images_are_named_and_counted(tmp_path, caplog):
    folder = write_pictures(tmp_path / "pictures", 120, size=(8, 8), corrupt=(57,))
    config = changed(CONFIG, ["epochs=2", "batch_size=40"])
    caplog.set_level("INFO", logger="keras_mae")
    pretrain(config, f"folder:{folder}", str(tmp_path / "run"))
    messages = [record.message for record in caplog.records if record.name == "keras_mae"]
    assert messages.count(f"skipped, cannot be decoded: {folder}/057.png") == 1
    assert messages[-1] == "1 of 120 images were skipped because they cannot be decoded"
    assert any(message.startswith("120 images, 3 steps an epoch, 2 epochs; ") for message in messages)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["corrupt"] == [{"summary": messages[-1], "names": [f"{folder}/057.png"]}]
    assert record["reference"]["prediction"] == "each patch's mean" and 0 < record["reference"]["loss"] < 10


@pytest.mark.medium
def test_too_many_corrupt_images_end_the_run_even_if_only_training_finds_them(tmp_path):
    looked_at = set(np.linspace(0, 119, 16).astype(int)) | set(range(16))
    bad = [number for number in range(50, 70) if number not in looked_at]
    folder = write_pictures(tmp_path / "pictures", 120, size=(8, 8), corrupt=bad)
    config = changed(CONFIG, ["epochs=2", "batch_size=20"])
    with pytest.raises(
        ValueError, match=r"of 120 images cannot be decoded, more than the tolerated 1 %: .*/05\d.png, "
    ):
        pretrain(config, f"folder:{folder}", str(tmp_path / "run"))
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["batch_size=64"],
            r"a batch of 64 needs as many images, and there are 20 to train on; set a smaller .* --set batch_size=4",
        ),
        (
            ["warmup_epochs=3"],
            "warm-up must be shorter than the run: got warmup_epochs=3 of epochs=3; type --set warmup_epochs=0.15",
        ),
        (["image_size=(15,16)"], "15"),
        (["encoder.hidden_dim=15"], "15"),
        (["mask_ratio=1.0"], r"mask_ratio lies in \(0, 1\), got masking.mask_ratio=1.0"),
        (["mask_ratio=0.99"], "leaves none of the 16 patches visible"),
        (["preset=vit_bas"], "no encoder.preset is called 'vit_bas'; did you mean vit_base_patch16"),
        pytest.param(
            ["channels=2", "mean=None"],
            r"none of the 20 images can be decoded, such as .*000.png \(.+\)",
            marks=pytest.mark.medium,
        ),
        (["crop_ratio=0"], r"crop_ratio lies in \(0, 1\], got data.crop_ratio=0"),
        (
            ["accumulation_steps=3"],
            "batch_size=8 must be divisible by accumulation_steps=3; type --set accumulation_steps=2",
        ),
        (["accumulation_steps=0"], r"accumulation_steps lies in \[1, 1000000\], got optimizer.accumulation_steps=0"),
        (["clip_norm=0"], r"clip_norm lies in \(0, 1000000000\], got optimizer.clip_norm=0"),
        (["checkpoint_steps=0"], r"checkpoint_steps lies in \[1, 1000000\], got run.checkpoint_steps=0"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(settings, message, folder, tmp_path):
    with pytest.raises(ValueError, match=message):
        pretrain(changed(CONFIG, settings), f"folder:{folder}", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
