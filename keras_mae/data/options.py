"""How data sets are computed."""

from __future__ import annotations

import tensorflow as tf


def untuned(dataset: tf.data.Dataset, one_thread_each: bool = False) -> tf.data.Dataset:
    """The data set without tf.data's tuner, in order: as many elements at a time as there are cores, at most 16.

    The tuner sleeps up to a minute between its looks, and the end of an iterator waits until it wakes.

    Args:
        dataset: any data set.
        one_thread_each: whether each element is made by one thread, where many are made at a time.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    if one_thread_each:
        options.threading.max_intra_op_parallelism = 1
    return dataset.with_options(options)
