"""Linear layers."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_mae.layers.kernels import with_kernel


class Dense(keras.layers.Dense):
    """Keras' `Dense`, `activation(x W + b)`, whose bias has its true gradient in bfloat16 on a processor.

    That gradient is a sum over all tokens of a batch. TensorFlow's `BiasAddGrad`, which Keras' layer brings, adds in
    bfloat16 on a processor: of 3,152 random numbers its sum is off by up to 0.4 of the standard deviation of such sums.

    Args:
        units, **kwargs: as of `keras.layers.Dense`.

    Call arguments:
        inputs: tensor `(..., C)`.

    Returns:
        Tensor `(..., units)`.
    """

    @with_kernel("dense")
    def call(self, inputs, training=None):
        y = keras.ops.matmul(inputs, self.kernel)
        if self.use_bias:
            y = tf.add(y, tf.cast(self.bias, y.dtype))  # not `bias_add`
        return y if self.activation is None else self.activation(y)
