"""What all decoders have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_mae.encoders.encoder import Tokens
from keras_mae.encoders.freezing import freeze_inside
from keras_mae.layers import Checkpointed
from keras_mae.layers.geometry import Geometry
from keras_mae.layers.slots import Slot
from keras_mae.layers.transformer_block import TransformerBlock
from keras_mae.masking import Mask


class Decoder(keras.layers.Layer):
    """From the encoder's tokens to a prediction for each patch.

    The model that owns a decoder calls `attach` once, which tells it the sizes around it and makes its weights.

    Call arguments:
        tokens: the encoder's `Tokens`, of the visible patches or of all.
        mask: a `Mask`, which tells where those of the visible ones belong.
        ids: None, or int `(B, M)`, the patches that are predicted.

    Returns:
        `(B, L, dim)`, or `(B, M, dim)` of the patches `ids`, where `dim` is the target's width.
    """

    blocks: Sequence[TransformerBlock] = ()  # if it has some
    _geometry: Geometry | None = None

    @property
    def geometry(self) -> Geometry:
        """The sizes around it.

        Raises:
            ValueError: if the decoder was not attached to a model yet.
        """
        if self._geometry is None:
            raise ValueError("a decoder needs to know the sizes around it: pass it to a model, or call attach")
        return self._geometry

    def attach(self, geometry: Geometry) -> None:
        """Makes the weights for these sizes.

        Args:
            geometry: of the encoder, with the width of the target.

        Raises:
            ValueError: if it was attached to other sizes before.
        """
        geometry.check_same(self._geometry, "decoder", ("hidden_dim", "grid", "num_prefix_tokens", "target_dim"))
        if self._geometry is None:
            self._geometry = geometry
            self.build((None, None, geometry.hidden_dim))
            self._checkpointed = Checkpointed(self)
            freeze_inside(self)

    def compute_output_shape(self, input_shape) -> tuple:
        return (input_shape[0], self.geometry.num_patches, self.geometry.target_dim)

    def call(self, tokens: Tokens, mask: Mask, ids=None):
        raise NotImplementedError

    @property
    def rematerialize(self) -> bool:
        """Whether blocks compute their activations a second time for the gradient: less memory, more time."""
        return any(block.rematerialize for block in self.blocks)

    @rematerialize.setter
    def rematerialize(self, value: bool) -> None:
        for block in self.blocks:
            block.rematerialize = value

    def slots(self) -> Iterator[Slot]:
        """Every weight with its name and layout in checkpoints of PyTorch.

        Raises:
            ValueError: if no published format has such a decoder.
        """
        raise ValueError(f"no published format has a place for a {type(self).__name__}: save the encoder alone")

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables that are not decayed."""
        return [variable for variable in self.weights if variable.trainable and len(variable.shape) <= 1]

    def get_build_config(self) -> dict[str, Any] | None:
        return {"geometry": dataclasses.asdict(self.geometry)} if self.built else None

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.attach(Geometry.from_config(config["geometry"]))
