"""The report of numbers: against scikit-learn and NumPy, its sentences and its picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from keras_mae.trainers.number_report import NumberReport

DIGITS = 1e-6  # a report has seven


def reported(labels, predictions, means=None, batch=7):
    report = NumberReport([f"output {k}" for k in range(labels.shape[1])], means)
    for begin in range(0, len(labels), batch):
        report.add(labels[begin : begin + batch], predictions[begin : begin + batch])
    return report


@given(st.integers(2, 50), st.integers(1, 3), st.sampled_from([1e-3, 1.0, 1e6]), st.integers(0, 10_000))
def test_against_scikit_learn(images, count, scale, seed):
    rng = np.random.default_rng(seed)
    labels = scale * (3 + rng.normal(size=(images, count))).astype("float32").astype("float64")
    predictions = labels + scale * rng.normal(size=(images, count)).astype("float32")
    means = [scale * 2.5] * count
    results = reported(labels, predictions, means).results()
    for k, one in enumerate(results["per_output"]):
        truth, found = labels[:, k], predictions[:, k]
        expected = {
            "mae": metrics.mean_absolute_error(truth, found),
            "rmse": metrics.root_mean_squared_error(truth, found),
            "r2": metrics.r2_score(truth, found),
            "correlation": np.corrcoef(truth, found)[0, 1],
            "mae_of_mean": np.abs(truth - means[k]).mean(),
            "rmse_of_mean": np.sqrt(((truth - means[k]) ** 2).mean()),
        }
        for name, value in expected.items():
            assert one[name] == pytest.approx(value, rel=DIGITS, abs=1e-7), name
    assert results["r2"] == pytest.approx(metrics.r2_score(labels, predictions), rel=DIGITS, abs=1e-7)


def test_the_mean_of_the_images_by_default():
    labels = np.array([[0.0], [1.0], [5.0]])
    assert reported(labels, labels).results()["per_output"][0]["mae_of_mean"] == 2
    assert reported(labels, labels, [1.0]).results()["per_output"][0]["mae_of_mean"] == pytest.approx(5 / 3)


def test_sentences():
    labels = np.array([[1.0, 2.0], [1.0, 3.0]])
    report = reported(labels, np.array([[1.0, 2.0], [2.0, 2.0]]))
    results = report.results()
    assert results["notes"] == [
        "outputs whose labels are all alike here, without R^2 and correlation (1 of 2): output 0"
    ]
    assert [one["r2"] for one in results["per_output"]] == [None, -1.0] and results["r2"] == -1.0
    assert [one["correlation"] for one in results["per_output"]] == [None, None]  # the second prediction is constant
    head, first, _ = report.tables()["outputs"]
    assert head[:3] == ["output", "images", "mae"] and first[:5] == ["output 0", "2", "0.5", "0.7071068", ""]
    with pytest.raises(ValueError, match="a report needs at least one labelled image, and none came"):
        NumberReport(["a"]).results()


@pytest.mark.medium
@pytest.mark.parametrize(
    ("count", "sides"), [(1, (420, 420)), (5, (1680, 840)), pytest.param(13, (1680, 1260), marks=pytest.mark.slow)]
)
def test_the_picture(count, sides):
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(6000, count))
    picture = reported(labels, labels, batch=6000).pictures()["scatter"]
    assert picture.size == sides and np.asarray(picture).std() > 10
    assert reported(np.zeros((1, 1)), np.zeros((1, 1))).pictures()["scatter"].size == (420, 420)  # no range
