"""The masked autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import unpatchify
from keras_mae.masking import Mask, MaskSampler, RandomMasking
from keras_mae.models.decoder import MAEDecoder
from keras_mae.models.presets import ENCODERS, MAE_DECODER, fill_from_checkpoint
from keras_mae.models.vit_encoder import ViTEncoder
from keras_mae.targets import PatchGeometry, PixelTarget, Target
from keras_mae.training import GlobalBatchModel

_MASKED_GRAY = 127.5


@keras.saving.register_keras_serializable(package="keras_mae")
class MaskedAutoencoder(GlobalBatchModel):
    """Masks most patches of an image and learns to reconstruct them from the rest.

    "Our MAE masks random patches from the input image and reconstructs the missing patches in the pixel space. It has
    an asymmetric encoder-decoder design." The loss is the mean over the masked patches of the target's error.

    Args:
        encoder: a `ViTEncoder`; after training, `mae.encoder` is the product.
        decoder: an `MAEDecoder`.
        mask_sampler: a `MaskSampler`; its `mask_ratio` may be set again before `compile`.
        target: a `Target`.
        seed: int, what the masks are drawn from, together with the step.

    Call arguments:
        inputs: images `(B, H, W, C)`, uint8 or float in [0, 255]; or `{"images": ..., "noise": (B, L)}`, where the
            patches with the smallest noise are visible; or `{"images": ..., "mask": (B, L)}`, 1 = masked, equal
            counts in every row. In `fit` the counts must be those of the sampler's ratio.
        mask_ratio: another mask ratio for this call.
        training: whether drop path is active.
        seed: None or an `ExampleSeed`; without it every call draws the masks of step 0.

    Returns:
        `{"prediction": (B, L, target.dim) float32, "mask": (B, L) float32, 1 = masked}`.

    Raises:
        ValueError: for a bad mask, mask ratio, image shape or dict.

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
        super().__init__(seed=seed, name=name, autocast=False, **kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.mask_sampler = mask_sampler if mask_sampler is not None else RandomMasking(0.75)
        self.target = target if target is not None else PixelTarget()
        self.mask_sampler.num_visible(encoder.num_patches)  # says so now if the ratio leaves nothing visible
        self.target.attach(PatchGeometry(encoder.image_shape, encoder.patchify, encoder.normalize_pixels))
        self.decoder.attach(encoder.hidden_dim, encoder.grid, encoder.num_prefix_tokens, self.target.dim)
        self.built = True

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

    def call(self, inputs, mask_ratio: float | None = None, training=False, seed: ExampleSeed | None = None):
        images, mask = self.mask(inputs, mask_ratio, seed)
        prediction = self.predict_patches(images, mask, training=training, seed=seed)
        return {"prediction": tf.cast(prediction, tf.float32), "mask": mask.mask}

    def predict_patches(
        self, images, mask: Mask, masked_only=False, training=False, seed: ExampleSeed | None = None
    ) -> tf.Tensor:
        """Encodes the visible patches and decodes all of them, or the masked ones only: `(B, N, target.dim)`."""
        tokens = self.encoder.norm(
            self.encoder.tokens(images, ids_keep=mask.ids_keep, training=training, seed=seed)
        )  # (B, P + K, D)
        return self.decoder(tokens, mask, masked_only=masked_only)

    def batch_loss(self, data, seed: ExampleSeed, training: bool) -> tf.Tensor:
        """The target's error, averaged over the masked patches; 0 if none is masked."""
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)  # labels are ignored
        images, mask = self.mask(inputs, seed=seed, num_visible=self.mask_sampler.num_visible(self.encoder.num_patches))
        prediction = self.predict_patches(images, mask, masked_only=True, training=training, seed=seed)
        target = tf.gather(self.target(images), mask.ids_masked, batch_dims=1)  # (B, L - K, dim)
        error = self.target.loss(target, prediction)  # (B, L - K)
        # every row of a mask has as many ones; a mask that broke this under XLA holds NaN
        broken = tf.reduce_sum(mask.mask) * 0.0
        return tf.math.divide_no_nan(tf.reduce_sum(error), tf.cast(tf.size(error), tf.float32)) + broken

    def mask(
        self, inputs, mask_ratio: float | None = None, seed: ExampleSeed | None = None, num_visible: int | None = None
    ) -> tuple[tf.Tensor, Mask]:
        """The images in `inputs`, and their mask: the given one, or one from the given noise, or a drawn one.

        Args:
            inputs: as for a call.
            mask_ratio: another ratio than the sampler's, for noise and for drawn masks.
            seed: None or an `ExampleSeed`.
            num_visible: what a given mask must leave visible; None takes what it does.
        """
        images, noise, mask = _unpack(inputs)
        if mask is not None:
            self._check_per_patch("mask", mask, images)
            return images, Mask.from_mask(mask, num_visible)
        if noise is not None:
            self._check_per_patch("noise", noise, images)
            return images, Mask.from_noise(noise, self.mask_sampler.num_visible(self.encoder.num_patches, mask_ratio))
        batch_size = tf.shape(images)[0]
        if seed is None:
            seed = ExampleSeed.for_step(self.seed, 0, batch_size)
        return images, self.mask_sampler(self.encoder.grid, batch_size, seed, mask_ratio)

    def reconstruct(self, images, noise=None, mask=None, mask_ratio: float | None = None) -> dict[str, tf.Tensor]:
        """Fills in the masked patches, for looking at.

        Visible patches are shown as they came: no loss is computed on them in training, and the raw output there
        (the call's `prediction` has it) means little. If the target is normalised pixels, the network predicts each
        patch up to its mean and contrast; de-normalising then uses the statistics of the original patch, which the
        network has not seen.

        Args:
            images: `(B, H, W, C)`, uint8 or float in [0, 255].
            noise: None, or `(B, L)`; the smallest are visible.
            mask: None, or `(B, L)`, 1 = masked.
            mask_ratio: another mask ratio for this call.

        Returns:
            `{"reconstruction": (B, H, W, C) float32 in [0, 255], "masked_images": likewise, masked patches gray,
            "mask": (B, L) float32}`.
        """
        inputs = {"images": images, "noise": noise, "mask": mask}
        images, partition = self.mask({key: value for key, value in inputs.items() if value is not None}, mask_ratio)
        prediction = self.predict_patches(images, partition)
        predicted = self.target.to_pixels(prediction, images)  # (B, L, ph * pw * C)
        patches = tf.cast(self.encoder.patchify(images), tf.float32)
        hidden = partition.mask[..., None] > 0
        geometry = (self.encoder.image_shape, self.encoder.patch_size)
        return {
            "reconstruction": unpatchify(tf.clip_by_value(tf.where(hidden, predicted, patches), 0.0, 255.0), *geometry),
            "masked_images": unpatchify(tf.where(hidden, _MASKED_GRAY, patches), *geometry),
            "mask": partition.mask,
        }

    def layer_groups(self) -> list[list[keras.Variable]]:
        """The trainable variables by depth: the encoder's groups, then the decoder. Each exactly once."""
        return [*self.encoder.layer_groups(), self.decoder.trainable_variables]

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables that are not decayed: biases, norms, tokens, position embeddings."""
        decoder = self.decoder
        named = {id(decoder.mask_token), id(decoder.positions.table)}
        return [
            *self.encoder.no_weight_decay(),
            *(v for v in decoder.trainable_variables if len(v.shape) <= 1 or id(v) in named),
        ]

    def get_config(self) -> dict[str, Any]:
        parts = {
            "encoder": self.encoder,
            "decoder": self.decoder,
            "mask_sampler": self.mask_sampler,
            "target": self.target,
        }
        serialized = {key: keras.saving.serialize_keras_object(part) for key, part in parts.items()}
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.dtype_policy,
            "seed": self.seed,
            **serialized,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskedAutoencoder:
        parts = {
            key: keras.saving.deserialize_keras_object(config[key])
            for key in ("encoder", "decoder", "mask_sampler", "target")
        }
        return cls(**{**config, **parts})

    def _check_per_patch(self, name: str, values, images) -> None:
        shape = tuple(values.shape)
        expected = (images.shape[0], self.encoder.num_patches)
        if len(shape) != 2 or any(None not in (got, want) and got != want for got, want in zip(shape, expected)):
            rows, columns = self.encoder.grid
            raise ValueError(
                f"{name} holds one number a patch, shape (batch, {rows * columns}) for the {rows} x {columns} grid and "
                f"the images' batch of {images.shape[0]}; got {shape}"
            )


def _unpack(inputs) -> tuple[Any, Any, Any]:
    """Images, noise and mask out of what a call or a data set gives."""
    if not isinstance(inputs, dict):
        return tf.convert_to_tensor(inputs), None, None
    unknown = set(inputs) - {"images", "noise", "mask"}
    if "images" not in inputs or unknown or {"noise", "mask"} <= set(inputs):
        raise ValueError(
            'a dict of inputs holds "images" and at most one of "noise" and "mask"; got the keys '
            f"{', '.join(map(repr, inputs))}"
        )
    tensors = {key: tf.convert_to_tensor(value) for key, value in inputs.items()}
    return tensors["images"], tensors.get("noise"), tensors.get("mask")
