"""The benchmark of overlap, with batches that take a known time and no processor."""

import time

import pytest
import tensorflow as tf

from benchmarks.accelerator.overlap import seconds_of_batches, seconds_of_fit

SECONDS = 0.1


@pytest.mark.medium
def test_fit_makes_batches_while_a_step_waits():
    def make(number):
        time.sleep(SECONDS)
        return number

    batches = tf.data.Dataset.range(1000).map(lambda number: tf.numpy_function(make, [number], tf.int64))
    batches = batches.map(lambda number: tf.ensure_shape(number, ())[None])
    assert seconds_of_batches(batches, 4) >= 0.95 * SECONDS
    # one after the other it would be twice as long
    assert 0.95 * SECONDS <= seconds_of_fit(batches, 8, SECONDS) < 1.9 * SECONDS
