"""The benchmark of overlap tells batches that are made ahead from batches that are not."""

import time

import pytest
import tensorflow as tf

from benchmarks.accelerator.overlap import seconds_of_batches, seconds_of_fit

SECONDS = 0.1


def slow_batches():
    def make(number):
        time.sleep(SECONDS)
        return number

    batches = tf.data.Dataset.range(1000).map(lambda number: tf.numpy_function(make, [number], tf.int64))
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # which TensorFlow does by itself
    return batches.map(lambda number: tf.ensure_shape(number, ())[None]).with_options(options)


@pytest.mark.medium
def test_batches_ahead_cost_the_longer_of_both_times_and_others_the_sum():
    ahead, one_by_one = slow_batches().prefetch(2), slow_batches()
    assert seconds_of_batches(one_by_one, 4) >= SECONDS
    assert seconds_of_fit(one_by_one, 8, SECONDS) >= 2 * SECONDS  # both sleep so long, whatever the machine does
    assert SECONDS <= seconds_of_fit(ahead, 8, SECONDS) < 1.9 * SECONDS
