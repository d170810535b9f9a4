"""Pixels as the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_mae.targets.target import Target
from keras_mae.targets.visible_statistics import interpolate_visible

_EPSILON = 1e-6


@keras.saving.register_keras_serializable(package="keras_mae")
class PixelTarget(Target):
    """The pixels of each patch, as the network sees them (mean and std of the data set taken out).

    With `normalize=True` each patch is normalised by its own statistics over all its pixels and channels:
    `(x - mean) / sqrt(var + 1e-6)`, where the variance is the unbiased one (divided by N - 1).

    Args:
        normalize: whether patches are normalised one by one.

    Call arguments:
        images: `(B, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].

    Returns:
        float32 `(B, L, ph * pw * C)`.

    Reference: arXiv 2111.06377, section 3, "Reconstruction target"; Table 1d.
    """

    def __init__(self, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.normalize = normalize
        self.uses_hidden_pixels = normalize

    def _statistics(self, patches) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation of each patch, both `(B, L, 1)`."""
        count = patches.shape[-1]
        mean = tf.reduce_mean(patches, axis=-1, keepdims=True)
        variance = tf.reduce_sum(tf.square(patches - mean), axis=-1, keepdims=True) / max(count - 1, 1)
        return mean, tf.sqrt(variance + _EPSILON)

    def call(self, images):
        patches = self.geometry.normalized_patches(images)  # (B, L, ph * pw * C)
        if self.normalize:
            mean, std = self._statistics(patches)
            patches = (patches - mean) / std
        return patches

    def to_pixels(self, prediction, images) -> tf.Tensor:
        """Pixels of the prediction; with `normalize`, by the statistics of the original patches."""
        return self._to_pixels(prediction, images, lambda values: values)

    def to_pixels_from_visible(self, prediction, images, mask) -> tf.Tensor:
        """Pixels of the prediction; with `normalize`, by statistics that are interpolated from visible patches."""
        return self._to_pixels(prediction, images, lambda values: interpolate_visible(values, mask, self.geometry.grid))

    def _to_pixels(self, prediction, images, known: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        prediction = tf.cast(prediction, tf.float32)
        if self.normalize:
            mean, std = map(known, self._statistics(self.geometry.normalized_patches(images)))
            prediction = prediction * std + mean
        return self.geometry.levels(prediction)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "normalize": self.normalize}
