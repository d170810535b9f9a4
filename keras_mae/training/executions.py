"""Several steps in one call of TensorFlow, with an epoch's last call cut to the steps that are left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


def in_executions(model: keras.Model, keras_function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A train function that takes `min(steps_per_execution, steps_left)` steps of a data set's iterator.

    Keras 3.15 takes `steps_per_execution` steps in each call, and more than the epoch has in its last one, as the data
    of a run do not end. Here the number is a tensor: the step is traced, and compiled, once for all.

    Args:
        model: with `steps_per_execution`, and `steps_left` of the epoch, which is None for Keras' way.
        keras_function: what Keras has made of the model's step; it takes an iterator, or an iterable of batches.
    """
    step = tf.function(lambda batch: keras_function([batch]), autograph=False, reduce_retracing=True)

    @tf.function(autograph=False, reduce_retracing=True)
    def take(iterator, count):
        logs = step.get_concrete_function(iterator.element_spec).structured_outputs
        zeros = tf.nest.map_structure(lambda value: tf.zeros(value.shape, value.dtype), logs)

        def next_step(done, _):
            return done + 1, step(iterator.get_next())

        return tf.while_loop(lambda done, _: done < count, next_step, [0, zeros], parallel_iterations=1)[1]

    def train_function(iterator: Any) -> Any:
        left, count = model.steps_left, model.steps_per_execution
        of_data_set = isinstance(iterator, (tf.data.Iterator, tf.distribute.DistributedIterator))
        if left is None or count == 1 or model.run_eagerly or not of_data_set:
            return keras_function(iterator)
        return take(iterator, tf.constant(min(count, left)))

    return train_function
