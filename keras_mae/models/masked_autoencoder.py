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
        mask_sampler: a `MaskSampler`; its `mask_ratio` may be set again between two calls of `fit`.
        target: a `Target`.
        seed: int, what the masks are drawn from, together with the step.
        mask_tokens_in_encoder: whether the encoder sees a mask token in place of each masked patch, where MAE leaves
            it out: the ablation of Table 1c, slower and by the paper worse. The decoder then has nothing to fill in.

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
        mask_tokens_in_encoder: bool = False,
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
        self.mask_tokens_in_encoder = mask_tokens_in_encoder
        if mask_tokens_in_encoder:
            self._add_mask_token()

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
        prefix: str | None = None,
        **overrides: Any,
    ) -> MaskedAutoencoder:
        """The model `mae_<encoder preset>`, such as `mae_vit_base_patch16`.

        Args:
            name: the preset.
            decoder: another decoder than the published one (512 wide, 8 deep, 16 heads).
            mask_sampler, target, seed: as in the constructor.
            checkpoint: None for fresh weights, or the path or URL of a file to fill it with.
            format, skip, resize_positions, prefix: of the checkpoint, as in `keras_mae.load_checkpoint`.
            **overrides: constructor arguments of the encoder that replace the preset's, such as `image_shape`.
        """
        if not name.startswith("mae_") or name[4:] not in ENCODERS:
            known = ", ".join(f"mae_{encoder}" for encoder in ENCODERS)
            raise ValueError(f"no MaskedAutoencoder preset is called {name!r}; there are: {known}")
        encoder = ViTEncoder.from_preset(name[4:], **overrides)
        if decoder is None:
            decoder = MAEDecoder(**MAE_DECODER, dtype=encoder.dtype_policy)
        mae = cls(encoder, decoder, mask_sampler, target, seed=seed, dtype=encoder.dtype_policy)
        fill_from_checkpoint(mae, checkpoint, format, skip, resize_positions, prefix)
        return mae

    def predict_patches(
        self, images, mask: Mask, masked_only=False, training=False, seed: ExampleSeed | None = None
    ) -> tf.Tensor:
        """Encodes the visible patches and decodes all of them, or the masked ones only: `(B, N, target.dim)`."""
        if self.mask_tokens_in_encoder:
            return self._predict_from_all_tokens(images, mask, masked_only, training, seed)
        tokens = self.encoder.norm(
            self.encoder.tokens(images, ids_keep=mask.ids_keep, training=training, seed=seed)
        )  # (B, P + K, D)
        return self.decoder(tokens, mask, masked_only=masked_only)

    def _predict_from_all_tokens(self, images, mask: Mask, masked_only, training, seed) -> tf.Tensor:
        tokens = self.encoder.norm(
            self.encoder.tokens(images, mask=mask.mask, mask_token=self.mask_token, training=training, seed=seed)
        )  # (B, P + L, D)
        nothing_missing = Mask.from_noise(tf.zeros_like(mask.mask), self.encoder.num_patches)
        prediction = self.decoder(tokens, nothing_missing)  # (B, L, dim)
        return tf.gather(prediction, mask.ids_masked, batch_dims=1) if masked_only else prediction

    def masked_loss(self, target, prediction) -> tf.Tensor:
        """The target's error, averaged over the masked patches."""
        error = self.target.loss(target, prediction)  # (B, L - K)
        return tf.math.divide_no_nan(tf.reduce_sum(error), tf.cast(tf.size(error), tf.float32))

    def layer_groups(self) -> list[list[keras.Variable]]:
        stem, *others = super().layer_groups()
        return [[*stem, *self._own_tokens()], *others]

    def no_weight_decay(self) -> list[keras.Variable]:
        return [*super().no_weight_decay(), *self._own_tokens()]

    def _own_tokens(self) -> list[keras.Variable]:
        return self.trained_of([self.mask_token]) if self.mask_tokens_in_encoder else []

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_tokens_in_encoder": self.mask_tokens_in_encoder}
