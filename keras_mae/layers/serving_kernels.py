"""Kernels for a model that is served, written as TensorFlow's optimizer for processors looks for them.

It joins a product, its bias and a GELU to one operation, if they are a matrix, `bias_add` and erf. A LayerNorm becomes
one operation if it is written as a normalization of batches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_mae.layers.attention_kernels import wide
from keras_mae.layers.kernels import SQRT_HALF, Kernels, as_tokens, dense_by, rows_of, use_kernels


def _mlp(plain: Callable, hidden, output, x) -> tf.Tensor:
    kernels = [tf.cast(layer.kernel, x.dtype) for layer in (hidden, output)]
    biases = [tf.cast(layer.bias, x.dtype) for layer in (hidden, output)]
    y = tf.nn.bias_add(tf.matmul(rows_of(x), kernels[0]), biases[0])
    half, one, scale = (tf.constant(number, x.dtype) for number in (0.5, 1.0, SQRT_HALF))
    y = half * y * (one + tf.math.erf(y * scale))
    return as_tokens(tf.nn.bias_add(tf.matmul(y, kernels[1]), biases[1]), x)


# Fewer passes over the tokens than Keras' LayerNormalization, which makes more tensors of their size
def _layer_norm(plain: Callable, layer, inputs) -> tf.Tensor:
    x, gain, offset = wide(inputs), wide(layer.gamma), wide(layer.beta)
    centered = x - tf.reduce_mean(x, -1, keepdims=True)
    scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), -1, keepdims=True) + layer.epsilon)
    return tf.cast(centered * scale * gain + offset, inputs.dtype)


def _layer_norm_as_of_batches(plain: Callable, layer, x) -> tf.Tensor:
    """Each token is a channel, whose mean and variance, in float32, are those of its numbers."""
    if x.shape.rank != 3 or None in x.shape[1:]:
        return _layer_norm(plain, layer, x)
    count, width = tf.shape(x)[0] * x.shape[1], x.shape[2]
    nothing = tf.zeros([0])
    normalized = tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(x, [1, count, width, 1]),
        scale=tf.fill([count], 1.0),
        offset=tf.fill([count], 0.0),
        mean=nothing,
        variance=nothing,
        epsilon=layer.epsilon,
        data_format="NCHW",
        is_training=True,
    ).y
    return tf.reshape(normalized, tf.shape(x)) * tf.cast(layer.gamma, x.dtype) + tf.cast(layer.beta, x.dtype)


def _encode(plain: Callable, encoder, *arguments: Any, **keywords: Any) -> Any:
    """In bfloat16 two graphs, for processors and for other devices, of which TensorFlow takes one where it runs.

    A processor that multiplies in bfloat16 has the one operation for LayerNorm, too; in float32 many have not, and
    are slow then.
    """
    if encoder.compute_dtype != "bfloat16":
        return plain(encoder, *arguments, **keywords)

    def by(layer_norm: Callable) -> Callable:
        def encode() -> Any:
            with use_kernels({**SERVING_KERNELS, "layer_norm": layer_norm}):
                return plain(encoder, *arguments, **keywords)

        return encode

    number = tf.raw_ops.DeviceIndex(device_names=["CPU"])
    return tf.switch_case(number, [by(_layer_norm_as_of_batches), by(_layer_norm)])


# For one that multiplies in 8 bits: an MLP's kernel would multiply by the layers' own weights
INT8_KERNELS: Kernels = {"layer_norm": _layer_norm, "dense": functools.partial(dense_by, add=tf.nn.bias_add)}
SERVING_KERNELS: Kernels = {**INT8_KERNELS, "mlp": _mlp, "encode": _encode}
