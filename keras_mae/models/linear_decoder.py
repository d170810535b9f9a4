"""SimMIM's decoder: one linear layer."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_mae.masking import Mask
from keras_mae.models.attached_decoder import AttachedDecoder


@keras.saving.register_keras_serializable(package="keras_mae")
class LinearDecoder(AttachedDecoder):
    """Predicts each patch from its own token by one linear layer.

    "The prediction head can be as light as a linear layer, with no worse performance than heavier ones." It is for
    encoders that see every patch, with mask tokens in place of the masked ones.

    Call arguments:
        tokens: `(B, P + L, D)`, the encoder's prefix and patch tokens.
        mask: a `Mask`.
        masked_only: whether the prediction is made for the masked patches only, in the order of `mask.ids_masked`.

    Returns:
        `(B, L, dim)`, or `(B, L - K, dim)` with `masked_only`, where `dim` is the target's width.

    Raises:
        ValueError: if the tokens are not those of all patches.

    Reference: arXiv 2111.09886, section 3.3; Table 3.
    """

    def __init__(self, name: str = "decoder", **kwargs) -> None:
        super().__init__(name=name, **kwargs)

    def build(self, input_shape) -> None:
        self.projection = keras.layers.Dense(self.surroundings[3], name="projection", dtype=self.dtype_policy)
        self.projection.build(input_shape)

    def call(self, tokens, mask: Mask, masked_only=False):
        _, grid, num_prefix_tokens, _ = self.surroundings
        patches = tokens[:, num_prefix_tokens:]
        if patches.shape[1] not in (None, grid[0] * grid[1]):
            raise ValueError(
                f"a linear decoder needs a token for each of the {grid[0] * grid[1]} patches, and there are "
                f"{patches.shape[1]}: give the encoder mask tokens (SimMIM), or take an MAEDecoder"
            )
        if masked_only:
            patches = tf.gather(patches, mask.ids_masked, batch_dims=1)  # (B, L - K, D)
        return self.projection(patches)
