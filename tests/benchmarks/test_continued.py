"""The benchmark of going on from weights: its images, its table, and a short form of it."""

import json
import os

import numpy as np
import pytest

from benchmarks import continued
from benchmarks.letters import CLASSES, letters
from keras_mae.trainers import run


def test_letters_are_a_function_of_the_seed():
    images, labels = letters(3, seed=5)
    assert images.shape == (30, 28, 28, 1) and images.dtype == "uint8"
    assert np.bincount(labels).tolist() == [3] * len(CLASSES)
    np.testing.assert_array_equal(letters(3, seed=5)[0], images)
    assert len(np.unique(images.reshape(30, -1), axis=0)) == 30  # no two alike
    assert not np.array_equal(letters(3, seed=6)[0], images)


def test_the_table():
    """Means of 0.5 and 0.7, and a sample's standard deviation of 0.1 / sqrt(2)."""
    seeds = [{"untouched": {"kNN": 0.5}, "continued": {"kNN": value}} for value in (0.65, 0.75)]
    results = continued.summary(seeds)
    assert results == {"untouched": {"kNN": (50.0, 0.0)}, "continued": {"kNN": (70.0, 7.1)}}
    assert continued.table(results).splitlines()[2:] == ["| untouched | 50.0 ± 0.0 |", "| continued | 70.0 ± 7.1 |"]


@pytest.mark.slow
def test_a_seed(tmp_path, monkeypatch):
    """Digits and letters for one epoch; a second call takes what is there."""
    way = "continued, fresh decoder first"
    monkeypatch.setattr(continued, "WAYS", {way: continued.WAYS[way]})
    monkeypatch.setattr(continued, "WARMUP", "warmup_epochs=0")
    monkeypatch.setattr(continued, "DIGITS", ("epochs=1", "warmup_epochs=0", "batch_size=500", "jit_compile=False"))
    monkeypatch.setattr(continued, "SMALL", (*continued.SMALL, "jit_compile=False", "frozen_epochs=1"))
    accuracies = continued.measure(str(tmp_path), seed=0, epochs=2)
    assert list(accuracies) == ["not trained", continued.UNTOUCHED, way]
    assert all(0.1 < value <= 1 for each in accuracies.values() for value in each.values())
    (folder,) = (name for name in os.listdir(tmp_path) if name.startswith("continued"))
    with open(tmp_path / folder / run.CONFIG, encoding="utf-8") as file:
        record = json.load(file)
    assert record["init"]["format"] == "keras" and record["config"]["optimizer"]["frozen_epochs"] == 1
    stamp = os.path.getmtime(tmp_path / folder / run.ENCODER)
    assert continued.measure(str(tmp_path), seed=0, epochs=2) == accuracies
    assert os.path.getmtime(tmp_path / folder / run.ENCODER) == stamp
