"""CrossMAE's decoder: cross-attention from masked patches to the encoder's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.decoders.with_mask_token import WithMaskToken
from keras_mae.encoders.encoder import Tokens
from keras_mae.layers import CrossAttentionBlock, LayerNorm
from keras_mae.masking import Mask


@keras.saving.register_keras_serializable(package="keras_mae")
class CrossDecoder(WithMaskToken):
    """CrossMAE's decoder: each masked patch is read from the encoder's tokens, by itself.

    A query for each patch, the mask token with the patch's position, passes blocks of cross-attention and MLP. Queries
    do not see each other. So a prediction does not depend on which other patches are predicted, and the cost grows
    with the number of these alone.

    With `encoder_layers`, inter-block attention: block `k` attends to its own sum of the tokens `x_j` after these
    layers of the encoder, before the final norm, `LayerNorm_k(sum_j w_jk x_j)` with learned weights. The encoder's
    final norm has no gradient then.

    Args:
        hidden_dim: width `D'` of the queries.
        num_layers: number of blocks.
        num_heads: attention heads; must divide `hidden_dim`.
        mlp_dim: width of the blocks' MLPs; None for `4 * hidden_dim`.
        encoder_layers: None for the encoder's output, after its final norm; or layers of the encoder, counted from 1,
            in rising order, of which the last is the encoder's last.
        position_embedding: `"sincos"` (fixed) or `"learned"`.
        position_temperature: of the sin-cos table, see `MAEDecoder`.
        layer_norm_epsilon: epsilon of every LayerNorm.

    Call arguments and returns are those of `Decoder`.

    Raises:
        ValueError: for sizes that do not fit, or layers that are not in rising order.

    Reference: arXiv 2401.14391, section 3.
    """

    def __init__(
        self,
        hidden_dim: int = 512,
        num_layers: int = 12,
        num_heads: int = 16,
        mlp_dim: int | None = None,
        encoder_layers: Sequence[int] | None = None,
        position_embedding: str = "sincos",
        position_temperature: float = 10000.0,
        layer_norm_epsilon: float = 1e-6,
        name: str = "decoder",
        **kwargs: Any,
    ) -> None:
        own = (position_embedding, position_temperature, layer_norm_epsilon)
        super().__init__(hidden_dim, num_layers, num_heads, mlp_dim, *own, name=name, **kwargs)
        self.encoder_layers = None if encoder_layers is None else _rising(encoder_layers)

    def _make_blocks(self) -> None:
        sizes = (self.hidden_dim, self.num_heads, self.mlp_dim, self.layer_norm_epsilon)
        self.blocks = [
            CrossAttentionBlock(*sizes, name=f"block_{index}", dtype=self.dtype_policy)
            for index in range(self.num_layers)
        ]

    def build(self, input_shape) -> None:
        super().build(input_shape)
        for block in self.blocks:
            block.build((None, None, self.hidden_dim), input_shape)
        if self.encoder_layers is None:
            return
        count, epsilon = len(self.encoder_layers), self.layer_norm_epsilon
        normal = keras.initializers.RandomNormal(stddev=count**-0.5)
        self.layer_weights = self.add_weight((count, self.num_layers), initializer=normal, name="layer_weights")
        self.memory_norms = [
            LayerNorm(epsilon=epsilon, name=f"memory_norm_{index}", dtype=self.dtype_policy)
            for index in range(self.num_layers)
        ]
        for norm in self.memory_norms:
            norm.build(input_shape)

    def call(self, tokens: Tokens | list[Tokens], mask: Mask, ids=None):
        memories = self._memories(tokens)
        if ids is None:
            every = tf.range(self.geometry.num_patches)[None]
            ids = tf.repeat(every, tf.shape(memories[0])[0], axis=0)  # (B, L)
        x = self.positions(self.mask_tokens(ids, memories[0].dtype), ids=ids)  # (B, M, D')
        for block, memory in zip(self.blocks, memories, strict=True):
            x = block(x, memory)
        return self.head(self.norm(x))

    def _memories(self, tokens: Tokens | list[Tokens]) -> list[tf.Tensor]:
        """What each block attends to, `(B, P + K, D)`."""
        if self.encoder_layers is None:
            return [tf.concat(tokens, axis=1)] * self.num_layers
        layers = tf.stack([tf.concat(one, axis=1) for one in tokens])  # (layers, B, P + K, D)
        weights = tf.cast(tf.convert_to_tensor(self.layer_weights), layers.dtype)
        sums = tf.unstack(tf.tensordot(weights, layers, [[0], [0]]), num=self.num_layers)
        return [norm(memory) for norm, memory in zip(self.memory_norms, sums, strict=True)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "encoder_layers": self.encoder_layers}


def _rising(layers: Sequence[int]) -> tuple[int, ...]:
    """The layers as a tuple of ints; a ValueError if they are not integers from 1 on in rising order."""
    given = list(layers) if isinstance(layers, (list, tuple, np.ndarray)) else []
    are_counts = all(isinstance(layer, (int, np.integer)) and not isinstance(layer, bool) for layer in given)
    if not given or not are_counts or given[0] < 1 or given != sorted(set(given)):
        raise ValueError(
            "encoder_layers are layers of the encoder, counted from 1, in rising order, such as (1, 2, 3, 4), or None "
            f"for its output alone; got {layers!r}"
        )
    return tuple(int(layer) for layer in given)
