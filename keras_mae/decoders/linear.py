"""SimMIM's decoder: one linear layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras
import tensorflow as tf

from keras_mae.decoders.decoder import Decoder
from keras_mae.encoders.encoder import Tokens
from keras_mae.layers.dense import Dense
from keras_mae.layers.slots import PixelShuffled, Slot, dense_slots
from keras_mae.masking import Mask


@keras.saving.register_keras_serializable(package="keras_mae")
class LinearDecoder(Decoder):
    """Predicts each patch from its own token by one linear layer.

    "The prediction head can be as light as a linear layer, with no worse performance than heavier ones." It is for
    encoders that see every patch, with mask tokens in place of the masked ones.

    Call arguments and returns are those of `Decoder`.

    Raises:
        ValueError: if the tokens are not those of all patches.

    Reference: arXiv 2111.09886, section 3.3; Table 3.
    """

    def __init__(self, name: str = "decoder", **kwargs) -> None:
        super().__init__(name=name, **kwargs)

    def build(self, input_shape) -> None:
        self.projection = Dense(self.geometry.target_dim, name="projection", dtype=self.dtype_policy)
        self.projection.build(input_shape)

    def call(self, tokens: Tokens, mask: Mask, ids=None):
        patches, count = tokens.patches, self.geometry.num_patches
        if patches.shape[1] not in (None, count):
            raise ValueError(
                f"a linear decoder needs a token for each of the {count} patches, and there are {patches.shape[1]}: "
                "give the encoder mask tokens (SimMIM), or take an MAEDecoder"
            )
        if ids is not None:
            patches = tf.gather(patches, ids, batch_dims=1)  # (B, M, D)
        return self.projection(patches)

    def slots(self) -> Iterator[Slot]:
        layout = PixelShuffled(self.geometry.patch_size, self.geometry.image_shape[-1])
        for slot in dense_slots("decoder.projection", self.projection):
            yield dataclasses.replace(slot, layout=layout)
