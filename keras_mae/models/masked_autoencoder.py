"""The masked autoencoder."""

from __future__ import annotations

import numbers
from typing import Any

import keras

from keras_mae.decoders import Decoder, MAEDecoder
from keras_mae.encoders import Encoder, ViTEncoder
from keras_mae.encoders.presets import MAE_PRESETS
from keras_mae.losses import MaskedLoss, MaskedMeanSquaredError
from keras_mae.masking import MaskSampler, RandomMasking, UnitMasking
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.registry import check_name
from keras_mae.targets import PixelTarget, Target


@keras.saving.register_keras_serializable(package="keras_mae")
class MaskedAutoencoder(MaskedImageModel):
    """Masks most patches of an image and learns to reconstruct them from the rest.

    "Our MAE masks random patches from the input image and reconstructs the missing patches in the pixel space. It has
    an asymmetric encoder-decoder design."

    Args:
        encoder: an `Encoder`; after training, `mae.encoder` is the product.
        decoder: a `Decoder`.
        masking: a `MaskSampler`, None for `RandomMasking(0.75)`; its `mask_ratio` may be set again between two calls of
            `fit`.
        target: a `Target`, None for plain pixels.
        loss: a `MaskedLoss`, None for the mean squared error, or for tokens the cross-entropy.
        seed: int, determines the masks together with the step.
        mask_tokens_in_encoder: whether the encoder sees a mask token in place of each masked patch, which MAE drops:
            the ablation of Table 1c, slower and by the paper worse. The decoder then adds no mask tokens.
        predict_ratio: share of the masked patches, in (0, 1], that a step of `fit` or `evaluate` predicts, drawn anew
            in each; the loss is over these. It saves time, most with a `CrossDecoder`. CrossMAE's prediction ratio is a
            share of all patches: its 0.25 at a mask ratio of 0.75 is 1/3 here. Calls predict all patches.
        visible_weight: weight, in [0, 1], of the loss on visible patches, which is added to that on masked ones.

    Call arguments, returns and errors are those of `MaskedImageModel`: images in, or a dict with noise or a mask;
    `{"prediction": (B, L, target.dim), "mask": (B, L)}` out.

    Example:

    >>> mae = MaskedAutoencoder(
    ...     ViTEncoder((32, 32, 3), patch_size=4, hidden_dim=192, num_layers=12, num_heads=3),
    ...     MAEDecoder(hidden_dim=96, num_layers=2, num_heads=3), RandomMasking(0.75), PixelTarget())
    >>> mae.compile(optimizer=keras.optimizers.AdamW(1e-3, weight_decay=0.05))
    >>> mae.fit(images, epochs=100, batch_size=256)  # (N, 32, 32, 3), uint8

    Reference: arXiv 2111.06377; arXiv 2401.14391, section 3 (`predict_ratio`); arXiv 2402.03752 (`visible_weight`).
    """

    default_loss = MaskedMeanSquaredError

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        masking: MaskSampler | None = None,
        target: Target | None = None,
        loss: MaskedLoss | None = None,
        seed: int = 0,
        mask_tokens_in_encoder: bool = False,
        name: str = "masked_autoencoder",
        predict_ratio: float = 1.0,
        visible_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        masking = RandomMasking(0.75) if masking is None else masking
        target = PixelTarget() if target is None else target
        super().__init__(encoder, decoder, masking, target, loss, mask_tokens_in_encoder, seed, name, **kwargs)
        self._predict_ratio, self._visible_weight = _checked(predict_ratio, visible_weight)

    @property
    def predict_ratio(self) -> float:
        """Share of the masked patches that a step predicts; it may be set again between two calls of `fit`."""
        return self._predict_ratio

    @predict_ratio.setter
    def predict_ratio(self, predict_ratio: float) -> None:
        self._predict_ratio, _ = _checked(predict_ratio, self.visible_weight)

    @property
    def visible_weight(self) -> float:
        """Weight of the loss on visible patches; it may be set again between two calls of `fit`."""
        return self._visible_weight

    @visible_weight.setter
    def visible_weight(self, visible_weight: float) -> None:
        _, self._visible_weight = _checked(self.predict_ratio, visible_weight)

    @classmethod
    def from_preset(
        cls,
        name: str,
        decoder: Decoder | None = None,
        masking: MaskSampler | None = None,
        target: Target | None = None,
        loss: MaskedLoss | None = None,
        seed: int = 0,
        **overrides: Any,
    ) -> MaskedAutoencoder:
        """A published model with random weights: `mae_<encoder preset>`, or one of Pixio.

        `mae_vit_{tiny,small,base,large}_patch16` and `mae_vit_huge_patch14` have a decoder 512 wide, 8 deep, with 16
        heads; 75 % of the patches are masked at random, and the target is plain pixels.
        `pixio_vit_{base,large,huge}_patch16` have eight class tokens, learned positions, and a decoder 512 wide, 32
        deep, with 16 heads; 75 % of the units of 64 pixels, 4 x 4 patches, are masked, and the target is normalised
        pixels.

        Args:
            name: the preset.
            decoder, masking, target: None for the preset's.
            loss, seed: as in the constructor.
            **overrides: constructor arguments of the encoder that replace the preset's, such as `image_shape`.

        Reference: arXiv 2111.06377, Table 1; arXiv 2512.15715 (Pixio).
        """
        check_name("MaskedAutoencoder preset", name, MAE_PRESETS)
        preset = MAE_PRESETS[name]
        encoder = ViTEncoder.from_preset(preset.encoder, **overrides)
        decoder = MAEDecoder(**preset.decoder, dtype=encoder.dtype_policy) if decoder is None else decoder
        if masking is None:
            masking = (UnitMasking if "unit" in preset.masking else RandomMasking)(**preset.masking)
        target = PixelTarget(**preset.target) if target is None else target
        return cls(encoder, decoder, masking, target, loss, seed=seed, dtype=encoder.dtype_policy)

    def get_config(self) -> dict[str, Any]:
        own = ("mask_tokens_in_encoder", "predict_ratio", "visible_weight")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def _checked(predict_ratio: float, visible_weight: float) -> tuple[float, float]:
    """Both as floats; a ValueError if one is out of range, or they do not go together."""
    ratio, weight = _share("predict_ratio", predict_ratio, "(0, 1]"), _share("visible_weight", visible_weight, "[0, 1]")
    if ratio < 1 and weight:
        raise ValueError(
            "visible_weight needs the predictions of all patches: set predict_ratio=1 or visible_weight=0; got "
            f"predict_ratio={predict_ratio!r} and visible_weight={visible_weight!r}"
        )
    return ratio, weight


def _share(name: str, value: Any, interval: str) -> float:
    """The number as a float; a ValueError if it lies outside of `(0, 1]` or `[0, 1]`."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not (0 < value <= 1 or (value == 0 and interval[0] == "[")):
        raise ValueError(f"{name} is a number in {interval}, got {value!r}")
    return float(value)
