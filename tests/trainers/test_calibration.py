"""The expected calibration error: by hand, by the definition, and of probabilities that are right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_mae.trainers.calibration import BINS, Calibration


def calibration_of(probabilities, true, batch=1000):
    made = Calibration()
    for begin in range(0, len(true), batch):
        made.add(np.asarray(probabilities)[begin : begin + batch], np.asarray(true)[begin : begin + batch])
    return made


def test_by_hand():
    """Two examples at 0.9, of which one comes true, and two at 0.2, of which none does."""
    made = calibration_of([0.9, 0.9, 0.2, 0.2], [True, False, False, False])
    assert made.error == pytest.approx((2 * abs(0.5 - 0.9) + 2 * abs(0 - 0.2)) / 4)
    assert made.count.tolist() == [0, 0, 2] + [0] * 10 + [2, 0]
    assert made.mean_probability[[2, 13]] == pytest.approx([0.2, 0.9]) and np.isnan(made.mean_probability[0])
    assert made.true_share[[2, 13]].tolist() == [0, 0.5] and np.isnan(made.true_share[0])
    assert Calibration().error == 0


@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 10_000))
def test_by_the_definition(examples, batch, seed):
    """Bins are open on the left, as in the paper; 0 is in the first."""
    rng = np.random.default_rng(seed)
    probabilities = np.where(rng.random(examples) < 0.3, rng.integers(0, 5, examples) / 4, rng.random(examples))
    true = rng.random(examples) < 0.5
    expected = 0.0
    for number in range(BINS):
        inside = (probabilities > number / BINS) & (probabilities <= (number + 1) / BINS)
        inside |= (probabilities == 0) & (number == 0)
        if inside.any():
            expected += inside.mean() * abs(true[inside].mean() - probabilities[inside].mean())
    assert calibration_of(probabilities, true, batch).error == pytest.approx(expected, abs=1e-12)


def test_right_probabilities_have_a_small_error():
    rng = np.random.default_rng(0)
    probabilities = rng.random(100_000)
    assert calibration_of(probabilities, rng.random(100_000) < probabilities).error < 0.01
    assert calibration_of(probabilities, rng.random(100_000) < probabilities**2).error > 0.1
