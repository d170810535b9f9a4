"""Multi-head cross-attention."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mae.layers.attention import attend
from keras_mae.layers.dense import Dense


@keras.saving.register_keras_serializable(package="keras_mae")
class CrossAttention(keras.layers.Layer):
    """Multi-head attention of queries to other tokens.

    `softmax(q k^T / sqrt(head_dim)) v`, heads concatenated, then a linear layer. Keys and values come from one matrix.

    Args:
        hidden_dim: width `D'` of the queries.
        num_heads: number of heads; must divide `hidden_dim`.

    Call arguments:
        x: tensor `(B, M, D')`, from which the queries come.
        memory: tensor `(B, N, D)`, from which keys and values come.

    Returns:
        Tensor `(B, M, D')`.

    Raises:
        ValueError: if `num_heads` does not divide `hidden_dim`.

    Reference: arXiv 1706.03762, section 3.2; arXiv 2401.14391, section 3.
    """

    def __init__(self, hidden_dim: int, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_heads < 1 or hidden_dim % num_heads:
            raise ValueError(
                f"hidden_dim must be divisible by num_heads: got hidden_dim={hidden_dim} and num_heads={num_heads}"
            )
        self.hidden_dim, self.num_heads = hidden_dim, num_heads
        policy = {"dtype": self.dtype_policy}
        self.query = Dense(hidden_dim, name="query", **policy)
        self.key_value = Dense(2 * hidden_dim, name="key_value", **policy)
        self.projection = Dense(hidden_dim, name="projection", **policy)

    def build(self, x_shape, memory_shape) -> None:
        self.query.build(x_shape)
        self.key_value.build(memory_shape)
        self.projection.build(x_shape)

    def call(self, x, memory):
        heads = (self.num_heads, self.hidden_dim // self.num_heads)
        count, length = (tensor.shape[1] or tf.shape(tensor)[1] for tensor in (x, memory))
        q = tf.reshape(self.query(x), [-1, count, 1, *heads])
        kv = tf.reshape(self.key_value(memory), [-1, length, 2, *heads])
        return self.projection(tf.reshape(attend(q, kv), [-1, count, self.hidden_dim]))

    def compute_output_shape(self, x_shape, memory_shape) -> tuple:
        return tuple(x_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "num_heads": self.num_heads}
