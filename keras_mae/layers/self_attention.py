"""Multi-head self-attention."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mae.layers.kernels import with_kernel


@keras.saving.register_keras_serializable(package="keras_mae")
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention with queries, keys and values from one matrix.

    `softmax(q k^T / sqrt(head_dim) + bias) v`, heads concatenated, then a linear layer. One matrix for all three, as in
    published checkpoints, also determines the limit of its Xavier-uniform initialisation.

    Args:
        hidden_dim: width `D`.
        num_heads: number of heads; must divide `hidden_dim`.

    Call arguments:
        x: tensor `(B, N, D)`.
        bias: None, or a bias of the logits, broadcastable to `(B, heads, N, N)`.

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
        x = _attention(qkv, bias)  # (B, N, heads, head_dim)
        return self.projection(tf.reshape(x, [-1, length, self.hidden_dim]))

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "num_heads": self.num_heads}


@with_kernel("attention")
def _attention(qkv, bias=None) -> tf.Tensor:
    """From queries, keys and values, `(B, N, 3, heads, head_dim)`, to `(B, N, heads, head_dim)`."""
    # unstack, not indexing: the gradient of a slice writes three whole tensors of zeros
    q, k, v = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]), num=3)  # (B, heads, N, head_dim) each
    logits = tf.matmul(q * q.shape[-1] ** -0.5, k, transpose_b=True)  # (B, heads, N, N)
    weights = tf.nn.softmax(logits if bias is None else logits + tf.cast(bias, logits.dtype))
    return tf.transpose(tf.matmul(weights, v), [0, 2, 1, 3])
