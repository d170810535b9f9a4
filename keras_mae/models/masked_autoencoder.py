"""The masked autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.masking import Mask, MaskSampler, RandomMasking
from keras_mae.models.decoder import MAEDecoder
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.models.presets import ENCODERS, MAE_DECODER, fill_from_checkpoint
from keras_mae.models.vit_encoder import ViTEncoder
from keras_mae.targets import PixelTarget, Target


@keras.saving.register_keras_serializable(package="keras_mae")
class MaskedAutoencoder(MaskedImageModel):
    """Masks most patches of an image and learns to reconstruct them from the rest.

    "Our MAE masks random patches from the input image and reconstructs the missing patches in the pixel space. It has
    an asymmetric encoder-decoder design." The loss is the mean over the masked patches of the target's error.

    Args:
        encoder: a `ViTEncoder`; after training, `mae.encoder` is the product.
        decoder: an `MAEDecoder`.
        mask_sampler: a `MaskSampler`; its `mask_ratio` may be set again before `compile`.
        target: a `Target`.
        seed: int, what the masks are drawn from, together with the step.

    Call arguments, returns and errors are those of `MaskedImageModel`: images in, or a dict with noise or a mask;
    `{"prediction": (B, L, target.dim), "mask": (B, L)}` out.

    Example:

    >>> mae = MaskedAutoencoder(
    ...     ViTEncoder((32, 32, 3), patch_size=4, hidden_dim=192, num_layers=12, num_heads=3),
    ...     MAEDecoder(hidden_dim=96, num_layers=2, num_heads=3), RandomMasking(0.75), PixelTarget())
    >>> mae.compile(optimizer=keras.optimizers.AdamW(1e-3, weight_decay=0.05))
    >>> mae.fit(images, epochs=100, batch_size=256)  # (N, 32, 32, 3), uint8

    Reference: arXiv 2111.06377.
    """

    def __init__(
        self,
        encoder: ViTEncoder,
        decoder: MAEDecoder,
        mask_sampler: MaskSampler | None = None,
        target: Target | None = None,
        seed: int = 0,
        name: str = "masked_autoencoder",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            encoder,
            decoder,
            mask_sampler if mask_sampler is not None else RandomMasking(0.75),
            target if target is not None else PixelTarget(),
            seed,
            name,
            **kwargs,
        )

    @classmethod
    def from_preset(
        cls,
        name: str,
        decoder: MAEDecoder | None = None,
        mask_sampler: MaskSampler | None = None,
        target: Target | None = None,
        seed: int = 0,
        checkpoint: str | None = None,
        format: str | None = None,
        skip: Sequence[str] = (),
        resize_positions: bool | tuple[int, int] = False,
        **overrides: Any,
    ) -> MaskedAutoencoder:
        """The model `mae_<encoder preset>`, such as `mae_vit_base_patch16`.

        Args:
            name: the preset.
            decoder: another decoder than the published one (512 wide, 8 deep, 16 heads).
            mask_sampler, target, seed: as in the constructor.
            checkpoint: None for fresh weights, or the path or URL of a file to fill it with.
            format, skip, resize_positions: of the checkpoint, as in `keras_mae.load_checkpoint`.
            **overrides: constructor arguments of the encoder that replace the preset's, such as `image_shape`.
        """
        if not name.startswith("mae_") or name[4:] not in ENCODERS:
            known = ", ".join(f"mae_{encoder}" for encoder in ENCODERS)
            raise ValueError(f"no MaskedAutoencoder preset is called {name!r}; there are: {known}")
        encoder = ViTEncoder.from_preset(name[4:], **overrides)
        if decoder is None:
            decoder = MAEDecoder(**MAE_DECODER, dtype=encoder.dtype_policy)
        mae = cls(encoder, decoder, mask_sampler, target, seed=seed, dtype=encoder.dtype_policy)
        fill_from_checkpoint(mae, checkpoint, format, skip, resize_positions)
        return mae

    def predict_patches(
        self, images, mask: Mask, masked_only=False, training=False, seed: ExampleSeed | None = None
    ) -> tf.Tensor:
        """Encodes the visible patches and decodes all of them, or the masked ones only: `(B, N, target.dim)`."""
        tokens = self.encoder.norm(
            self.encoder.tokens(images, ids_keep=mask.ids_keep, training=training, seed=seed)
        )  # (B, P + K, D)
        return self.decoder(tokens, mask, masked_only=masked_only)

    def masked_loss(self, target, prediction) -> tf.Tensor:
        """The target's error, averaged over the masked patches."""
        error = self.target.loss(target, prediction)  # (B, L - K)
        return tf.math.divide_no_nan(tf.reduce_sum(error), tf.cast(tf.size(error), tf.float32))
