"""Intersection over union and accuracies of pixels are scikit-learn's, over the whole set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score

from keras_mae.trainers.pixel_report import PixelReport


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 10**6))
def test_as_scikit_learn(classes, images, seed):
    rng = np.random.default_rng(seed)
    report, truths, predictions = PixelReport([f"c{k}" for k in range(classes)]), [], []
    for _ in range(images):
        height, width = rng.integers(1, 9, 2)
        truth = rng.integers(-1, classes, (height, width))
        truth.flat[0] = 0
        predicted = rng.integers(0, rng.integers(1, classes + 1), (height, width))
        report.add(truth, predicted)
        truths.append(truth[truth >= 0])
        predictions.append(predicted[truth >= 0])
    truth, predicted, labels = np.concatenate(truths), np.concatenate(predictions), np.arange(classes)
    np.testing.assert_array_equal(report.confusions, confusion_matrix(truth, predicted, labels=labels))
    found = np.union1d(truth, predicted)
    results = report.results()
    for name, expected in (
        ("mean_iou", jaccard_score(truth, predicted, labels=found, average="macro")),
        ("pixel_accuracy", accuracy_score(truth, predicted)),
        ("mean_accuracy", recall_score(truth, predicted, labels=np.unique(truth), average="macro")),
        ("majority_share", np.bincount(truth).max() / len(truth)),
    ):
        assert results[name] == pytest.approx(expected, abs=1e-6)  # six decimals
    each = jaccard_score(truth, predicted, labels=labels, average=None, zero_division=0)
    for k, row in enumerate(results["per_class"]):
        assert row["iou"] == (pytest.approx(each[k], abs=1e-6) if k in found else None)
        assert (row["accuracy"] is None) == (k not in truth)


def test_absent_classes_are_left_out_and_said():
    report = PixelReport(["sky", "sea", "sand", "fog", "ice"])
    report.add(np.array([[0, 0, 1, -1]]), np.array([[0, 3, 1, 2]]))
    results = report.results()
    assert results["mean_iou"] == round((1 / 2 + 1 + 0) / 3, 6) and results["pixels"] == 3
    assert results["notes"] == [
        "classes neither in the masks nor in the predictions, left out of the mean IoU (2 of 5): sand, ice",
        "classes that are in no mask but predicted, whose IoU is 0 (1 of 5): fog",
    ]


def test_many_classes_and_many_pixels():
    """Counts are whole numbers; beyond 512 classes no table is made for each image."""
    truth = np.random.default_rng(0).integers(0, 600, (50, 60))
    report = PixelReport(list(map(str, range(600))))
    report.add(truth, truth[::-1])
    np.testing.assert_array_equal(
        report.confusions, confusion_matrix(truth.ravel(), truth[::-1].ravel(), labels=range(600))
    )
    small = PixelReport(["a", "b"])
    small.confusions[:] = [[2**53 + 1, 0], [0, 1]]
    small.add(np.zeros((1, 1), int), np.zeros((1, 1), int))
    assert small.confusions[0, 0] == 2**53 + 2


def test_nothing_to_measure():
    report = PixelReport(["a", "b"])
    report.add(np.full((2, 2), -1), np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="a report needs pixels with a label, and there are none in 1 images"):
        report.results()
