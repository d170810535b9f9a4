"""GELU, and its gradient for training."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_mae.layers.train_kernels import has_train_kernels, in_one_pass

_SQRT_HALF = 0.7071067811865476
_DENSITY_AT_0 = 0.3989422804014327


def dense_of_gelu(dense: keras.layers.Dense, x) -> tf.Tensor:
    """`dense(gelu(x))`: `gelu(x) = x Phi(x)`, with `Phi` the distribution function of the normal one (exact, by erf).

    Outside of `train_kernels` this is Keras' GELU, which TensorFlow fuses into the product before it. Its gradient
    makes some fifteen passes over a tensor that is four times as wide as the tokens, and keeps four such tensors;
    within, it is `dy (Phi(x) + x phi(x))`, and `x` alone is kept: `gelu(x)`, which the layer's gradient needs, is
    computed again in the same pass.

    Args:
        dense: a built layer without an activation.
        x: tensor `(..., dim)`.

    Reference: arXiv 1606.08415.
    """
    if not has_train_kernels():
        return dense(keras.activations.gelu(x, approximate=False))
    kernel, bias = (tf.cast(variable, x.dtype) for variable in (dense.kernel, dense.bias))
    y = _gelu_and_product(tf.reshape(x, [-1, x.shape[-1]]), kernel)
    shape = (
        [-1, *x.shape[1:-1], y.shape[-1]]
        if None not in x.shape[1:]
        else tf.concat([tf.shape(x)[:-1], [y.shape[-1]]], 0)
    )
    return tf.reshape(tf.nn.bias_add(y, bias), shape)


@tf.custom_gradient
def _gelu_and_product(x, kernel):
    def gradient_of(gradient):
        with tf.control_dependencies([gradient]):  # not before it is needed
            of_x, activation = _backward(tf.identity(x), tf.matmul(gradient, kernel, transpose_b=True))
        return of_x, tf.matmul(activation, gradient, transpose_a=True)

    return tf.matmul(_forward(x), kernel), gradient_of


@in_one_pass
def _forward(x):
    wide = tf.cast(x, tf.float32)
    return tf.cast(0.5 * wide * tf.math.erfc(-_SQRT_HALF * wide), x.dtype)


@in_one_pass
def _backward(x, gradient):
    wide = tf.cast(x, tf.float32)
    share = 0.5 * tf.math.erfc(-_SQRT_HALF * wide)
    slope = share + wide * (_DENSITY_AT_0 * tf.exp(-0.5 * wide * wide))
    return tf.cast(tf.cast(gradient, tf.float32) * slope, x.dtype), tf.cast(wide * share, x.dtype)
