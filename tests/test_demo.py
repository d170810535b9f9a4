"""The demo: a short form on a tiny network, and the full one with the accuracies that it must reach."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mae import demo
from keras_mae.data import sources
from keras_mae.models import ViTEncoder
from keras_mae.retrieval.map import write_map
from tests.base import ROOT, TINY_DEMO, random_images

ROWS = ["pretrained encoder", "random encoder", "raw pixels"]
FIGURES = ["linear_probe", "knn", "10_labels_per_class", "10_labels_per_class_std"]


def check_results(results, folder):
    """Everything that results.json and the folder must hold, whatever the figures are."""
    assert list(results["accuracy"]) == ROWS
    for row in results["accuracy"].values():
        assert list(row) == FIGURES and all(0 <= value <= 1 for value in row.values())
    assert set(results["fine_tuning_10_labels_per_class"]) == {"pretrained", "from_scratch"}
    assert set(results["seconds"]) == {"pretraining", "measuring", "total"}
    assert results["seconds"]["total"] >= results["seconds"]["pretraining"] + results["seconds"]["measuring"] > 0
    assert set(results["versions"]) == {"python", "tensorflow", "keras", "numpy", "scikit-learn", "mlxtend"}
    assert results["versions"]["tensorflow"] == tf.__version__
    assert json.loads((folder / "results.json").read_text()) == results
    files = {
        "config.json",
        "seen.gz",
        "log.jsonl",
        "steps.jsonl",
        "results.json",
        "model.keras",
        "encoder.keras",
        "test_digits.npz",
    }
    folders = {"tensorboard", "checkpoints", "reconstructions", "saved_model"}
    assert set(os.listdir(folder)) == files | folders | {
        "reconstructions.png",
        "loss.png",
        "vectors.parquet",
        "map.html",
    }
    assert os.listdir(folder / "saved_model") == ["1"]
    with Image.open(folder / "reconstructions.png") as picture:
        assert picture.size == (4 * (3 * 112 + 28) - 4, 6 * (112 + 8) + 30)  # 24 digits in six rows
        assert len(np.unique(np.asarray(picture))) > 50
    with Image.open(folder / "loss.png") as picture:
        assert picture.size == (640, 360)


@pytest.fixture
def few_digits(monkeypatch):
    """800 of the digits in place of 5,000, 600 of them for training."""
    images, labels = sources._digits()
    monkeypatch.setattr(sources, "_digits", lambda: (images[:800], labels[:800]))
    monkeypatch.setattr(sources, "_DIGITS_TRAIN", 600)


def begun(config, data, output, overwrite):
    """In place of `pretrain`, which discards what is there: everything else is as it was the first time."""
    assert overwrite
    raise KeyboardInterrupt


@pytest.mark.medium
def test_short_form(few_digits, png_and_jpeg, verified_here, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", logger="keras_mae")
    folder = tmp_path / "demo"
    # UMAP compiles itself for longer than all else here takes
    monkeypatch.setattr(demo, "write_map", lambda vectors, path, method: write_map(vectors, path))
    results = demo.run_demo(str(folder), settings=TINY_DEMO, seed=3)
    check_results(results, folder)
    assert results["seed"] == 3 and results["recipe"] == "mae_digits"
    with open(folder / "log.jsonl") as file:
        losses = [json.loads(line)["loss"] for line in file]
    assert len(losses) == 2 and results["final_loss"] == losses[-1]
    # raw pixels need no training; on 600 of them scikit-learn's logistic regression is right for more than 3 of 4
    assert results["accuracy"]["raw pixels"]["linear_probe"] > 0.75
    text = "\n".join(record.message for record in caplog.records)
    assert demo.table(results["accuracy"], results["fine_tuning_10_labels_per_class"]) in text
    assert all(f"{step}/5  " in text for step in range(1, 6))

    with open(folder / "config.json") as file:
        assert json.load(file)["config"]["run"]["seed"] == 3

    serve = tf.saved_model.load(str(folder / "saved_model" / "1")).signatures["embed"]
    assert serve(images=tf.constant(sources.digits_source("test").images[:2]))["embedding"].shape == (2, 16)

    # a second time it is refused, and with --overwrite the run is made anew
    with pytest.raises(ValueError, match="holds another run"):
        demo.run_demo(str(folder), settings=TINY_DEMO)
    monkeypatch.setattr(demo, "pretrain", begun)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(str(folder), overwrite=True, settings=TINY_DEMO)


def test_features_are_the_class_token_and_means_over_nine_regions_of_the_middle():
    encoder = ViTEncoder((28, 28, 1), patch_size=4, hidden_dim=8, num_layers=1, num_heads=2)
    images = random_images(3, (28, 28, 1))
    outputs = encoder(images)
    tokens = outputs["patch_tokens"].numpy()  # patch 7 * row + column
    found = demo.region_features(encoder, images)
    assert found.shape == (3, 80)
    corner = (tokens[:, 8] + tokens[:, 9] + tokens[:, 15] + tokens[:, 16]) / 4
    right = (tokens[:, 7 * 3 + 4] + tokens[:, 7 * 3 + 5]) / 2
    np.testing.assert_allclose(found[:, :8], outputs["cls_token"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[:, 8:16], corner, rtol=0, atol=1e-5)  # another order of float32 sums
    np.testing.assert_allclose(found[:, 6 * 8 : 7 * 8], right, rtol=0, atol=1e-5)


def test_table():
    rows = {
        "pretrained encoder": dict(zip(FIGURES, (0.9612, 0.9449, 0.901, 0.0123))),
        "raw pixels": dict(zip(FIGURES, (0.904, 0.8899, 0.775, 0.0151))),
    }
    assert demo.table(rows, {"pretrained": 0.9333, "from_scratch": 0.6}).splitlines() == [
        "test accuracy, %        linear probe     kNN   10 labels a class",
        "pretrained encoder              96.1    94.5         90.1 ± 1.2",
        "raw pixels                      90.4    89.0         77.5 ± 1.5",
        "",
        "fine-tuned on 10 labels a class: 93.3 after pretraining, 60.0 from scratch",
    ]


@pytest.mark.slow
def test_full(tmp_path):
    """What the README promises, within six minutes on two cores."""
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "keras_mae", "demo", f"--output={folder}"]
    environment = {**os.environ, "PYTHONPATH": ROOT, "XLA_FLAGS": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "results.json").read_text())
    check_results(results, folder)
    accuracy = results["accuracy"]
    best = accuracy["pretrained encoder"]
    assert best["linear_probe"] >= 0.95 and best["10_labels_per_class"] >= 0.88
    for other in ("random encoder", "raw pixels"):
        # not kNN: on centred digits the nearest pixels are hard to beat
        for figure in ("linear_probe", "10_labels_per_class"):
            assert best[figure] > accuracy[other][figure], (other, figure)
    fine_tuned = results["fine_tuning_10_labels_per_class"]
    assert fine_tuned["pretrained"] > fine_tuned["from_scratch"]
    assert re.search(r"loss 0\.\d{4}: .* images/s, \d\d:\d\d left", done.stderr)
    assert results["seconds"]["total"] <= 360
