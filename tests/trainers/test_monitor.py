"""Features are measured while pretraining, and the best epoch is kept."""

import json
import math
import os
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, open_source
from keras_mae.models.saved_files import load_model_file
from keras_mae.trainers import monitor as module
from keras_mae.trainers import run
from keras_mae.trainers.knn import knn
from keras_mae.trainers.knn_config import KnnConfig, KnnEncoder
from keras_mae.trainers.monitor import Monitor, make_monitor
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.quality_measures import alignment, consistency, rankme
from keras_mae.trainers.quality_unlabelled import UnlabelledQuality
from keras_mae.trainers.settings import changed
from keras_mae.trainers.training_parts import CroppedData
from tests.base import fill_randomly, random_images, small_encoder, small_mae, weights_of
from tests.trainers.pretraining import CONFIG, log_of, rewound

EPOCHS, STEPS = 5, 4  # of 16 out of 64 images
SETTINGS = (f"epochs={EPOCHS}", "batch_size=16", "evaluate_every=2", "evaluation_images=1000")
MEASURED = changed(CONFIG, SETTINGS)


class Fixed:
    """Measures that are known beforehand; an error in place of None."""

    def __init__(self, values, name="knn"):
        self.names, self.corrupt, self._values, self.calls = [name], [], iter(values), 0

    def __call__(self):
        self.calls += 1
        value = next(self._values)
        if value is None:
            raise ValueError("features are not finite")
        if isinstance(value, Exception):
            raise value
        return {self.names[0]: value}

    def described(self):
        return "something"

    def counts(self):
        return {"validation_images": 4}


def epochs_of(folder, values, every=1, stop_after=None, epochs=10, resumed_after=0):
    """Ends epochs with a model whose weights are other ones each time, and writes the log as a run does."""
    mae, folder = small_mae(image_shape=(8, 8, 1)), run.RunFolder(str(folder))
    quality = Fixed(values)
    monitor = Monitor(mae, [quality], every, epochs, folder, "knn", stop_after)
    monitor.set_model(mae)
    mae.stop_training = monitor.start(resumed_after)
    for epoch in range(resumed_after, epochs):
        if mae.stop_training:
            break
        fill_randomly(mae, seed=epoch + 1)
        logs = {"loss": 1.0 / (epoch + 1)}
        monitor.on_epoch_end(epoch, logs)
        with open(folder / run.LOG, "a") as file:
            file.write(json.dumps({"epoch": epoch + 1, **logs, "seconds": 1.0}) + "\n")
    return monitor, mae, quality


def test_the_model_of_the_best_epoch_is_kept(tmp_path, caplog):
    caplog.set_level("INFO", logger="keras_mae")
    monitor, _, quality = epochs_of(tmp_path, [0.25, 0.75, 0.5], every=2, epochs=5)
    assert quality.calls == 3  # after epochs 2, 4 and 5
    log = log_of(run.RunFolder(str(tmp_path)))
    assert [one.get("knn") for one in log] == [None, 0.25, None, 0.75, 0.5]
    assert [one["epoch"] for one in log if "evaluation_seconds" in one] == [2, 4, 5]
    best = load_model_file(str(tmp_path / run.BEST))
    expected = fill_randomly(small_mae(image_shape=(8, 8, 1)), seed=4)
    assert all((a == b).all() for a, b in zip(weights_of(best), weights_of(expected), strict=True))
    results = monitor.results()
    assert results["best"] == {"epoch": 4, "knn": 0.75, "loss": 0.25}
    expected = {"knn": 0.5, "loss": 0.2, "monitor": "knn", "evaluations": 3, "evaluate_every": 2, "epochs": 5}
    assert results | {**expected, "seconds": 5.0, "validation_images": 4} == results
    assert 0 < results["evaluation_percent"] < 100
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("epoch 2: kNN 25.0 % (best); ") and lines[0].endswith(" % of the time so far")
    assert lines[2].startswith("epoch 5: kNN 50.0 % (best: epoch 4); ")
    assert monitor.last_line(results).startswith("best.keras is epoch 4 of 5: kNN 75.0 %, and kNN 50.0 % in the last")


