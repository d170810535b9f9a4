"""LayerNorm, and a faster gradient of it for training."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mae.layers.train_kernels import has_train_kernels, in_one_pass


@keras.saving.register_keras_serializable(package="keras_mae")
class LayerNorm(keras.layers.LayerNormalization):
    """Keras' `LayerNormalization` over the last axis, with a gain and an offset.

    Within `train_kernels` it has its own gradient: the one that TensorFlow derives makes some twenty passes over the
    tokens; this one makes five, and keeps `x`, the mean and the inverse deviation of each token.

    Args:
        epsilon: what is added to the variance.

    Reference: arXiv 1607.06450.
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs: Any) -> None:
        if not epsilon > 0:
            raise ValueError(f"the epsilon of a LayerNorm is above 0, got {epsilon!r}")
        super().__init__(epsilon=epsilon, **kwargs)

    def call(self, inputs):
        return self._with_gradient(inputs) if has_train_kernels() else super().call(inputs)

    def _with_gradient(self, inputs):
        @tf.custom_gradient
        def normalize(x, gain, offset):
            y, mean, scale = _forward(x, gain, offset, self.epsilon)
            return y, lambda gradient: _backward(x, gain, mean, scale, gradient)

        return normalize(inputs, tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {key: config[key] for key in ("name", "trainable", "dtype", "epsilon")}


# Means over a row are products with a vector: XLA adds up the numbers of a row one after the other, but has fast code
# for these.


@in_one_pass
def _forward(x, gain, offset, epsilon):
    tokens, (gain, offset) = _rows(x), (tf.cast(tensor, tf.float32) for tensor in (gain, offset))
    average = tf.ones_like(gain) / gain.shape[0]
    mean = tf.linalg.matvec(tokens, average)[:, None]
    centered = tokens - mean
    scale = tf.math.rsqrt(tf.linalg.matvec(centered * centered, average)[:, None] + epsilon)
    return tf.cast(tf.reshape(centered * scale * gain + offset, tf.shape(x)), x.dtype), mean, scale


@in_one_pass
def _backward(x, gain, mean, scale, gradient):
    normalized, gradient, weights = (_rows(x) - mean) * scale, _rows(gradient), tf.cast(gain, tf.float32)
    product = gradient * normalized
    average = weights / weights.shape[0]
    along_mean, along_normalized = tf.linalg.matvec(gradient, average), tf.linalg.matvec(product, average)
    of_x = scale * (gradient * weights - along_mean[:, None] - normalized * along_normalized[:, None])
    of_gain, of_offset = tf.reduce_sum(product, 0), tf.reduce_sum(gradient, 0)
    return tf.cast(tf.reshape(of_x, tf.shape(x)), x.dtype), *(tf.cast(of, gain.dtype) for of in (of_gain, of_offset))


def _rows(x):
    return tf.reshape(tf.cast(x, tf.float32), [-1, x.shape[-1]])
