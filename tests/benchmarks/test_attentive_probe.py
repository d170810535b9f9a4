"""The benchmark of attentive probes: its images, its table, and short forms of it."""

import keras
import numpy as np
import pytest

from benchmarks import attentive_probe
from benchmarks.continued import summary, table
from keras_mae.models import ImageClassifier, ViTEncoder
from keras_mae.optimizers import LARS


def test_the_table():
    """Of two seeds; the gain is above the better of the linear probes."""
    seeds = [
        {"digits": attentive_probe.with_gain({"linear, mean": 0.7, "linear, class token": 0.72, "attentive": value})}
        for value in (0.80, 0.82)
    ]
    assert table(summary(seeds), "test accuracy, %").splitlines() == [
        "| test accuracy, % | linear, mean | linear, class token | attentive | gain |",
        "|---|---|---|---|---|",
        "| digits | 70.0 ± 0.0 | 72.0 ± 0.0 | 81.0 ± 1.4 | 9.0 ± 1.4 |",
    ]


def marked(count, seed):
    """Noise, and at a random place one of four marks, which is the class."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 160, (count, 16, 16, 1)), np.arange(count) % 4
    marks = np.array([[[1, 0], [0, 1]], [[1, 0], [1, 0]], [[1, 1], [0, 0]], [[0, 0], [1, 1]]]).repeat(2, 1).repeat(2, 2)
    for image, label in zip(images, labels, strict=True):
        top, left = 4 * rng.integers(4, size=2)
        image[top : top + 4, left : left + 4, 0] = 100 + 150 * marks[label]
    return images.astype("uint8"), labels


@pytest.mark.medium
def test_attention_finds_what_the_mean_drowns():
    """An encoder that was not trained, and marks on one patch of sixteen: 100 against 70 % here, 3 points are asked."""
    keras.utils.set_random_seed(0)
    encoder, accuracies = ViTEncoder((16, 16, 1), 4, hidden_dim=32, num_layers=2, num_heads=2), {}
    (images, labels), (tested, expected) = marked(512, 0), marked(256, 1)
    for pooling in ("mean", "attentive"):
        probe = ImageClassifier(encoder, 4, pooling, 0, layer=2, num_queries=8)
        probe.compile(optimizer=LARS(10.0), jit_compile=False)
        probe.fit(probe.features(images).numpy(), labels, batch_size=64, epochs=15, verbose=0)
        found = probe(probe.features(tested)).numpy().argmax(axis=1)
        accuracies[pooling] = 100 * np.mean(found == expected)
    assert accuracies["attentive"] >= accuracies["mean"] + 3 and accuracies["attentive"] > 95


@pytest.mark.slow
def test_a_seed(tmp_path, monkeypatch):
    """After two epochs on digits; a second call takes what is there."""
    monkeypatch.setattr(attentive_probe, "EPOCHS", {"digits": (2,)})
    accuracies = attentive_probe.measure(str(tmp_path), seed=0)
    found = accuracies["digits, 2 epochs"]
    assert list(found) == list(attentive_probe.PROBES)
    assert attentive_probe.with_gain(found)["gain"] >= 0.03
    assert attentive_probe.measure(str(tmp_path), seed=0) == accuracies
