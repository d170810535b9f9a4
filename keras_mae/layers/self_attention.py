"""Multi-head self-attention."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.layers.attention import attend
from keras_mae.layers.dense import Dense
from keras_mae.layers.layer_norm import LayerNorm
from keras_mae.layers.rotary_positions import Rotation


@keras.saving.register_keras_serializable(package="keras_mae")
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention with queries, keys and values from one matrix.

    `softmax(q k^T / sqrt(head_dim) + bias) v`, heads concatenated, then a linear layer. One matrix for all three, as in
    published checkpoints, also determines the limit of its Xavier-uniform initialisation.

    Args:
        hidden_dim: width `D`.
        num_heads: number of heads; must divide `hidden_dim`.
        qkv_bias: whether queries, keys and values have a bias.
        key_bias: False keeps the keys' part of that bias at zero, in training too, as in BEiT and DINOv3.
        qk_norm: whether a LayerNorm over the width of a head follows queries and keys, before they are rotated.
        layer_norm_epsilon: epsilon of these LayerNorms.

    Call arguments:
        x: tensor `(B, N, D)`.
        bias: None, or a bias of the logits, broadcastable to `(B, heads, N, N)`.
        rotation: None, or the `Rotation` of queries and keys by the tokens' positions.

    Returns:
        Tensor `(B, N, D)`.

    Reference: arXiv 1706.03762, section 3.2; arXiv 2010.11929; arXiv 2302.05442 (ViT-22B), section 2 (`qk_norm`).
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        qkv_bias: bool = True,
        key_bias: bool = True,
        qk_norm: bool = False,
        layer_norm_epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_heads < 1 or hidden_dim % num_heads:
            raise ValueError(
                f"hidden_dim must be divisible by num_heads: got hidden_dim={hidden_dim} and num_heads={num_heads}"
            )
        self.hidden_dim, self.num_heads, self.qkv_bias, self.key_bias = hidden_dim, num_heads, qkv_bias, key_bias
        self.qk_norm, self.layer_norm_epsilon = qk_norm, layer_norm_epsilon
        dense = Dense if key_bias or not qkv_bias else _WithoutKeyBias
        self.qkv = dense(3 * hidden_dim, use_bias=qkv_bias, dtype=self.dtype_policy, name="qkv")
        if qk_norm:
            self.q_norm, self.k_norm = (
                LayerNorm(layer_norm_epsilon, dtype=self.dtype_policy, name=name) for name in ("q_norm", "k_norm")
            )
        self.projection = Dense(hidden_dim, dtype=self.dtype_policy, name="projection")

    def build(self, input_shape) -> None:
        self.qkv.build(input_shape)
        self.projection.build(input_shape)
        for layer in (self.q_norm, self.k_norm) if self.qk_norm else ():
            layer.build((None, None, self.num_heads, self.hidden_dim // self.num_heads))

    def call(self, x, bias=None, rotation: Rotation | None = None):
        length = x.shape[1] if x.shape[1] is not None else tf.shape(x)[1]
        x = attend(self._queries_keys_values(x, length, rotation), bias=bias)  # (B, N, heads, head_dim)
        return self.projection(tf.reshape(x, [-1, length, self.hidden_dim]))

    def attention(self, x, bias=None, rotation: Rotation | None = None) -> tf.Tensor:
        """The weights with which each token takes the others, `(B, heads, N, N)` float32; arguments as for a call."""
        q, k, _ = tf.unstack(self._queries_keys_values(x, tf.shape(x)[1], rotation), num=3, axis=2)
        q, k = (tf.transpose(tf.cast(part, tf.float32), [0, 2, 1, 3]) for part in (q, k))  # (B, heads, N, head_dim)
        logits = tf.matmul(q * q.shape[-1] ** -0.5, k, transpose_b=True)
        return tf.nn.softmax(logits if bias is None else logits + tf.cast(bias, tf.float32))

    def _queries_keys_values(self, x, length, rotation: Rotation | None) -> tf.Tensor:
        """Normed and rotated, if they are: `(B, N, 3, heads, head_dim)`."""
        qkv = tf.reshape(self.qkv(x), [-1, length, 3, self.num_heads, self.hidden_dim // self.num_heads])
        if self.qk_norm or rotation is not None:
            q, k, v = tf.unstack(qkv, num=3, axis=2)  # (B, N, heads, head_dim) each
            if self.qk_norm:
                q, k = self.q_norm(q), self.k_norm(k)
            if rotation is not None:
                q, k = rotation(q), rotation(k)
            qkv = tf.stack([q, k, v], axis=2)
        return qkv

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = ("hidden_dim", "num_heads", "qkv_bias", "key_bias", "qk_norm", "layer_norm_epsilon")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


class _WithoutKeyBias(Dense):
    """Queries, keys and values from one matrix, with a bias whose part of the keys is zero and has no gradient."""

    def call(self, inputs, training=None):
        q, k, v = tf.split(tf.convert_to_tensor(self.bias), 3)
        return keras.ops.matmul(inputs, self.kernel) + tf.concat([q, tf.zeros_like(k), v], axis=0)

    def load_own_variables(self, store: Any) -> None:
        """As Keras'; a ValueError if the file has a bias of the keys."""
        if "1" in store.keys() and np.any(np.split(np.asarray(store["1"]), 3)[1]):
            raise ValueError("the file has a bias of the attention's keys: build the model with key_bias=True")
        super().load_own_variables(store)
