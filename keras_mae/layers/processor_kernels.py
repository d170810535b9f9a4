"""Kernels with own gradients for layers, in train steps that run as a graph on a processor.

Layers are plain; `with_kernel` marks their functions that have a kernel. A kernel gives the same numbers, keeps less
for the backward pass than TensorFlow's gradient, and has XLA fuse elementwise operations into one pass. A step that XLA
compiles whole gains nothing. `python -m benchmarks --only=processor_kernels_vit_tiny` measures each kernel.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

_SQRT_HALF = 0.7071067811865476
_DENSITY_AT_0 = 0.3989422804014327

_on = contextvars.ContextVar("whether layers use kernels", default=False)


@contextlib.contextmanager
def use_kernels(on: bool = True) -> Iterator[None]:
    """Makes layers that are called, or traced, inside use their kernels; for forward and backward pass together."""
    token = _on.set(on)
    try:
        yield
    finally:
        _on.reset(token)


def with_kernel(name: str) -> Callable[[Callable], Callable]:
    """Decorates a plain function: within `use_kernels`, `KERNELS[name](plain, *arguments)` replaces it."""

    def decorate(plain: Callable) -> Callable:
        @functools.wraps(plain)
        def either(*arguments: Any, **keywords: Any) -> tf.Tensor:
            kernel = KERNELS.get(name) if _on.get() else None
            return plain(*arguments, **keywords) if kernel is None else kernel(plain, *arguments, **keywords)

        return either

    return decorate


def _in_one_pass(function: Callable) -> Callable:
    """The function compiled by XLA, once for each shape."""
    return functools.wraps(function)(tf.function(function, jit_compile=True, autograph=False))


# LayerNorm. TensorFlow's gradient makes some twenty passes over the tokens; this one makes five, and keeps `x`, the
# mean and the inverse deviation of each token. Means over a row are products with a vector, for which XLA has fast
# code; it sums a row one number after the other.


def _layer_norm(plain: Callable, layer, inputs) -> tf.Tensor:
    @tf.custom_gradient
    def normalize(x, gain, offset):
        y, mean, scale = _layer_norm_forward(x, gain, offset, layer.epsilon)
        return y, lambda gradient: _layer_norm_backward(x, gain, mean, scale, gradient)

    return normalize(inputs, tf.convert_to_tensor(layer.gamma), tf.convert_to_tensor(layer.beta))


@_in_one_pass
def _layer_norm_forward(x, gain, offset, epsilon):
    tokens, (gain, offset) = _rows(x), (tf.cast(tensor, tf.float32) for tensor in (gain, offset))
    average = tf.ones_like(gain) / gain.shape[0]
    mean = tf.linalg.matvec(tokens, average)[:, None]
    centered = tokens - mean
    scale = tf.math.rsqrt(tf.linalg.matvec(centered * centered, average)[:, None] + epsilon)
    return tf.cast(tf.reshape(centered * scale * gain + offset, tf.shape(x)), x.dtype), mean, scale


@_in_one_pass
def _layer_norm_backward(x, gain, mean, scale, gradient):
    normalized, gradient, weights = (_rows(x) - mean) * scale, _rows(gradient), tf.cast(gain, tf.float32)
    product = gradient * normalized
    average = weights / weights.shape[0]
    along_mean, along_normalized = tf.linalg.matvec(gradient, average), tf.linalg.matvec(product, average)
    of_x = scale * (gradient * weights - along_mean[:, None] - normalized * along_normalized[:, None])
    of_gain, of_offset = tf.reduce_sum(product, 0), tf.reduce_sum(gradient, 0)
    return tf.cast(tf.reshape(of_x, tf.shape(x)), x.dtype), *(tf.cast(of, gain.dtype) for of in (of_gain, of_offset))


def _rows(x):
    return tf.reshape(tf.cast(x, tf.float32), [-1, x.shape[-1]])


# Attention. Only queries, keys and values are kept; the backward pass computes the weights again (arXiv 2205.14135).


def _attention(plain: Callable, qkv, bias=None) -> tf.Tensor:
    if bias is not None:
        return plain(qkv, bias)

    @tf.custom_gradient
    def attend(qkv):
        return plain(qkv), lambda gradient: _attention_backward(qkv, gradient)

    return attend(qkv)


def _attention_backward(qkv, gradient):
    with tf.control_dependencies([gradient]):  # else TensorFlow reuses, and keeps, the weights of the forward pass
        q, k, v = tf.unstack(tf.transpose(tf.identity(qkv), [2, 0, 3, 1, 4]), num=3)
    scale = q.shape[-1] ** -0.5
    weights = tf.nn.softmax(tf.matmul(q * scale, k, transpose_b=True))
    gradient = tf.transpose(gradient, [0, 2, 1, 3])
    of_v = tf.matmul(weights, gradient, transpose_a=True)
    of_weights = tf.matmul(gradient, v, transpose_b=True)
    of_logits = weights * (of_weights - tf.reduce_sum(of_weights * weights, -1, keepdims=True))
    of_q, of_k = tf.matmul(of_logits, k * scale), tf.matmul(of_logits, q * scale, transpose_a=True)
    return tf.transpose(tf.stack([of_q, of_k, of_v]), [1, 3, 0, 2, 4])


# GELU and the product after it. TensorFlow's gradient makes some fifteen passes over a tensor that is four times as
# wide as the tokens, and keeps four such tensors. This one is `dy (Phi(x) + x phi(x))` and keeps `x` alone: `gelu(x)`,
# which the product's gradient needs, is computed again in the same pass.


def _dense_of_gelu(plain: Callable, dense, x) -> tf.Tensor:
    kernel, bias = (tf.cast(variable, x.dtype) for variable in (dense.kernel, dense.bias))
    y = _gelu_and_product(tf.reshape(x, [-1, x.shape[-1]]), kernel)
    is_static, width = None not in x.shape[1:], y.shape[-1]
    shape = [-1, *x.shape[1:-1], width] if is_static else tf.concat([tf.shape(x)[:-1], [width]], 0)
    return tf.reshape(tf.nn.bias_add(y, bias), shape)


@tf.custom_gradient
def _gelu_and_product(x, kernel):
    def gradient_of(gradient):
        with tf.control_dependencies([gradient]):  # not before it is needed
            of_x, activation = _gelu_backward(tf.identity(x), tf.matmul(gradient, kernel, transpose_b=True))
        return of_x, tf.matmul(activation, gradient, transpose_a=True)

    return tf.matmul(_gelu_forward(x), kernel), gradient_of


@_in_one_pass
def _gelu_forward(x):
    wide = tf.cast(x, tf.float32)
    return tf.cast(0.5 * wide * tf.math.erfc(-_SQRT_HALF * wide), x.dtype)


@_in_one_pass
def _gelu_backward(x, gradient):
    wide = tf.cast(x, tf.float32)
    share = 0.5 * tf.math.erfc(-_SQRT_HALF * wide)
    slope = share + wide * (_DENSITY_AT_0 * tf.exp(-0.5 * wide * wide))
    return tf.cast(tf.cast(gradient, tf.float32) * slope, x.dtype), tf.cast(wide * share, x.dtype)


KERNELS: dict[str, Callable[..., tf.Tensor]] = {
    "layer_norm": _layer_norm,
    "attention": _attention,
    "dense_of_gelu": _dense_of_gelu,
}
