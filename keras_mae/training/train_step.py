"""One train step for all models: a function of (weights, global batch, seed, step), whatever the number of replicas."""

from __future__ import annotations

import abc
from typing import Any

import keras
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.layers.pixel_range import warn_if_unit_range


class GlobalBatchModel(keras.Model):
    """A `keras.Model` whose `fit` takes the same step on one replica and on many.

    Keras sums the replicas' gradients; a mean loss per replica would take a step that is too long by their number.
    Here each replica's loss is divided by the number of replicas, and the logged loss is the mean over the global
    batch. Everything random in a step is a function of (`seed`, step, index of the example).

    Subclasses implement `batch_loss`.

    Args:
        seed: int, what masks and drop path are drawn from.
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        # `jit_compile="auto"`: Keras compiles the loop over the replicas, which XLA cannot
        self.supports_jit = self.distribute_strategy.num_replicas_in_sync == 1

    @abc.abstractmethod
    def batch_loss(self, data, seed: ExampleSeed, training: bool) -> tf.Tensor:
        """The mean loss over the examples of this replica's batch, a float32 scalar.

        Args:
            data: what the data set yields.
            seed: for everything random.
            training: False in `evaluate`.
        """

    def train_step(self, data) -> dict[str, tf.Tensor]:
        """Forward pass, gradients, all-reduce and update; returns the logs."""
        batch_size = tf.shape(tf.nest.flatten(data)[0])[0]
        seed = ExampleSeed.for_step(self.seed, self.optimizer.iterations, batch_size)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            loss = self.batch_loss(data, seed, training=True)
            scaled_loss = self.optimizer.scale_loss(loss / replicas)
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(scaled_loss, variables), variables, strict=True))
        return self._logs(loss, batch_size)

    def test_step(self, data) -> dict[str, tf.Tensor]:
        """The loss in inference mode; every batch is given the masks of step 0, so that two calls agree."""
        batch_size = tf.shape(tf.nest.flatten(data)[0])[0]
        loss = self.batch_loss(data, ExampleSeed.for_step(self.seed, 0, batch_size), training=False)
        return self._logs(loss, batch_size)

    def _logs(self, loss, batch_size) -> dict[str, tf.Tensor]:
        self._loss_tracker.update_state(loss, sample_weight=batch_size)
        return {metric.name: metric.result() for metric in self.metrics}

    def fit(self, x=None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As `keras.Model.fit`; float images that look like [0, 1] are warned of."""
        warn_if_unit_range(x)
        return super().fit(x, *args, **kwargs)