def test_waiting_ends_the_run_and_a_resumed_one_ends_there(tmp_path, caplog):
    caplog.set_level("INFO", logger="keras_mae")
    values = [0.5, 0.75, 0.75, 0.5, 0.9]
    _, mae, quality = epochs_of(tmp_path / "whole", values, stop_after=2)
    assert mae.stop_training and quality.calls == 4
    assert caplog.records[-1].getMessage() == "stopped after epoch 4: no evaluation since epoch 2 was better"
    _, mae, quality = epochs_of(tmp_path / "whole", values, stop_after=2, resumed_after=4)
    assert mae.stop_training and not quality.calls
    epochs_of(tmp_path / "cut", values[:3], epochs=3)
    _, mae, quality = epochs_of(tmp_path / "cut", values[3:], stop_after=2, resumed_after=3)
    assert mae.stop_training and quality.calls == 1


@pytest.fixture(autouse=True)
def _folders(tmp_path):
    for name in ("whole", "cut"):
        os.makedirs(tmp_path / name, exist_ok=True)


def test_features_that_are_not_finite_end_no_run(tmp_path, caplog):
    monitor, mae, _ = epochs_of(tmp_path, [0.5, None, 0.25], epochs=3)
    assert [math.isnan(one["knn"]) for one in log_of(run.RunFolder(str(tmp_path)))] == [False, True, False]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["epoch 2 is not measured: features are not finite"]
    assert not mae.stop_training and monitor.results()["best"]["epoch"] == 1


def test_an_evaluation_without_memory_ends_no_run(tmp_path, caplog):
    errors = [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "no memory on the GPU\nand a dump")]
    monitor, _, _ = epochs_of(tmp_path, [*errors, 0.5], epochs=3)
    said = ["epoch 1 is not measured: MemoryError", "epoch 2 is not measured: no memory on the GPU"]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == said
    assert monitor.results()["best"]["epoch"] == 3


def test_an_evaluation_draws_no_random_number_and_counts_no_call(tmp_path):
    """The states of all generators, and the numbers that TensorFlow draws next."""
    mae = small_mae(image_shape=(16, 16, 3))
    source = ArraySource(random_images(12, (16, 16, 3)))
    quality = UnlabelledQuality(mae.encoder, source, CroppedData())
    monitor = Monitor(mae, [quality], 1, 3, run.RunFolder(str(tmp_path)), "consistency")
    monitor.set_model(mae)

    def drawn(act):
        keras.utils.set_random_seed(3)
        state = tf.random.get_global_generator().state.numpy()
        act()
        assert (tf.random.get_global_generator().state.numpy() == state).all()
        return random.random(), np.random.uniform(), float(tf.random.uniform([])), float(keras.random.uniform([]))

    logs = {}
    assert drawn(lambda: monitor.on_epoch_end(0, logs)) == drawn(lambda: None)
    assert set(logs) == {"rankme", "alignment", "consistency", "evaluation_seconds"}
    assert int(mae.training_calls) == 0


def test_measures_without_labels_are_those_of_whole_images_and_two_crops():
    encoder, images = small_encoder(), random_images(30, (8, 12, 3))
    quality = UnlabelledQuality(encoder, ArraySource(images), CroppedData(crop_scale=None, flip=False, crop_ratio=1.0))
    found = quality()

    def features(some):
        return encoder.encode(np.asarray(some, "float32")).patches.numpy().mean(axis=1)

    views = np.concatenate(list(quality._views.as_numpy_iterator()))
    assert quality.encoded == 90 and len(views) == 60
    assert not (views[::2] == views[1::2]).all(axis=(1, 2, 3)).any()  # though the run crops nothing
    first, second = features(views[::2]), features(views[1::2])
    assert found["rankme"] == pytest.approx(rankme(features(images)), rel=1e-4)  # float32
    assert found["alignment"] == pytest.approx(alignment(first, second), rel=1e-4)
    assert found["consistency"] == pytest.approx(consistency(first, second), abs=1e-9)
    assert found == quality()


def test_a_run_too_short_for_an_evaluation_reads_nothing(arrays, monkeypatch, caplog):
    """By the count, and where it is off."""
    source, mae = open_source(arrays), build(CONFIG)
    monkeypatch.setattr(module, "labelled_subset", lambda *_: pytest.fail("images were looked for"))
    folder = run.RunFolder("nowhere")
    for settings in ([], ["evaluate_every=0"], ["evaluation_images=20"]):
        assert make_monitor(mae, changed(CONFIG, settings), arrays, source, 2, folder) is None
    assert not caplog.records
    monkeypatch.setattr(module, "labelled_subset", lambda *_: None)
    monitor = make_monitor(mae, changed(CONFIG, ["evaluate_every=3"]), arrays, source, 2, folder)
    assert monitor.described().endswith("and two crops of each; best.keras is the best by RankMe")
    assert make_monitor(mae, changed(CONFIG, ["monitor=consistency"]), arrays, source, 2, folder) is None
    (record,) = caplog.records
    assert record.getMessage().startswith("nothing is evaluated while training: an evaluation costs about as much as ")


