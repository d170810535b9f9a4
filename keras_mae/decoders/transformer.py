"""MAE's decoder: a light transformer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_mae.decoders.decoder import Decoder
from keras_mae.encoders.encoder import Tokens
from keras_mae.layers import LayerNorm, PositionEmbedding
from keras_mae.layers.patches import check_sizes
from keras_mae.layers.slots import Slot, Table, block_slots, dense_slots, norm_slots
from keras_mae.layers.transformer_block import transformer_blocks
from keras_mae.masking import Mask


@keras.saving.register_keras_serializable(package="keras_mae")
class MAEDecoder(Decoder):
    """MAE's light decoder: a narrow transformer that sees visible tokens and mask tokens in their places.

    It is used in pretraining only. Its width need not be the encoder's.

    Args:
        hidden_dim: width `D'` of its tokens.
        num_layers: number of transformer blocks.
        num_heads: attention heads; must divide `hidden_dim`.
        mlp_dim: width of the blocks' MLPs; None for `4 * hidden_dim`.
        position_embedding: `"sincos"` (fixed) or `"learned"`.
        position_temperature: of the sin-cos table; 10,000 in the papers, a small one suits a grid of a few patches.
        layer_norm_epsilon: epsilon of every LayerNorm.

    Call arguments and returns are those of `Decoder`.

    Reference: arXiv 2111.06377, section 3, "MAE decoder"; Table 1a, 1b.
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
        super().__init__(name=name, **kwargs)
        check_sizes(hidden_dim=hidden_dim, num_layers=num_layers, num_heads=num_heads)
        check_sizes(mlp_dim=1 if mlp_dim is None else mlp_dim)
        if hidden_dim % num_heads:
            raise ValueError(
                f"hidden_dim must be divisible by num_heads: got hidden_dim={hidden_dim} and num_heads={num_heads}"
            )
        self.hidden_dim, self.num_layers, self.num_heads = hidden_dim, num_layers, num_heads
        self.mlp_dim = 4 * hidden_dim if mlp_dim is None else mlp_dim
        self.position_embedding, self.position_temperature = position_embedding, position_temperature
        self.layer_norm_epsilon = layer_norm_epsilon
        policy = {"dtype": self.dtype_policy}
        self.embedding = keras.layers.Dense(hidden_dim, name="embedding", **policy)
        self.blocks = transformer_blocks(
            num_layers, hidden_dim, num_heads, self.mlp_dim, layer_norm_epsilon=layer_norm_epsilon, **policy
        )
        self.norm = LayerNorm(epsilon=layer_norm_epsilon, name="norm", **policy)

    def build(self, input_shape) -> None:
        geometry, policy = self.geometry, {"dtype": self.dtype_policy}
        self.positions = PositionEmbedding(
            geometry.grid,
            geometry.num_prefix_tokens,
            self.position_embedding,
            self.position_temperature,
            name="positions",
            **policy,
        )
        self.head = keras.layers.Dense(geometry.target_dim, name="head", **policy)
        self.mask_token = self.add_weight(
            shape=(1, 1, self.hidden_dim), initializer=keras.initializers.RandomNormal(stddev=0.02), name="mask_token"
        )
        self.embedding.build(input_shape)
        for layer in (self.positions, *self.blocks, self.norm, self.head):
            layer.build((None, None, self.hidden_dim))

    def call(self, tokens: Tokens, mask: Mask, ids=None):
        x = self.embedding(tf.concat(tokens, axis=1))  # (B, P + K, D')
        prefix, visible = x[:, : self.geometry.num_prefix_tokens], x[:, self.geometry.num_prefix_tokens :]
        mask_tokens = tf.zeros_like(mask.ids_masked, x.dtype)[..., None] + tf.cast(self.mask_token, x.dtype)
        patches = tf.concat([visible, mask_tokens], axis=1)  # (B, L, D'), shuffled
        patches = tf.gather(patches, mask.ids_restore, batch_dims=1)  # (B, L, D'), in order
        prefix += tf.cast(self.positions.prefix(), x.dtype)
        x = tf.concat([prefix, self.positions(patches)], axis=1)  # (B, P + L, D')
        for block in self.blocks:
            x = block(x)
        patches = x[:, self.geometry.num_prefix_tokens :]
        if ids is not None:
            patches = tf.gather(patches, ids, batch_dims=1)  # (B, M, D')
        return self.head(self.norm(patches))

    def slots(self) -> Iterator[Slot]:
        yield Slot("decoder.mask_token", "", self.mask_token)
        yield Slot("decoder.positions.table", "", self.positions.table, Table(self.positions))
        yield from dense_slots("decoder.embedding", self.embedding)
        yield from block_slots("decoder.blocks", self.blocks)
        yield from norm_slots("decoder.norm", self.norm)
        yield from dense_slots("decoder.head", self.head)

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables that are not decayed: biases, norms, the mask token, position embeddings."""
        tokens = [v for v in (self.mask_token, self.positions.table) if v.trainable]
        return [*super().no_weight_decay(), *tokens]

    def get_config(self) -> dict[str, Any]:
        own = ["hidden_dim", "num_layers", "num_heads", "mlp_dim", "layer_norm_epsilon"]
        own += ["position_embedding", "position_temperature"]
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
