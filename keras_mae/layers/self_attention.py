"""Multi-head self-attention."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mae.layers.train_kernels import has_train_kernels


@keras.saving.register_keras_serializable(package="keras_mae")
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention with queries, keys and values from one matrix.

    `softmax(q k^T / sqrt(head_dim) + bias) v`, heads concatenated, then a linear layer. One matrix for all three sets
    the limit of its Xavier-uniform initialisation, and is what published checkpoints hold.

    Args:
        hidden_dim: width `D`.
        num_heads: number of heads; must divide `hidden_dim`.

    Call arguments:
        x: tensor `(B, N, D)`.
        bias: None, or what is added to the logits, broadcastable to `(B, heads, N, N)`.

    Returns:
        Tensor `(B, N, D)`.

    Reference: arXiv 1706.03762, section 3.2; arXiv 2010.11929.
    """

    def __init__(self, hidden_dim: int, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_heads < 1 or hidden_dim % num_heads:
            raise ValueError(
                f"hidden_dim must be divisible by num_heads: got hidden_dim={hidden_dim} and num_heads={num_heads}"
            )
        self.hidden_dim, self.num_heads = hidden_dim, num_heads
        self.qkv = keras.layers.Dense(3 * hidden_dim, dtype=self.dtype_policy, name="qkv")
        self.projection = keras.layers.Dense(hidden_dim, dtype=self.dtype_policy, name="projection")

    def build(self, input_shape) -> None:
        self.qkv.build(input_shape)
        self.projection.build(input_shape)

    def call(self, x, bias=None):
        length = x.shape[1] if x.shape[1] is not None else tf.shape(x)[1]
        qkv = tf.reshape(self.qkv(x), [-1, length, 3, self.num_heads, self.hidden_dim // self.num_heads])
        if bias is None and has_train_kernels():
            x = _attention_with_gradient(qkv)
        else:
            x = _attention(qkv, bias)  # (B, N, heads, head_dim)
        return self.projection(tf.reshape(x, [-1, length, self.hidden_dim]))

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "num_heads": self.num_heads}


def _attention(qkv, bias=None) -> tf.Tensor:
    """From queries, keys and values, `(B, N, 3, heads, head_dim)`, to `(B, N, heads, head_dim)`."""
    q, k, v = _heads_first(qkv)
    return tf.transpose(tf.matmul(_weights(q, k, bias), v), [0, 2, 1, 3])


@tf.custom_gradient
def _attention_with_gradient(qkv):
    """The same, but only `qkv` is kept: the backward pass computes the weights again, as in arXiv 2205.14135."""

    def gradient_of(gradient):
        with tf.control_dependencies([gradient]):  # else TensorFlow sees that the weights are there, and keeps them
            q, k, v = _heads_first(tf.identity(qkv))
        weights, gradient = _weights(q, k), tf.transpose(gradient, [0, 2, 1, 3])
        of_v = tf.matmul(weights, gradient, transpose_a=True)
        of_weights = tf.matmul(gradient, v, transpose_b=True)
        of_logits = weights * (of_weights - tf.reduce_sum(of_weights * weights, -1, keepdims=True))
        scale = q.shape[-1] ** -0.5
        of_q, of_k = tf.matmul(of_logits, k * scale), tf.matmul(of_logits, q * scale, transpose_a=True)
        return tf.transpose(tf.stack([of_q, of_k, of_v]), [1, 3, 0, 2, 4])

    return _attention(qkv), gradient_of


def _heads_first(qkv) -> list[tf.Tensor]:
    """Queries, keys and values apart, each `(B, heads, N, head_dim)`."""
    # unstack, not indexing: the gradient of a slice writes three whole tensors of zeros
    return tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]), num=3)


def _weights(q, k, bias=None) -> tf.Tensor:
    """What each query takes of each value: `(B, heads, N, N)`."""
    logits = tf.matmul(q * q.shape[-1] ** -0.5, k, transpose_b=True)
    return tf.nn.softmax(logits if bias is None else logits + tf.cast(bias, logits.dtype))
