"""MAE's decoder: a light transformer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_mae.decoders.with_mask_token import WithMaskToken
from keras_mae.encoders.encoder import Tokens
from keras_mae.layers.dense import Dense
from keras_mae.layers.slots import Slot, Table, block_slots, dense_slots, norm_slots
from keras_mae.layers.transformer_block import transformer_blocks
from keras_mae.masking import Mask


@keras.saving.register_keras_serializable(package="keras_mae")
class MAEDecoder(WithMaskToken):
    """MAE's light decoder: a narrow transformer that sees visible tokens and mask tokens in their places.

    It is used in pretraining only. Its width need not be the encoder's. Asked for some of the masked patches only, it
    leaves the mask tokens of the others out.

    Args:
        hidden_dim: width `D'` of its tokens.
        num_layers: number of transformer blocks.
        num_heads: attention heads; must divide `hidden_dim`.
        mlp_dim: width of the blocks' MLPs; None for `4 * hidden_dim`.
        position_embedding: `"sincos"` (fixed) or `"learned"`.
        position_temperature: of the sin-cos table; 10,000 in the papers, a small one suits a grid of a few patches.
        layer_norm_epsilon: epsilon of every LayerNorm.

    Call arguments and returns are those of `Decoder`.

    Reference: arXiv 2111.06377, section 3, "MAE decoder"; Table 1a, 1b. arXiv 2303.16727, section 3.1 (some of the
    masked patches only).
    """

    def __init__(
        self,
        hidden_dim: int = 512,
        num_layers: int = 8,
        num_heads: int = 16,
        mlp_dim: int | None = None,
        position_embedding: str = "sincos",
        position_temperature: float = 10000.0,
        layer_norm_epsilon: float = 1e-6,
        name: str = "decoder",
        **kwargs: Any,
    ) -> None:
        own = (position_embedding, position_temperature, layer_norm_epsilon)
        super().__init__(hidden_dim, num_layers, num_heads, mlp_dim, *own, name=name, **kwargs)

    def _make_blocks(self) -> None:
        policy = {"dtype": self.dtype_policy}
        sizes = (self.num_layers, self.hidden_dim, self.num_heads, self.mlp_dim)
        self.embedding = Dense(self.hidden_dim, name="embedding", **policy)
        self.blocks = transformer_blocks(*sizes, layer_norm_epsilon=self.layer_norm_epsilon, **policy)

    def build(self, input_shape) -> None:
        super().build(input_shape)
        self.embedding.build(input_shape)
        for block in self.blocks:
            block.build((None, None, self.hidden_dim))

    def call(self, tokens: Tokens, mask: Mask, ids=None):
        x = self.embedding(tf.concat(tokens, axis=1))  # (B, P + K, D')
        prefix, visible = x[:, : self.geometry.num_prefix_tokens], x[:, self.geometry.num_prefix_tokens :]
        prefix += tf.cast(self.positions.prefix(), x.dtype)
        in_part = ids is not None and ids.shape[1] is not None and ids.shape[1] < (mask.ids_masked.shape[1] or 0)
        if in_part:
            _check_masked(mask, ids)
            patches = tf.concat([visible, self.mask_tokens(ids, x.dtype)], axis=1)  # (B, K + M, D')
            patches = self.positions(patches, ids=tf.concat([mask.ids_keep, ids], axis=1))
        else:
            patches = tf.concat([visible, self.mask_tokens(mask.ids_masked, x.dtype)], axis=1)  # (B, L, D'), shuffled
            patches = tf.gather(patches, mask.ids_restore, batch_dims=1)  # (B, L, D'), in order
            patches = self.positions(patches)
        x = tf.concat([prefix, patches], axis=1)  # (B, P + L, D')
        for block in self.blocks:
            x = block(x)
        if in_part:
            patches = x[:, -ids.shape[1] :]  # (B, M, D')
        else:
            patches = x[:, self.geometry.num_prefix_tokens :]
            patches = patches if ids is None else tf.gather(patches, ids, batch_dims=1)
        return self.head(self.norm(patches))

    def slots(self) -> Iterator[Slot]:
        yield Slot("decoder.mask_token", "", self.mask_token)
        yield Slot("decoder.positions.table", "", self.positions.table, Table(self.positions))
        yield from dense_slots("decoder.embedding", self.embedding)
        yield from block_slots("decoder.blocks", self.blocks)
        yield from norm_slots("decoder.norm", self.norm)
        yield from dense_slots("decoder.head", self.head)


def _check_masked(mask: Mask, ids) -> None:
    """Raises a ValueError, where numbers are at hand, if some of the patches are visible."""
    if tf.executing_eagerly() and not tf.reduce_all(tf.gather(mask.mask, ids, batch_dims=1) > 0):
        raise ValueError(
            "fewer patches than are masked may be asked for only if all of them are masked: leave ids out, and take "
            "those that you want from the predictions of all patches"
        )
