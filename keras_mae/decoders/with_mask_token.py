"""The base of decoders that put a mask token in the place of each masked patch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mae.decoders.decoder import Decoder
from keras_mae.layers import LayerNorm, PositionEmbedding
from keras_mae.layers.dense import Dense
from keras_mae.layers.patches import check_sizes


class WithMaskToken(Decoder):
    """A decoder of blocks with a mask token, position embeddings, a final norm and a linear head.

    Subclasses make `blocks`, and the layers before them, in their constructor.

    Args: as of `MAEDecoder`.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        mlp_dim: int | None,
        position_embedding: str,
        position_temperature: float,
        layer_norm_epsilon: float,
        name: str,
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
        self._make_blocks()
        self.norm = LayerNorm(epsilon=layer_norm_epsilon, name="norm", dtype=self.dtype_policy)

    def _make_blocks(self) -> None:
        """Sets `blocks`, and the layers before them."""
        raise NotImplementedError

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
        self.head = Dense(geometry.target_dim, name="head", **policy)
        self.mask_token = self.add_weight(
            shape=(1, 1, self.hidden_dim), initializer=keras.initializers.RandomNormal(stddev=0.02), name="mask_token"
        )
        for layer in (self.positions, self.norm, self.head):
            layer.build((None, None, self.hidden_dim))

    def mask_tokens(self, ids, dtype) -> tf.Tensor:
        """A mask token for each of the patches `ids`, `(B, M)`, without its position: `(B, M, D')`."""
        return tf.zeros_like(ids, dtype)[..., None] + tf.cast(self.mask_token, dtype)

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables that are not decayed: biases, norms, the mask token, position embeddings."""
        tokens = [v for v in (self.mask_token, self.positions.table) if v.trainable]
        return [*super().no_weight_decay(), *tokens]

    def get_config(self) -> dict[str, Any]:
        own = ["hidden_dim", "num_layers", "num_heads", "mlp_dim", "layer_norm_epsilon"]
        own += ["position_embedding", "position_temperature"]
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
