"""SimMIM: mask tokens go into the encoder, one linear layer predicts pixels."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.masking import BlockMasking, Mask, MaskSampler
from keras_mae.models.linear_decoder import LinearDecoder
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.models.presets import SIMMIM_MASKS, fill_from_checkpoint
from keras_mae.models.vit_encoder import ViTEncoder
from keras_mae.targets import PixelTarget, Target

_EPSILON = 1e-5


@keras.saving.register_keras_serializable(package="keras_mae")
class SimMIM(MaskedImageModel):
    """Replaces patches of an image by a learned token and predicts their pixels from what the encoder makes of it.

    "SimMIM predicts raw pixel values of the randomly masked patches by a lightweight one-layer head, and performs
    learning using a simple l1 loss." The encoder sees all patches, so a step costs more than MAE's.

    The loss is `sum(|x - y| * mask) / (sum(mask) + 1e-5) / C` over pixels and channels, where the mask has one number a
    pixel.

    Args:
        encoder: a `ViTEncoder`; after training, `simmim.encoder` is the product. The mask token is not part of it.
        mask_sampler: a `MaskSampler`; None for the published one, units of 32 pixels of which 60 % are masked.
        target: a `Target` whose values can be regressed.
        seed: int, what the masks are drawn from, together with the step.

    Call arguments, returns and errors are those of `MaskedImageModel`: images in, or a dict with noise or a mask;
    `{"prediction": (B, L, target.dim), "mask": (B, L)}` out. Masks are of patches, also where units are larger.

    Example:

    >>> simmim = SimMIM(
    ...     ViTEncoder((32, 32, 3), patch_size=4, hidden_dim=192, num_layers=12, num_heads=3,
    ...                position_embedding=None, relative_position_bias="shared", layer_scale=0.1),
    ...     BlockMasking(unit=8, mask_ratio=0.6), PixelTarget())
    >>> simmim.compile(optimizer=keras.optimizers.AdamW(1e-3, weight_decay=0.05))
    >>> simmim.fit(images, epochs=100, batch_size=256)  # (N, 32, 32, 3), uint8

    Reference: arXiv 2111.09886; its code divides the loss as above.
    """

    _PARTS: ClassVar[tuple[str, ...]] = ("encoder", "mask_sampler", "target")

    def __init__(
        self,
        encoder: ViTEncoder,
        mask_sampler: MaskSampler | None = None,
        target: Target | None = None,
        seed: int = 0,
        name: str = "simmim",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            encoder,
            LinearDecoder(dtype=encoder.dtype_policy),
            mask_sampler if mask_sampler is not None else BlockMasking(unit=32, mask_ratio=0.6),
            target if target is not None else PixelTarget(),
            seed,
            name,
            **kwargs,
        )
        self._add_mask_token()

    @classmethod
    def from_preset(
        cls,
        name: str,
        mask_sampler: MaskSampler | None = None,
        target: Target | None = None,
        seed: int = 0,
        checkpoint: str | None = None,
        format: str | None = None,
        skip: Sequence[str] = (),
        resize_positions: bool | tuple[int, int] = False,
        prefix: str | None = None,
        **overrides: Any,
    ) -> SimMIM:
        """The model `simmim_vit_base_patch16` as it was published, or one on a plain ViT.

        Published: relative positions, one table for all blocks, LayerScale from 0.1, no absolute positions, units of 32
        pixels of which 60 % are masked. `simmim_plain_vit_base_patch16`: learned absolute positions, 50 % of units of
        32 pixels; the paper's other good setting is `mask_sampler=BlockMasking(unit=16, mask_ratio=0.8)`.

        Args:
            name: the preset.
            mask_sampler: another one than the preset's.
            target, seed: as in the constructor.
            checkpoint: None for fresh weights, or the path or URL of a file to fill it with.
            format, skip, resize_positions, prefix: of the checkpoint, as in `keras_mae.load_checkpoint`.
            **overrides: constructor arguments of the encoder that replace the preset's, such as `image_shape`.

        Reference: arXiv 2111.09886, Table 1 (units and ratios), Appendix A.
        """
        if name not in SIMMIM_MASKS:
            near = difflib.get_close_matches(name, SIMMIM_MASKS, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ValueError(f"no SimMIM preset is called {name!r}{hint} There are: {', '.join(SIMMIM_MASKS)}")
        encoder = ViTEncoder.from_preset(name, **overrides)
        if mask_sampler is None:
            mask_sampler = BlockMasking(**SIMMIM_MASKS[name])
        simmim = cls(encoder, mask_sampler, target, seed=seed, dtype=encoder.dtype_policy)
        fill_from_checkpoint(simmim, checkpoint, format, skip, resize_positions, prefix)
        return simmim

    def predict_patches(
        self, images, mask: Mask, masked_only=False, training=False, seed: ExampleSeed | None = None
    ) -> tf.Tensor:
        """Encodes all patches, the masked ones as tokens, and predicts all or the masked: `(B, N, target.dim)`."""
        tokens = self.encoder.norm(
            self.encoder.tokens(images, mask=mask.mask, mask_token=self.mask_token, training=training, seed=seed)
        )  # (B, P + L, D)
        return self.decoder(tokens, mask, masked_only=masked_only)

    def masked_loss(self, target, prediction) -> tf.Tensor:
        """The sum of absolute errors over masked pixels and channels, divided by the number of both."""
        if target.shape.rank != 3 or target.shape[-1] != prediction.shape[-1]:
            raise ValueError(
                f"SimMIM regresses {prediction.shape[-1]} numbers a patch, and the target has {target.shape}: "
                "take a target of pixels; a MaskedAutoencoder classifies tokens"
            )
        channels = self.encoder.image_shape[-1]
        error = tf.abs(tf.cast(prediction, tf.float32) - target)  # (B, L - K, ph * pw * C)
        num_pixels = tf.cast(tf.size(error), tf.float32) / channels
        return tf.reduce_sum(error) / (num_pixels + _EPSILON) / channels

    def layer_groups(self) -> list[list[keras.Variable]]:
        """The trainable variables by depth: the encoder's groups, the mask token in the first, then the head."""
        stem, *groups = super().layer_groups()
        return [[*stem, *self.trained_of([self.mask_token])], *groups]

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables that are not decayed: biases, norms, gains, tokens, position embeddings.

        SimMIM's code decays the mask token; like all tokens here, it is not.
        """
        return [*super().no_weight_decay(), *self.trained_of([self.mask_token])]
