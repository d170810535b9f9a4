"""Stochastic depth."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed


@keras.saving.register_keras_serializable(package="keras_mae")
class DropPath(keras.layers.Layer):
    """Drops a residual branch for a whole example, and scales the others to keep the mean.

    With a seed, the draw is a function of (seed, step, example), so it is the same for any number of replicas and
    after a resume. Without one it comes from TensorFlow's global generator (`keras.utils.set_random_seed`). In both
    cases the layer has no state that would be part of an export.

    Args:
        rate: probability, in [0, 1), that the branch is dropped.

    Call arguments:
        branch: tensor `(B, ...)`.
        training: False returns the branch unchanged.
        seed: None or an `ExampleSeed`.

    Returns:
        Tensor of the same shape and dtype.

    Reference: arXiv 1603.09382.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"a drop path rate lies in [0, 1), got {rate!r}")
        self.rate = rate

    def call(self, branch, training=False, seed: ExampleSeed | None = None):
        if not training or self.rate == 0:
            return branch
        batch_size = tf.shape(branch)[0]
        noise = tf.random.uniform([batch_size]) if seed is None else seed.uniform(batch_size, ())
        kept = tf.cast(noise >= self.rate, branch.dtype) / tf.cast(1 - self.rate, branch.dtype)
        return branch * tf.reshape(kept, [-1] + [1] * (branch.shape.rank - 1))

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}
