"""The base of all pretraining models."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import keras
import tensorflow as tf

from keras_mae.decoders import Decoder
from keras_mae.encoders import Encoder, Tokens
from keras_mae.encoders.freezing import frozen_parts, model_from_config
from keras_mae.example_seed import ExampleSeed, Purpose
from keras_mae.layers import pixel_levels
from keras_mae.layers.pixel_range import with_shape
from keras_mae.layers.slots import Slot
from keras_mae.losses import MaskedLoss, chosen_loss
from keras_mae.masking import Mask, MaskSampler
from keras_mae.models.masked_inputs import per_patch, unpacked
from keras_mae.targets import Target
from keras_mae.training import DataFault, GlobalBatchModel

_MASKED_GRAY = 127.5
_BAD_MASKS = (
    "masks hold 0 (visible) and 1 (masked), with as many ones in every row as the sampler's ratio masks; those of "
    "batches with {count} images do not"
)


class MaskedImageModel(GlobalBatchModel):
    """Masks patches of images and predicts them.

    The encoder does not see masked patches, or sees a token of this model in their place. The parts are attached here.

    Args:
        encoder: an `Encoder`.
        decoder: a `Decoder`.
        masking: a `MaskSampler`.
        target: a `Target`.
        loss: a `MaskedLoss`; None for `default_loss`, or for a target of tokens the cross-entropy.
        mask_tokens_in_encoder: whether masked patches are replaced by a token, and not dropped.
        seed: int, determines the masks together with the step.
        **kwargs: of `keras.Model`. `dtype` is the policy of the model's own weights; None for the encoder's.

    Attributes:
        masked_loss: the loss.
        predict_ratio: share of the masked patches that are predicted in `fit` and `evaluate`; 1 for all.
        visible_weight: weight of the loss on visible patches; 0 for none.
        training_calls: int64 variable, the number of calls with `training=True` and without `seed`.

    Call arguments:
        inputs: images `(B, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535]; or `{"images": ...,
            "noise": (B, L)}`, where the patches with the smallest noise are visible; or `{"images": ..., "mask":
            (B, L)}`, 1 = masked, equal counts in every row. In `fit` the counts must be those of the sampler's ratio.
        mask_ratio: another mask ratio for this call.
        training: whether drop path is active.
        seed: None or an `ExampleSeed`. Without it, calls draw the masks of step 0, and calls with `training=True`, as
            in an own training loop, the masks and drop path of step 0, 1, 2 and so on.

    Returns:
        `{"prediction": (B, L, target.dim) float32, "mask": (B, L) float32, 1 = masked}`.

    Raises:
        ValueError: for a bad mask, mask ratio, image shape or dict.
    """

    # objects in the config: the constructor's arguments and their attributes
    _PARTS: ClassVar[dict[str, str]] = {
        **{name: name for name in ("encoder", "decoder", "masking", "target")},
        "loss": "masked_loss",  # Keras has another use for `loss`
    }
    default_loss: ClassVar[type[MaskedLoss]]
    predict_ratio: float = 1.0
    visible_weight: float = 0.0

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        masking: MaskSampler,
        target: Target,
        loss: MaskedLoss | None,
        mask_tokens_in_encoder: bool,
        seed: int,
        name: str,
        **kwargs: Any,
    ) -> None:
        kwargs["dtype"] = encoder.dtype_policy if kwargs.get("dtype") is None else kwargs["dtype"]
        super().__init__(seed=seed, name=name, autocast=False, **kwargs)
        self._mask_fault = DataFault(_BAD_MASKS, is_error=False)
        self.encoder, self.decoder, self.masking, self.target = encoder, decoder, masking, target
        self.masked_loss = loss = chosen_loss(loss, self.default_loss, target)
        self.mask_tokens_in_encoder = mask_tokens_in_encoder
        geometry = encoder.geometry
        masking.attach(geometry)
        target.attach(geometry)
        geometry = dataclasses.replace(geometry, target_dim=target.dim)
        loss.attach(geometry)
        decoder.inherit(encoder.dtype_policy)
        decoder.attach(geometry)
        self._check_layers()
        target.build((None, *encoder.image_shape))
        self.built = True
        self._settings_of: dict[str, tuple[float, ...]] = {}
        self.training_calls = self.counter("training_calls")
        if mask_tokens_in_encoder:
            normal = keras.initializers.RandomNormal(stddev=0.02)
            self.mask_token = self.add_weight(shape=(1, 1, encoder.hidden_dim), initializer=normal, name="mask_token")

    def example_shapes(self) -> list[tuple[int, ...]]:
        return self.encoder.example_shapes()

    def build(self, input_shape) -> None:
        """Does nothing: the constructor builds all parts."""
        self.built = True

    def compute_output_shape(self, input_shape) -> dict[str, tuple]:
        batch, num_patches = input_shape[0], self.encoder.num_patches
        return {"prediction": (batch, num_patches, self.target.dim), "mask": (batch, num_patches)}

    def _check_layers(self) -> None:
        asked = self.decoder.encoder_layers  # an encoder need not tell its layers where none are asked for
        if asked is not None and asked[-1] != self.encoder.num_layers:
            raise ValueError(
                f"encoder_layers end with the encoder's last layer, {self.encoder.num_layers}, as layers after the "
                f"last of them would not be trained; got {asked}"
            )

    def encode(self, images, mask: Mask, training=False, seed: ExampleSeed | None = None) -> Tokens | list[Tokens]:
        """The encoder's tokens of the visible patches, or of all with mask tokens, as the decoder takes them."""
        masked: dict[str, Any] = {"ids_keep": mask.ids_keep}
        if self.mask_tokens_in_encoder:
            masked = {"mask": mask.mask, "mask_token": self.mask_token}
        layers = self.decoder.encoder_layers
        if layers is None:
            return self.encoder.encode(images, **masked, training=training, seed=seed)
        return self.encoder.encode_layers(images, layers, **masked, training=training, seed=seed)

    def decode(self, tokens: Tokens | list[Tokens], mask: Mask, ids=None) -> tf.Tensor:
        """Predictions `(B, L, target.dim)` for all patches, or `(B, M, target.dim)` for `ids`, see `Decoder`."""
        if self.mask_tokens_in_encoder:  # then the decoder adds no mask tokens
            mask = Mask.from_noise(tf.zeros_like(mask.mask), self.encoder.num_patches)
        return self.decoder(tokens, mask, ids=ids)

    def num_visible(self, mask_ratio: float | None = None) -> int:
        """The number of visible patches of an image, at the sampler's ratio or another."""
        return self.masking.num_visible(self.encoder.num_patches, mask_ratio)

    def make_train_function(self, force: bool = False):
        return super().make_train_function(force or self._has_other_settings("train"))

    def make_test_function(self, force: bool = False):
        return super().make_test_function(force or self._has_other_settings("test"))

    def make_predict_function(self, force: bool = False):
        return super().make_predict_function(force or self._has_other_settings("predict"))

    def _has_other_settings(self, function: str) -> bool:
        """Whether ratios or weight have changed since the function was made, whose graph holds the old ones."""
        now = (self.masking.mask_ratio, self.predict_ratio, self.visible_weight)
        before, self._settings_of[function] = self._settings_of.get(function), now
        return before not in (None, now)

    def call(self, inputs, mask_ratio: float | None = None, training=False, seed: ExampleSeed | None = None):
        if training and seed is None:
            seed = ExampleSeed.for_step(self.seed, self.training_calls.value(), tf.shape(unpacked(inputs)[0])[0])
            self.training_calls.assign_add(1)
        images, mask = self.mask(inputs, mask_ratio, seed)
        prediction = self.decode(self.encode(images, mask, training, seed), mask)
        return {"prediction": tf.cast(prediction, tf.float32), "mask": mask.mask}

    def batch_loss(self, data, seed: ExampleSeed, training: bool) -> tf.Tensor:
        """The error on the masked patches, or on some; with `visible_weight` also on visible ones; 0 on none."""
        inputs, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)  # labels are ignored
        if sample_weight is not None:
            raise ValueError(
                "pretraining weighs all images alike: leave out sample_weight and class_weight, or choose the images"
            )
        images, mask = self.mask(inputs, seed=seed, num_visible=self.num_visible())
        tokens = self.encode(images, mask, training, seed)
        target = tf.stop_gradient(self.target.for_step(images, mask, tokens))  # else training would simplify it
        if self.visible_weight:
            prediction = self.decode(tokens, mask)  # (B, L, dim)
            parts = ((mask.ids_masked, 1.0), (mask.ids_keep, self.visible_weight))
            loss = sum(weight * self._loss_on(ids, target, prediction) for ids, weight in parts)
        else:
            ids = self.predicted(mask, seed)
            loss = self.masked_loss(tf.gather(target, ids, batch_dims=1), self.decode(tokens, mask, ids))
        broken = tf.reduce_sum(mask.mask) * 0.0  # under XLA, a mask with unequal counts is NaN
        self._mask_fault.add(tf.where(tf.math.is_nan(broken), tf.shape(images)[0], 0))
        return loss + broken

    def _loss_on(self, ids, target, prediction) -> tf.Tensor:
        return self.masked_loss(*(tf.gather(values, ids, batch_dims=1) for values in (target, prediction)))

    def predicted(self, mask: Mask, seed: ExampleSeed) -> tf.Tensor:
        """The masked patches that are predicted in a step, int `(B, M)`: all, or as many as `predict_ratio` says.

        They are drawn uniformly, `M = max(1, round(predict_ratio * masked))` of each example.
        """
        if self.predict_ratio == 1:
            return mask.ids_masked
        batch_size, masked = tf.shape(mask.ids_masked)[0], mask.ids_masked.shape[1]
        noise = seed.fold_in(Purpose.PREDICTION).uniform(batch_size, (self.encoder.num_patches,))
        noise = tf.gather(noise, mask.ids_masked, batch_dims=1)  # of each patch: in whatever order they are masked
        chosen = tf.argsort(noise, axis=1, stable=True)[:, : max(1, round(self.predict_ratio * masked))]
        return tf.gather(mask.ids_masked, chosen, batch_dims=1)

    def mask(
        self, inputs, mask_ratio: float | None = None, seed: ExampleSeed | None = None, num_visible: int | None = None
    ) -> tuple[tf.Tensor, Mask]:
        """The images in `inputs`, and their mask: the given one, or one from the given noise, or a drawn one.

        Args:
            inputs, mask_ratio, seed: as for a call.
            num_visible: the number of visible patches that a given mask must have; None for any.
        """
        images, noise, mask = unpacked(inputs)
        images = with_shape(images, self.encoder.image_shape)
        if mask is not None:
            mask = per_patch("mask", mask, images, self.encoder.grid)
            return images, Mask.from_mask(mask, num_visible)
        if noise is not None:
            noise = per_patch("noise", noise, images, self.encoder.grid)
            return images, Mask.from_noise(noise, self.num_visible(mask_ratio))
        batch_size = tf.shape(images)[0]
        if seed is None:
            seed = ExampleSeed.for_step(self.seed, 0, batch_size)
        return images, self.masking(self.encoder.grid, batch_size, seed, mask_ratio)

    def reconstruct(self, images, noise=None, mask=None, mask_ratio: float | None = None) -> dict[str, tf.Tensor]:
        """Fills in the masked patches, for pictures.

        Visible patches are those of the images: training has no loss on them, or little (`visible_weight`), so that the
        output there (in the call's `prediction`) means little. If the target is normalised pixels, the network predicts
        each patch up to its mean and contrast; de-normalising then uses the statistics of the original patch, which the
        network has not seen, so that even an untrained one seems to work. A further output interpolates mean and
        contrast from the visible patches instead.

        Args:
            images: `(B, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].
            noise: None, or `(B, L)`; the smallest are visible.
            mask: None, or `(B, L)`, 1 = masked.
            mask_ratio: another mask ratio for this call.

        Returns:
            `{"reconstruction": (B, H, W, C) float32 in [0, 255], "masked_images": likewise, masked patches gray,
            "mask": (B, L) float32}`; with normalised pixels also `"reconstruction_from_visible": (B, H, W, C) float32`,
            which does not depend on masked pixels.
        """
        inputs = {"images": images, "noise": noise, "mask": mask}
        images, partition = self.mask({key: value for key, value in inputs.items() if value is not None}, mask_ratio)
        prediction = self.decode(self.encode(images, partition), partition)
        geometry = self.encoder.geometry
        patches = pixel_levels(geometry.patches(images))  # (B, L, ph * pw * C)
        hidden = partition.mask[..., None] > 0

        def filled_in(predicted) -> tf.Tensor:
            return geometry.images(tf.clip_by_value(tf.where(hidden, predicted, patches), 0.0, 255.0))

        outputs = {
            "reconstruction": filled_in(self.target.to_pixels(prediction, images)),
            "masked_images": geometry.images(tf.where(hidden, _MASKED_GRAY, patches)),
            "mask": partition.mask,
        }
        if self.target.uses_hidden_pixels:
            without = self.target.to_pixels_from_visible(prediction, images, partition.mask)
            outputs["reconstruction_from_visible"] = filled_in(without)
        return outputs

    def check_arguments(self, arguments: dict[str, Any]) -> None:
        """Raises a ValueError if the target is not fitted."""
        self.target.check_fitted()

    def data_faults(self) -> list[DataFault]:
        return [*super().data_faults(), self._mask_fault]

    def fixed_variables(self) -> list[keras.Variable]:
        """The target's variables: a tokenizer's, or fitted ones."""
        return self.target.weights

    def layer_groups(self) -> list[list[keras.Variable]]:
        """The trainable variables by depth: the encoder's groups, then decoder and mask token, fresh as that is."""
        behind = [*self._own_tokens(), *self.decoder.weights]
        return [self.trained_of(group) for group in (*self.encoder.layer_groups(), behind)]

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables without weight decay: biases, norms, gains, tokens, position embeddings.

        SimMIM's code decays the mask token; here no token is decayed.
        """
        parts = (self.encoder.no_weight_decay(), self.decoder.no_weight_decay(), self._own_tokens())
        return self.trained_of(variable for part in parts for variable in part)

    def slots(self) -> Iterator[Slot]:
        """Every weight with its name and layout in checkpoints of PyTorch."""
        yield from self.encoder.slots()
        for token in self._own_tokens():
            yield Slot("mask_token", "", token)
        yield from self.decoder.slots()

    def _own_tokens(self) -> list[keras.Variable]:
        return [self.mask_token] if self.mask_tokens_in_encoder else []

    def get_config(self) -> dict[str, Any]:
        parts = {key: keras.saving.serialize_keras_object(getattr(self, name)) for key, name in self._PARTS.items()}
        own = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype_policy, "seed": self.seed}
        return {**own, **parts, **frozen_parts(self, skip=["encoder", "target"])}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskedImageModel:
        return model_from_config(cls, config, objects=cls._PARTS, skip=["encoder", "target"])
