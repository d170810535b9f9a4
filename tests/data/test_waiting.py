"""The time that steps wait for their batches, with an input that sleeps and with a step that does."""

import time

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data.waiting import Waiting
from tests.base import run_forked

STEPS, SECONDS = 10, 0.05


def batches(seconds):
    """Numbers, each of which takes so long to make, one ahead of the step."""

    def made(number):
        time.sleep(seconds)
        return number

    def slow(number):
        made_slowly = tf.numpy_function(made, [number], tf.int64, stateful=True)
        return tf.ensure_shape(made_slowly, ()), number * 2

    return tf.data.Dataset.range(1000).map(slow).prefetch(1)


def waited(of_input, of_step):
    """The share of the time of ten steps that they waited, after the first; and the batches."""
    waiting, seen = Waiting(), []
    stream = iter(waiting.measured(batches(of_input)))
    seen.append(next(stream))
    before, begin = waiting.seconds, time.perf_counter()
    for _ in range(STEPS):
        seen.append(next(stream))
        time.sleep(of_step)
    share = (waiting.seconds - before) / (time.perf_counter() - begin)
    return share, np.array(seen)


@pytest.mark.parametrize(
    ("of_input", "of_step", "least", "most"),
    [
        (SECONDS, 0.0, 0.8, 1.0),  # the input is the limit
        (0.0, SECONDS, 0.0, 0.1),  # the step is
        (SECONDS, SECONDS / 2, 0.3, 0.65),  # half of a batch's time passes in the step
    ],
)
def test_the_share_that_was_waited(of_input, of_step, least, most):
    share, seen = waited(of_input, of_step)
    assert least <= share <= most
    np.testing.assert_array_equal(seen, np.stack([np.arange(STEPS + 1), 2 * np.arange(STEPS + 1)], axis=1))


def test_other_data_sets_count_by_themselves():
    one, other = Waiting(), Waiting()
    list(one.measured(batches(0.02).take(3)))
    assert one.seconds > 0.03 and other.seconds == 0
    np.testing.assert_array_equal(list(other.measured(tf.data.Dataset.range(3))), [0, 1, 2])


@pytest.mark.medium
def test_nothing_is_measured_where_results_must_be_deterministic():
    program = (
        "import tensorflow as tf; from keras_mae.data.waiting import Waiting; print(Waiting.if_possible() is None); "
        "tf.config.experimental.enable_op_determinism(); print(Waiting.if_possible() is None)"
    )
    process = run_forked("-c", program)
    assert process.stdout.split() == ["False", "True"], process.stderr[-2000:]
