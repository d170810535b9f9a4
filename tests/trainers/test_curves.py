"""Curves against scikit-learn's, with many equal scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from keras_mae.trainers.curves import area_under_curve, curve_of, mean_area


@given(st.integers(1, 60), st.sampled_from([1, 3, 1000]), st.floats(0, 1), st.integers(0, 10_000))
def test_against_scikit_learn(images, levels, share, seed):
    rng = np.random.default_rng(seed)
    positive = rng.random(images) < share
    scores = (rng.integers(0, levels, images) / levels).astype("float32")
    curve = curve_of(scores, positive)
    if positive.all() or not positive.any():
        assert curve is None and area_under_curve(scores, positive) is None
        return
    false_positive_rate, recall, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_positive_rate, false_positive_rate, atol=1e-12)
    np.testing.assert_allclose(curve.recall, recall, atol=1e-12)
    precision, recall, _ = metrics.precision_recall_curve(positive, scores)
    np.testing.assert_allclose(curve.precision[::-1], precision, atol=1e-12)
    np.testing.assert_allclose(curve.recall[::-1], recall, atol=1e-12)
    assert curve.average_precision == pytest.approx(metrics.average_precision_score(positive, scores), abs=1e-12)
    assert area_under_curve(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores), abs=1e-12)


def test_mean_of_the_labels_that_have_an_area():
    rng = np.random.default_rng(0)
    scores, positive = rng.random((50, 3)), rng.random((50, 3)) < 0.4
    positive[:, 1] = False
    expected = metrics.roc_auc_score(positive[:, [0, 2]], scores[:, [0, 2]])
    assert mean_area(scores, positive) == pytest.approx(expected, abs=1e-12)
    assert mean_area(scores[:, 1:2], positive[:, 1:2]) is None
