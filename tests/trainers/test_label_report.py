"""The report of several labels: its numbers against scikit-learn's, its sentences and pictures."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from keras_mae.trainers.label_report import LabelReport

SIX = 1e-6  # decimals of a report


def reported(labels, probabilities, batch=7):
    report = LabelReport([f"label {k}" for k in range(labels.shape[1])])
    for begin in range(0, len(labels), batch):
        report.add(labels[begin : begin + batch].astype("float32"), probabilities[begin : begin + batch])
    return report


@settings(max_examples=30)  # scikit-learn takes 40 ms each
@given(st.integers(2, 50), st.integers(1, 4), st.sampled_from([2, 4, 1000]), st.integers(0, 10_000))
def test_against_scikit_learn(images, count, levels, seed):
    rng = np.random.default_rng(seed)
    labels = rng.random((images, count)) < rng.random(count)
    scores = (rng.integers(0, levels + 1, (images, count)) / levels).astype("float32")
    results = reported(labels, scores).results()
    assert (results["images"], results["labels"]) == (images, count)
    kept = []
    for k, one in enumerate(results["per_label"]):
        positive, predicted = labels[:, k], scores[:, k] > 0.5
        assert (one["positives"], one["predicted"]) == (positive.sum(), predicted.sum())
        brier = metrics.brier_score_loss(positive, scores[:, k], pos_label=True)
        assert one["brier"] == pytest.approx(brier, abs=SIX)
        if positive.all() or not positive.any():
            assert [one[name] for name in ("auc", "average_precision", "precision", "recall", "f1")] == [None] * 5
            continue
        expected = [
            metrics.roc_auc_score(positive, scores[:, k]),
            metrics.average_precision_score(positive, scores[:, k]),
            *metrics.precision_recall_fscore_support(positive, predicted, average="binary", zero_division=0)[:3],
        ]
        found = [one[name] for name in ("auc", "average_precision", "precision", "recall", "f1")]
        np.testing.assert_allclose(found, expected, atol=SIX)
        kept.append(k)
    if kept:
        for name, function in (("auc", metrics.roc_auc_score), ("average_precision", metrics.average_precision_score)):
            expected = function(labels[:, kept], scores[:, kept], average="macro")
            assert results[name] == pytest.approx(expected, abs=SIX)
        f1 = [metrics.f1_score(labels[:, k], scores[:, k] > 0.5, zero_division=0) for k in kept]
        assert results["f1"] == pytest.approx(np.mean(f1), abs=SIX)
    else:
        assert results["auc"] is None


def test_sentences():
    labels = np.array([[0, 1, 1], [0, 1, 0]], "float32")
    report = reported(labels, np.full((2, 3), 0.25, "float32"))
    left_out = "left out of the averages of AUC, average precision, precision, recall and F1"
    assert report.results()["notes"] == [
        f"labels that no image has, {left_out} (1 of 3): label 0",
        f"labels that all images have, {left_out} (1 of 3): label 1",
    ]
    head, *rows = report.tables()["labels"]
    assert head[:5] == ["label", "images", "positives", "predicted", "auc"]
    assert [row[4] for row in rows] == ["", "", "0.5"]
    with pytest.raises(ValueError, match="a report needs at least one labelled image, and none came"):
        LabelReport(["a"]).results()


@pytest.mark.medium
@pytest.mark.parametrize(
    ("count", "sides"), [(1, (420, 420)), (5, (1680, 840)), pytest.param(13, (1680, 1260), marks=pytest.mark.slow)]
)
def test_pictures(count, sides):
    """They fit a screen, and no name is taken for a formula or lacks its letters."""
    rng = np.random.default_rng(0)
    report = LabelReport([f"$\\alpha_{k}$, 猫 {'x' * 3 * k}" for k in range(count)])
    report.add(rng.random((40, count)) < 0.3, rng.random((40, count)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = report.pictures()
    assert pictures["calibration"].size == sides and pictures["curves"].size == (960, 480)
    assert all(np.asarray(picture).std() > 10 for picture in pictures.values())
    assert list(LabelReport.pictures(reported(np.ones((3, 1)), np.ones((3, 1))))) == ["calibration"]
