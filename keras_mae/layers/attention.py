"""Attention: values, averaged by the likeness of their keys to queries."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.layers.attention_kernels import unpacked
from keras_mae.layers.kernels import with_kernel


@with_kernel("attention")
def attend(*packed: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
    """`softmax(q k^T / sqrt(head_dim) + bias) v`, head by head.

    Args:
        *packed: queries, keys and values in the tensors that linear layers make, `(B, N, parts, heads, head_dim)`: one
            of three parts, or one `(B, M, 1, heads, head_dim)` with the queries and one of two parts with keys and
            values.
        bias: None, or a bias of the logits, broadcastable to `(B, heads, M, N)`.

    Returns:
        Tensor `(B, M, heads, head_dim)`.
    """
    q, k, v = unpacked(packed)  # (B, heads, N, head_dim) each
    logits = tf.matmul(q * q.shape[-1] ** -0.5, k, transpose_b=True)  # (B, heads, M, N)
    weights = tf.nn.softmax(logits if bias is None else logits + tf.cast(bias, logits.dtype))
    return tf.transpose(tf.matmul(weights, v), [0, 2, 1, 3])
