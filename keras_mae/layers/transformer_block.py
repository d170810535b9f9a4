"""The pre-norm transformer block of a Vision Transformer."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.layers.dense import Dense
from keras_mae.layers.drop_path import DropPath
from keras_mae.layers.kernels import with_kernel
from keras_mae.layers.layer_norm import LayerNorm
from keras_mae.layers.layer_scale import LayerScale
from keras_mae.layers.rematerialized import rematerialized
from keras_mae.layers.rotary_positions import Rotation
from keras_mae.layers.self_attention import SelfAttention


@keras.saving.register_keras_serializable(package="keras_mae")
class TransformerBlock(keras.layers.Layer):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))`, with GELU (the exact one, with erf) in the MLP.

    A gated MLP is SwiGLU, `W_output (silu(W_gate x) * W_value x)`, with `W_gate` and `W_value` side by side in one
    matrix, in this order.

    Args:
        hidden_dim: width `D`.
        num_heads: attention heads; must divide `hidden_dim`.
        mlp_dim: width of the MLP's hidden layer; of a gated one, after the gate.
        drop_path_rate: probability, in [0, 1), that a residual branch is dropped for an example.
        layer_norm_epsilon: epsilon of the LayerNorms.
        layer_scale: None, or the initial value of the gains of both branches, see `LayerScale`.
        qkv_bias, key_bias, qk_norm: see `SelfAttention`.
        gated_mlp: whether the MLP is gated.

    Call arguments:
        x: tensor `(B, N, D)`.
        bias: None, or a bias of the attention's logits, broadcastable to `(B, heads, N, N)`.
        rotation: None, or the `Rotation` of queries and keys.
        training: whether drop path is active.
        seed: None or an `ExampleSeed` for drop path.

    Returns:
        Tensor `(B, N, D)`.

    Attributes:
        rematerialize: True, set before `compile`, computes the activations a second time for the gradient instead of
            keeping them: less memory, more time. No part of the config.

    Reference: arXiv 2010.11929, equations 2 and 3; arXiv 2002.05202, equation 6 (SwiGLU).
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int,
        mlp_dim: int,
        drop_path_rate: float = 0.0,
        layer_norm_epsilon: float = 1e-6,
        layer_scale: float | None = None,
        qkv_bias: bool = True,
        key_bias: bool = True,
        qk_norm: bool = False,
        gated_mlp: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim, self.num_heads, self.mlp_dim = hidden_dim, num_heads, mlp_dim
        self.drop_path_rate, self.layer_norm_epsilon = drop_path_rate, layer_norm_epsilon
        self.layer_scale, self.gated_mlp = layer_scale, gated_mlp
        self.qkv_bias, self.key_bias, self.qk_norm = qkv_bias, key_bias, qk_norm
        policy = {"dtype": self.dtype_policy}
        self.norm1 = LayerNorm(epsilon=layer_norm_epsilon, name="norm1", **policy)
        self.attention = SelfAttention(
            hidden_dim, num_heads, qkv_bias, key_bias, qk_norm, layer_norm_epsilon, name="attention", **policy
        )
        self.norm2 = LayerNorm(epsilon=layer_norm_epsilon, name="norm2", **policy)
        self.mlp_hidden = Dense((2 if gated_mlp else 1) * mlp_dim, name="mlp_hidden", **policy)
        self.mlp_output = Dense(hidden_dim, name="mlp_output", **policy)
        self.drop_path = DropPath(drop_path_rate, name="drop_path", **policy)
        self.attention_scale, self.mlp_scale = (
            keras.layers.Identity(name=name, **policy)
            if layer_scale is None
            else LayerScale(layer_scale, name=name, **policy)
            for name in ("attention_scale", "mlp_scale")
        )
        self.rematerialize = False

    def build(self, input_shape) -> None:
        for layer in (self.norm1, self.attention, self.attention_scale, self.norm2, self.mlp_hidden, self.mlp_scale):
            layer.build(input_shape)
        self.drop_path.build(input_shape)
        self.mlp_output.build((*input_shape[:-1], self.mlp_dim))

    def call(self, x, bias=None, training=False, seed: ExampleSeed | None = None, rotation: Rotation | None = None):
        tensors = (x,) if bias is None else (x, bias)
        transform = functools.partial(self._transform, training, seed, rotation)
        return (rematerialized(transform) if self.rematerialize else transform)(*tensors)

    def _transform(self, training, seed: ExampleSeed | None, rotation: Rotation | None, x, bias=None):
        seeds = (None, None) if seed is None else (seed.fold_in(0), seed.fold_in(1))
        attention = self.attention_scale(self.attention(self.norm1(x), bias=bias, rotation=rotation))
        x = x + self.drop_path(attention, training=training, seed=seeds[0])
        layers = (self.mlp_hidden, self.mlp_output)
        mlp = (self._gated if self.gated_mlp else functools.partial(mlp_of, *layers))(self.norm2(x))
        return x + self.drop_path(self.mlp_scale(mlp), training=training, seed=seeds[1])

    def _gated(self, x):
        gate, value = tf.split(self.mlp_hidden(x), 2, axis=-1)
        return self.mlp_output(keras.activations.silu(gate) * value)

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = (
            *("hidden_dim", "num_heads", "mlp_dim", "drop_path_rate", "layer_norm_epsilon", "layer_scale"),
            *("qkv_bias", "key_bias", "qk_norm", "gated_mlp"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def transformer_blocks(
    num_layers: int, hidden_dim: int, num_heads: int, mlp_dim: int, drop_path_rate: float = 0.0, **kwargs: Any
) -> list[TransformerBlock]:
    """A stack of blocks, whose drop path rate grows linearly from 0 at the first to `drop_path_rate` at the last."""
    rates = [drop_path_rate * index / max(num_layers - 1, 1) for index in range(num_layers)]
    return [
        TransformerBlock(hidden_dim, num_heads, mlp_dim, rate, name=f"block_{index}", **kwargs)
        for index, rate in enumerate(rates)
    ]


class WithBlocks:
    """A layer or model that may have transformer blocks, in `blocks`."""

    blocks: Sequence[Any] = ()
    weights: list[keras.Variable]

    @property
    def rematerialize(self) -> bool:
        """Whether blocks compute their activations a second time for the gradient: less memory, more time."""
        return any(block.rematerialize for block in self.blocks)

    @rematerialize.setter
    def rematerialize(self, value: bool) -> None:
        if value and not self.blocks and isinstance(self, keras.Model):  # a linear decoder has nothing to recompute
            raise ValueError(f"{type(self).__name__} cannot rematerialize its activations; set rematerialize=False")
        for block in self.blocks:
            block.rematerialize = value

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables without weight decay: biases and norms, and more in subclasses."""
        return [variable for variable in self.weights if variable.trainable and len(variable.shape) <= 1]


@with_kernel("mlp")
def mlp_of(hidden: keras.layers.Dense, output: keras.layers.Dense, x):
    """`output(gelu(hidden(x)))`."""
    return dense_of_gelu(output, hidden(x))


@with_kernel("dense_of_gelu")
def dense_of_gelu(dense: Dense, x):
    """`dense(gelu(x))`: `gelu(x) = x Phi(x)`, with `Phi` the normal distribution function (exact, by erf).

    Reference: arXiv 1606.08415.
    """
    return dense(keras.activations.gelu(x, approximate=False))
