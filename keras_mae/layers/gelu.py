"""GELU, and a faster gradient of it for training."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import keras
import tensorflow as tf

_SQRT_HALF = 0.7071067811865476
_DENSITY_AT_0 = 0.3989422804014327

_how = contextvars.ContextVar("how GELU is differentiated", default="by TensorFlow")


def gelu(x) -> tf.Tensor:
    """`x Phi(x)`, where `Phi` is the distribution function of the normal distribution: the exact GELU, with erf.

    Outside of `gelu_of_training` this is Keras', which TensorFlow fuses into the product before it. Its gradient
    makes some fifteen passes over a tensor that is four times as wide as the tokens, and keeps three such tensors;
    within, it is `dy (Phi(x) + x phi(x))`, and `x` alone is kept.

    Reference: arXiv 1606.08415.
    """
    how = _how.get()
    if how == "by TensorFlow":
        return keras.activations.gelu(x, approximate=False)
    return (_with_gradient_compiled if how == "compiled" else _with_gradient)(x)


@contextlib.contextmanager
def gelu_of_training(compiled: bool) -> Iterator[None]:
    """Lets `gelu` have its own gradient here; to be around the forward and the backward pass.

    Args:
        compiled: whether XLA compiles both directions, each to one pass. For graphs that run on a processor; where
            the whole step is compiled there is nothing to gain.
    """
    token = _how.set("compiled" if compiled else "own")
    try:
        yield
    finally:
        _how.reset(token)


def _forward(x):
    wide = tf.cast(x, tf.float32)
    return tf.cast(0.5 * wide * tf.math.erfc(-_SQRT_HALF * wide), x.dtype)


def _backward(x, gradient):
    wide = tf.cast(x, tf.float32)
    slope = 0.5 * tf.math.erfc(-_SQRT_HALF * wide) + wide * (_DENSITY_AT_0 * tf.exp(-0.5 * wide * wide))
    return tf.cast(tf.cast(gradient, tf.float32) * slope, x.dtype)


_forward_compiled = tf.function(_forward, jit_compile=True, autograph=False)
_backward_compiled = tf.function(_backward, jit_compile=True, autograph=False)


@tf.custom_gradient
def _with_gradient(x):
    def gradient_of(gradient):
        return _backward(x, gradient)

    return _forward(x), gradient_of


@tf.custom_gradient
def _with_gradient_compiled(x):
    def gradient_of(gradient):
        return _backward_compiled(x, gradient)

    return _forward_compiled(x), gradient_of
