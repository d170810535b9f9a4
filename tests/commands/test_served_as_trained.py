"""From images of 16 bits, or of many channels, to a served classifier as a user types it: decoded as in training."""

import csv
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_mae import cli
from keras_mae.data import evaluation_dataset, open_source
from keras_mae.models.saved_files import load_model_file
from keras_mae.trainers.trained_model import find_model
from tests.drawn import TINY, as_image, drawn, encoded, write

CLASSES = ("normal", "pneumonia, left", "pneumonia, right")
QUICK = [f"--set={setting}" for setting in ("epochs=2", "warmup_epochs=1", "batch_size=8", "jit_compile=False")]


def levels(number, channels):
    """Pixels of 12 bits in 16, whose class is their brightness: uint16 `(20, 24, C)`."""
    return 8 * drawn(20, 24, channels, seed=number).astype("uint16") + 600 * (number % 3) + number


def write_data(root, kind):
    """Writes 24 images of three classes; returns the data specification and the number of channels."""
    if kind == "five channels":
        images = np.stack([levels(number, 5) for number in range(24)])
        np.savez(root / "data.npz", images=images, labels=np.arange(24) % 3)
        return f"npz:{root / 'data.npz'}", 5
    form, ending = {"png": ("PNG", "png"), "tiff": ("TIFF", "tif")}[kind]
    for number in range(24):
        path = root / "data" / CLASSES[number % 3] / f"{number:02}.{ending}"
        write(str(path), encoded(as_image(levels(number, 1)), form))
    return f"folder:{root / 'data'}", 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "tiff", "five channels"])
def test_from_images_to_a_served_classifier(tmp_path, kind):
    data, channels = write_data(tmp_path, kind)
    run, probe, model, stats = (str(tmp_path / name) for name in ("run", "probe", "model", "stats.json"))
    predictions = str(tmp_path / "predictions.csv")
    settings = [f"--set={setting}" for setting in TINY]
    for line in (
        ["stats", f"--data={data}", f"--channels={channels}", f"--output={stats}"],
        ["pretrain", f"--data={data}", f"--stats={stats}", "--recipe=mae_small_images", *settings, f"--output={run}"],
        ["linear-probe", f"--run={run}", f"--data={data}", "--recipe=probe_small_images", *QUICK, f"--output={probe}"],
        ["export", f"--run={probe}", "--model=classifier", f"--output={model}"],
        ["predict", f"--run={probe}", f"--data={data}", f"--output={predictions}", "--k=3"],
    ):
        assert cli.main(line) == 0
    with open(predictions, newline="") as file:
        rows = list(csv.DictReader(file))
    names = [str(k) for k in range(3)] if channels == 5 else list(CLASSES)
    found = np.zeros((24, 3))
    for row, one in zip(found, rows, strict=True):
        for suffix in ("", "_2", "_3"):
            row[names.index(one[f"predicted{suffix}"])] = float(one[f"probability{suffix}"])

    trained, source = find_model(probe, "model.keras"), open_source(data)
    classifier = load_model_file(trained.path)
    (images,) = evaluation_dataset(source, classifier.encoder.image_shape, 24, trained.crop_ratio)
    expected = tf.nn.softmax(classifier(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(tf.nn.softmax(classifier(tf.floor(images))) - expected).max() > 1e-3  # what 8 bits would give

    signatures = tf.saved_model.load(os.path.join(model, "1")).signatures
    served = signatures["classify"](images=tf.constant(np.round(257 * images.numpy()).astype("uint16")))
    np.testing.assert_allclose(served["probabilities"], found, atol=1e-5)
    assert ("serving_default" in signatures) == (channels == 1)
    if channels == 1:
        files = tf.constant([tf.io.read_file(path).numpy() for path in source.paths])
        served = signatures["serving_default"](image_bytes=files)
        np.testing.assert_allclose(served["probabilities"], found, atol=1e-5)
        assert [label.decode() for label in served["label"].numpy()] == [row["predicted"] for row in rows]