def test_labels_that_are_asked_for_and_missing(arrays):
    config = changed(CONFIG, ["monitor=ridge", "evaluate_every=1"])
    with pytest.raises(ValueError, match="monitor=ridge needs labels, and npz:.* has none that can be told apart"):
        make_monitor(build(config), config, arrays, open_source(arrays), 2, run.RunFolder("nowhere"))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Images of two kinds of light, and others to test on."""
    path = tmp_path_factory.mktemp("labelled") / "images.npz"
    draw, arrays = np.random.default_rng(0), {}
    for name, number in (("", 64), ("validation_", 48)):
        labels = np.arange(number) % 2
        light = draw.uniform(0, 110, (number, 1, 1, 1)) + 80 * labels[:, None, None, None]
        arrays[f"{name}images"] = (light + draw.uniform(0, 30, (number, 16, 16, 3))).astype("uint8")
        arrays[f"{name}labels"] = labels
    np.savez(path, **arrays)
    return f"npz:{path}"


@pytest.fixture(scope="module")
def measured(labelled, tmp_path_factory):
    """An uninterrupted run: its folder, and the model that `pretrain` returned."""
    output = str(tmp_path_factory.mktemp("measured") / "run")
    return run.RunFolder(output), pretrain(MEASURED, labelled, output)


@pytest.mark.medium
def test_a_run_logs_its_measures_and_its_best_epoch_gives_the_same_again(measured, labelled):
    folder, _ = measured
    log = log_of(folder)
    assert [one["epoch"] for one in log if {"knn", "ridge", "evaluation_seconds"} <= set(one)] == [2, 4, 5]
    with open(folder / run.RESULTS) as file:
        results = json.load(file)
    best = max((one for one in log if "knn" in one), key=lambda one: one["knn"])
    assert results["best"] == {name: best[name] for name in ("epoch", "knn", "ridge", "loss")}
    assert (results["train_images"], results["validation_images"]) == (64, 48)
    assert results["knn"] == log[-1]["knn"] and 0 < results["evaluation_percent"] < 100
    again = knn(KnnConfig(encoder=KnnEncoder(run=folder / run.BEST)), labelled)
    assert round(again["top1"]["20"], 6) == best["knn"] > 0.5
    assert isinstance(load_model_file(folder / run.BEST), keras.Model)
    (name,) = os.listdir(folder / "tensorboard/train")
    events = tf.compat.v1.train.summary_iterator(os.path.join(folder / "tensorboard/train", name))
    tags = {value.tag for event in events for value in event.summary.value}
    assert {"epoch_knn", "epoch_ridge", "epoch_evaluation_seconds"} <= tags


@pytest.mark.medium
def test_an_interrupted_run_has_the_same_measures_and_the_same_best_epoch(measured, labelled, tmp_path):
    output = rewound(measured[0].path, str(tmp_path / "run"), 4 * STEPS)
    pretrain(MEASURED, labelled, output, resume=True)
    one, other = (log_of(folder) for folder in (run.RunFolder(output), measured[0]))
    keys = ("epoch", "knn", "ridge")
    assert [[line.get(key) for key in keys] for line in one] == [[line.get(key) for key in keys] for line in other]
    with open(os.path.join(output, run.RESULTS)) as file, open(measured[0] / run.RESULTS) as whole:
        assert json.load(file)["best"] == pytest.approx(json.load(whole)["best"], abs=2e-6)  # the loss' last decimal
    best = [weights_of(load_model_file(os.path.join(path, run.BEST))) for path in (output, measured[0].path)]
    for after, expected in zip(*best, strict=True):
        np.testing.assert_allclose(after, expected, rtol=0, atol=1e-6)  # sums that threads split in another way


@pytest.mark.medium
def test_another_choice_of_labels_is_no_resumption(measured, labelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"evaluation.labelled_data: None there, 'npz:other.npz' now"):
        np.savez("other.npz", images=random_images(40, (16, 16, 3)), labels=np.arange(40) % 2)
        pretrain(changed(MEASURED, ["labelled_data=npz:other.npz"]), labelled, measured[0].path, resume=True)
