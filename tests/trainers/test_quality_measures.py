"""Measures without labels, by hand."""

import math

import numpy as np
import pytest

from keras_mae.trainers.quality_measures import alignment, consistency, rankme


def test_the_effective_rank_of_known_singular_values():
    """Shares 0.5, 0.3 and 0.2, whose entropy is 1.0297 nats."""
    draw = np.random.default_rng(0)
    left, _ = np.linalg.qr(draw.normal(size=(20, 3)))
    right, _ = np.linalg.qr(draw.normal(size=(3, 3)))
    found = rankme((left * [5.0, 3.0, 2.0] @ right.T).astype("float32"))
    assert found == pytest.approx(2.8001, abs=1e-4)
    entropy = -sum(p * math.log(p) for p in (0.5 + 1e-7, 0.3 + 1e-7, 0.2 + 1e-7))
    assert found == pytest.approx(math.exp(entropy), rel=1e-6)  # float32 features


def test_the_effective_rank_at_its_ends():
    assert rankme(np.eye(30, 8)) == pytest.approx(8, rel=1e-5)
    one = np.outer(np.arange(1.0, 31), np.arange(1.0, 9))
    # seven shares of nothing but the epsilon: 7e-7 * 16 nats
    assert rankme(one) == pytest.approx(1, abs=2e-5) and rankme(one) > 1
    assert rankme(np.zeros((5, 3))) == 1.0


def test_alignment_by_hand():
    """Lengths do not count: the same direction 0, a right angle 2, the opposite 4."""
    first = np.array([[1.0, 0], [0, 2], [3, 4], [1, 1]])
    second = np.array([[9.0, 0], [0.5, 0], [-6, -8], [1, 1]])
    assert alignment(first, second) == pytest.approx((0 + 2 + 4 + 0) / 4)


def test_consistency_by_hand():
    """The second view of 0 and 1 find themselves; that of 2 finds 0; those of 3 are as near to 3 as to 4."""
    first = np.array([[1.0, 0, 0], [0, 1, 0], [0.9, 0.9, 0], [0, 0, 1], [0, 0, 2]])
    second = np.array([[2.0, 0.1, 0], [0, 3, 0.1], [1, 0.2, 0], [0, 0, 1], [1, 0, 0]])
    assert consistency(first, second) == pytest.approx((1 + 1 + 0 + 0.5 + 0) / 5)


def test_consistency_is_chance_where_all_features_are_the_same():
    same = np.ones((40, 6))
    assert consistency(same, same) == pytest.approx(1 / 40)


def test_consistency_of_more_images_than_fit_at_once():
    draw = np.random.default_rng(1)
    first = draw.normal(size=(1100, 5))
    second = first + draw.normal(size=(1100, 5))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)]
    nearest = [int(np.argmax([one @ other for other in unit[0]])) for one in unit[1]]
    expected = np.mean(np.array(nearest) == np.arange(1100))
    assert 0.01 < expected < 0.9 and consistency(first, second) == pytest.approx(expected)
