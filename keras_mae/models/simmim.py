"""SimMIM: mask tokens go into the encoder, one linear layer predicts pixels."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from keras_mae.decoders import LinearDecoder
from keras_mae.encoders import Encoder, ViTEncoder
from keras_mae.encoders.presets import SIMMIM_MASKS
from keras_mae.losses import MaskedL1, MaskedLoss
from keras_mae.masking import MaskSampler, UnitMasking
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.registry import check_name
from keras_mae.targets import PixelTarget, Target


@keras.saving.register_keras_serializable(package="keras_mae")
class SimMIM(MaskedImageModel):
    """Replaces patches of an image by a learned token and predicts their pixels from the encoder's tokens.

    "SimMIM predicts raw pixel values of the randomly masked patches by a lightweight one-layer head, and performs
    learning using a simple l1 loss." The encoder sees all patches, so a step costs more than MAE's.

    Args:
        encoder: an `Encoder`; after training, `simmim.encoder` is the product. The mask token is not part of it.
        masking: a `MaskSampler`; None for the published one, units of 32 pixels of which 60 % are masked.
        target: a `Target`, None for plain pixels.
        loss: a `MaskedLoss`, None for `MaskedL1`, or for tokens the cross-entropy.
        seed: int, determines the masks together with the step.

    Call arguments, returns and errors are those of `MaskedImageModel`: images in, or a dict with noise or a mask;
    `{"prediction": (B, L, target.dim), "mask": (B, L)}` out. Masks are of patches, also where units are larger.

    Example:

    >>> simmim = SimMIM(
    ...     ViTEncoder((32, 32, 3), patch_size=4, hidden_dim=192, num_layers=12, num_heads=3,
    ...                position_embedding=None, relative_position_bias="shared", layer_scale=0.1),
    ...     UnitMasking(unit=8, mask_ratio=0.6), PixelTarget())
    >>> simmim.compile(optimizer=keras.optimizers.AdamW(1e-3, weight_decay=0.05))
    >>> simmim.fit(images, epochs=100, batch_size=256)  # (N, 32, 32, 3), uint8

    Reference: arXiv 2111.09886.
    """

    _PARTS: ClassVar[dict[str, str]] = {key: name for key, name in MaskedImageModel._PARTS.items() if key != "decoder"}
    default_loss = MaskedL1

    def __init__(
        self,
        encoder: Encoder,
        masking: MaskSampler | None = None,
        target: Target | None = None,
        loss: MaskedLoss | None = None,
        seed: int = 0,
        name: str = "simmim",
        **kwargs: Any,
    ) -> None:
        decoder = LinearDecoder(dtype=encoder.dtype_policy)
        masking = UnitMasking(unit=32, mask_ratio=0.6) if masking is None else masking
        target = PixelTarget() if target is None else target
        super().__init__(encoder, decoder, masking, target, loss, True, seed, name, **kwargs)

    @classmethod
    def from_preset(
        cls,
        name: str,
        masking: MaskSampler | None = None,
        target: Target | None = None,
        loss: MaskedLoss | None = None,
        seed: int = 0,
        **overrides: Any,
    ) -> SimMIM:
        """The published model `simmim_vit_base_patch16`, or one on a plain ViT, with random weights.

        Published: relative positions, one table for all blocks, LayerScale from 0.1, no absolute positions, units of 32
        pixels of which 60 % are masked. `simmim_plain_vit_base_patch16`: learned absolute positions, 50 % of units of
        32 pixels; the paper's other good setting is `masking=UnitMasking(unit=16, mask_ratio=0.8)`.

        Args:
            name: the preset.
            masking: None for the preset's.
            target, loss, seed: as in the constructor.
            **overrides: constructor arguments of the encoder that replace the preset's, such as `image_shape`.

        Reference: arXiv 2111.09886, Table 1 (units and ratios), Appendix A.
        """
        check_name("SimMIM preset", name, SIMMIM_MASKS)
        encoder = ViTEncoder.from_preset(name, **overrides)
        masking = UnitMasking(**SIMMIM_MASKS[name]) if masking is None else masking
        return cls(encoder, masking, target, loss, seed=seed, dtype=encoder.dtype_policy)
