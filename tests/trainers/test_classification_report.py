"""The report of predictions: its numbers against scikit-learn's, its limits, its sentences and its picture."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from keras_mae.trainers import classification_report
from keras_mae.trainers.classification_report import ClassificationReport
from keras_mae.trainers.confusion_picture import confusion_picture
from keras_mae.trainers.curves import area_under_curve

SIX = 1e-6  # decimals of a report


def drawn_predictions(images, classes, levels, seed):
    """Labels and probabilities, of which many are equal if there are few levels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    weights = 1 + rng.integers(0, levels, (images, classes)) + levels // 2 * np.eye(classes, dtype=int)[labels]
    return labels, (weights / weights.sum(axis=1, keepdims=True)).astype("float32")


def reported(labels, probabilities, batch=7, names=None):
    """The report of predictions that come in batches."""
    classes = probabilities.shape[1]
    report = ClassificationReport(names or [f"class {k}" for k in range(classes)], len(labels))
    ranked = np.argsort(-probabilities, axis=1, kind="stable")
    for begin in range(0, len(labels), batch):
        report.add(*(values[begin : begin + batch] for values in (labels, probabilities, ranked)))
    return report


@pytest.mark.medium
@given(st.integers(1, 60), st.integers(2, 8), st.sampled_from([2, 3, 1000]), st.integers(0, 10_000), st.integers(1, 70))
def test_against_scikit_learn(images, classes, levels, seed, batch):
    labels, probabilities = drawn_predictions(images, classes, levels, seed)
    report, predicted = reported(labels, probabilities, batch), probabilities.argmax(axis=1)
    results, every = report.results(), np.arange(classes)
    np.testing.assert_array_equal(report.confusions, metrics.confusion_matrix(labels, predicted, labels=every))
    np.testing.assert_allclose(results["top1"], metrics.accuracy_score(labels, predicted), atol=SIX)
    present = np.unique(labels)
    averages = metrics.precision_recall_fscore_support(
        labels, predicted, labels=present, average="macro", zero_division=0
    )
    np.testing.assert_allclose([results[name] for name in ("precision", "recall", "f1")], averages[:3], atol=SIX)
    each = metrics.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    areas = []
    for k, one in enumerate(results["per_class"]):
        assert one["images"] == each[3][k] and one["predicted"] == (predicted == k).sum()
        found = [one[name] for name in ("precision", "recall", "f1")]
        if k in present:
            np.testing.assert_allclose(found, [values[k] for values in each[:3]], atol=SIX)
        else:
            assert found == [None] * 3
        if 0 < each[3][k] < images:
            areas.append(metrics.roc_auc_score(labels == k, probabilities[:, k]))
            np.testing.assert_allclose(one["auc"], areas[-1], atol=SIX)
        else:
            assert one["auc"] is None
    if classes == 2 and areas:
        np.testing.assert_allclose(results["auc"], metrics.roc_auc_score(labels, probabilities[:, 1]), atol=SIX)
    elif areas:
        np.testing.assert_allclose(results["auc"], np.mean(areas), atol=SIX)
    else:
        assert results["auc"] is None
    if classes > 5:
        ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
        np.testing.assert_allclose(results["top5"], (ranked == labels[:, None]).any(axis=1).mean(), atol=SIX)
        share = metrics.top_k_accuracy_score(labels, probabilities, k=1, labels=every)
        assert levels < 1000 or results["top1"] == pytest.approx(share, abs=SIX)
    assert ("top5" in results) == (classes > 5)


def test_auc_of_many_classes_is_scikit_learns_one_against_the_rest():
    labels, probabilities = drawn_predictions(200, 4, 3, seed=1)
    probabilities = probabilities.astype("float64")
    expected = metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert reported(labels, probabilities.astype("float32")).results()["auc"] == pytest.approx(expected, abs=SIX)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30))
def test_auc_counts_pairs(pairs):
    scores, positive = (np.array(values) for values in zip(*pairs, strict=True))
    above = [(p > n) + (p == n) / 2 for p in scores[positive] for n in scores[~positive]]
    area = area_under_curve(scores, positive)
    assert area is None if not above else area == pytest.approx(np.mean(above), abs=1e-12)


def test_sentences():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.eye(8, dtype="float32")[[0, 3, 0, 0]]
    assert reported(labels, probabilities).results()["notes"] == [
        "classes without images, left out of the averages (6 of 8): class 2, class 3, class 4, class 5, class 6 and 1 "
        "more",
        "classes that were never predicted, whose precision counts as 0 (1 of 8): class 1",
    ]
    (absent, one) = reported(labels[:2], probabilities[:2, :4]).results()["notes"]
    assert absent.endswith("(3 of 4): class 1, class 2, class 3")
    assert one == "all images are of one class, so there is no AUC"
    with pytest.raises(ValueError, match="a report needs at least one labelled image, and none came"):
        ClassificationReport(["a", "b"], 5).results()


def test_probabilities_of_a_large_set_are_not_kept(monkeypatch):
    labels, probabilities = drawn_predictions(40, 3, 100, seed=0)
    expected = reported(labels, probabilities).results()
    monkeypatch.setattr(classification_report, "_ROOM", 4 * 3 * 40 - 1)
    report = reported(labels, probabilities)
    results = report.results()
    assert not report.keeps_scores and results["auc"] is None and results["per_class"][0]["auc"] is None
    assert results["notes"] == [
        "there is no AUC: it needs all probabilities at once, 0.0 GiB, and at most 0 GiB are kept"
    ]
    assert {**expected, "auc": None, "notes": results["notes"], "per_class": results["per_class"]} == results


@pytest.mark.medium
@pytest.mark.parametrize(
    ("classes", "sides"),
    [(2, (400, 700)), pytest.param(100, (1300, 1700), marks=pytest.mark.slow), (130, (1300, 1700))],
)
def test_the_picture(classes, sides):
    """It fits a screen, dark cells lie on the diagonal, and no name is taken for a formula or lacks its letters."""
    confusions = 30 * np.eye(classes, dtype="int64")
    confusions[0] = 0
    names = [f"$\\alpha_{k}$, 猫 {'x' * k}" for k in range(classes)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = confusion_picture(confusions, names)
    assert sides[0] <= picture.width <= sides[1] + 100
    blue = (np.asarray(picture) == (8, 48, 107)).all(axis=-1)  # the colour of a share of 1
    rows, columns = np.nonzero(blue[:, : int(0.9 * picture.width)])
    assert len(rows) > 1000 and (rows.max() - rows.min() > picture.height / 4 or classes == 2)
    if classes > 2:
        assert np.corrcoef(rows, columns)[0, 1] > 0.999
