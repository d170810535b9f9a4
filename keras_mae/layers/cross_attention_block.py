"""The pre-norm block of a decoder that has cross-attention alone."""

from __future__ import annotations

from typing import Any

import keras

from keras_mae.layers.cross_attention import CrossAttention
from keras_mae.layers.dense import Dense
from keras_mae.layers.layer_norm import LayerNorm
from keras_mae.layers.rematerialized import rematerialized
from keras_mae.layers.transformer_block import mlp_of


@keras.saving.register_keras_serializable(package="keras_mae")
class CrossAttentionBlock(keras.layers.Layer):
    """`x + attention(norm(x), memory)`, then `x + mlp(norm(x))`, with GELU (the exact one, with erf) in the MLP.

    Without self-attention no token of `x` sees another one.

    Args:
        hidden_dim: width `D'`.
        num_heads: attention heads; must divide `hidden_dim`.
        mlp_dim: width of the MLP's hidden layer.
        layer_norm_epsilon: epsilon of the LayerNorms.

    Call arguments:
        x: tensor `(B, M, D')`.
        memory: tensor `(B, N, D)`, the tokens that are attended to.

    Returns:
        Tensor `(B, M, D')`.

    Attributes:
        rematerialize: as of `TransformerBlock`.

    Reference: arXiv 2401.14391, section 3.
    """

    def __init__(
        self, hidden_dim: int, num_heads: int, mlp_dim: int, layer_norm_epsilon: float = 1e-6, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim, self.num_heads, self.mlp_dim = hidden_dim, num_heads, mlp_dim
        self.layer_norm_epsilon = layer_norm_epsilon
        policy = {"dtype": self.dtype_policy}
        self.norm1 = LayerNorm(epsilon=layer_norm_epsilon, name="norm1", **policy)
        self.attention = CrossAttention(hidden_dim, num_heads, name="attention", **policy)
        self.norm2 = LayerNorm(epsilon=layer_norm_epsilon, name="norm2", **policy)
        self.mlp_hidden = Dense(mlp_dim, name="mlp_hidden", **policy)
        self.mlp_output = Dense(hidden_dim, name="mlp_output", **policy)
        self.rematerialize = False

    def build(self, x_shape, memory_shape) -> None:
        self.attention.build(x_shape, memory_shape)
        for layer in (self.norm1, self.norm2, self.mlp_hidden):
            layer.build(x_shape)
        self.mlp_output.build((*x_shape[:-1], self.mlp_dim))

    def call(self, x, memory):
        return (rematerialized(self._transform) if self.rematerialize else self._transform)(x, memory)

    def _transform(self, x, memory):
        x = x + self.attention(self.norm1(x), memory)
        return x + mlp_of(self.mlp_hidden, self.mlp_output, self.norm2(x))

    def compute_output_shape(self, x_shape, memory_shape) -> tuple:
        return tuple(x_shape)

    def get_config(self) -> dict[str, Any]:
        own = ("hidden_dim", "num_heads", "mlp_dim", "layer_norm_epsilon")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
