"""The base of all decoders."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from keras_mae.encoders.encoder import Tokens
from keras_mae.encoders.freezing import freeze_inside, layers_in
from keras_mae.layers import Checkpointed
from keras_mae.layers.geometry import AttachedLayer, Geometry
from keras_mae.layers.slots import Slot
from keras_mae.layers.transformer_block import WithBlocks
from keras_mae.masking import Mask
from keras_mae.registry import with_article


class Decoder(WithBlocks, AttachedLayer):
    """Predicts each patch from the encoder's tokens.

    The model that owns a decoder calls `attach` once, which makes its weights.

    Args:
        **kwargs: of `keras.layers.Layer`. `dtype` is the decoder's policy; None for that of the model's encoder.

    Attributes:
        encoder_layers: None, or layers of the encoder, counted from 1: the decoder takes the tokens after these, before
            the encoder's final norm.

    Call arguments:
        tokens: the encoder's `Tokens`, of the visible patches or of all; with `encoder_layers` a list, of each layer.
        mask: a `Mask`, with the places of the visible patches.
        ids: None, or int `(B, M)`, the patches to predict: some or all of the masked ones, or all patches, in any
            order. A decoder may leave other masked patches out of its computation: by the static shape it knows
            whether these are all.

    Returns:
        `(B, L, dim)`, or `(B, M, dim)` of the patches `ids`, where `dim` is the target's width.
    """

    kind = "decoder"
    sizes = ("hidden_dim", "grid", "num_prefix_tokens", "target_dim")
    encoder_layers: tuple[int, ...] | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._inherits = kwargs.get("dtype") is None

    def inherit(self, policy: keras.DTypePolicy) -> None:
        """Takes the dtype policy of a model's encoder, if it was given none, for itself and the layers in it.

        It does nothing once there are weights. A layer inside that was given a policy of its own keeps it.
        """
        if self.built or not self._inherits:
            return
        before = self.dtype_policy
        for _, layer in layers_in(self):
            if layer.dtype_policy is before:
                layer.dtype_policy = policy

    def attach(self, geometry: Geometry) -> None:
        """Makes the weights for the sizes of a model, the width of its target included.

        Raises:
            ValueError: if the decoder is attached to other sizes already.
        """
        super().attach(geometry)
        if not self.built:
            self.build((None, None, geometry.hidden_dim))
            self._checkpointed = Checkpointed(self)
            freeze_inside(self)

    def compute_output_shape(self, input_shape) -> tuple:
        return (input_shape[0], self.geometry.num_patches, self.geometry.target_dim)

    def call(self, tokens: Tokens, mask: Mask, ids=None):
        raise NotImplementedError

    def slots(self) -> Iterator[Slot]:
        """Every weight with its name and layout in PyTorch's checkpoints; a ValueError if no format has the decoder."""
        raise ValueError(
            f"no published format has a place for {with_article(type(self).__name__)}: save the encoder alone"
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "dtype": None} if self._inherits else config

    def get_build_config(self) -> dict[str, Any] | None:
        if not self.built:
            return None
        policy = keras.dtype_policies.serialize(self.dtype_policy)
        return {"geometry": dataclasses.asdict(self.geometry), "dtype": policy}

    def build_from_config(self, config: dict[str, Any]) -> None:
        if "dtype" in config:  # files of earlier versions do not have it
            self.inherit(keras.dtype_policies.get(config["dtype"]))
        self.attach(Geometry.from_config(config["geometry"]))
