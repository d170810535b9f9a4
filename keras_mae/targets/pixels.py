"""Pixels as the target."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.targets.target import Target

_EPSILON = 1e-6


def interpolate_visible(values, mask, grid: tuple[int, int]) -> tf.Tensor:
    """Replaces the numbers of hidden patches by a weighted mean over all visible ones.

    A visible patch at a distance of d patches has the weight `1 / d**4`.

    Args:
        values: float32 `(B, L, 1)`, a number a patch.
        mask: `(B, L)`, 1 = hidden; a row has at least one 0.
        grid: rows and columns of patches, `L` in all.

    Returns:
        float32 `(B, L, 1)`; it does not depend on the numbers of hidden patches.

    Reference: "A two-dimensional interpolation function for irregularly-spaced data", 1968 (inverse distances).
    """
    places = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1).reshape(-1, 2)
    squared = np.square(places[:, None] - places).sum(axis=-1).astype("float32")  # (L, L)
    weights = 1 / np.square(squared + np.eye(len(places), dtype="float32"))  # a patch itself is visible, or counts 0
    visible = tf.cast(mask[..., None] == 0, tf.float32)  # (B, L, 1)
    seen = tf.where(visible > 0, values, 0.0)
    mean = tf.math.divide_no_nan(tf.matmul(weights, seen), tf.matmul(weights, visible))
    return tf.where(visible > 0, values, mean)


@keras.saving.register_keras_serializable(package="keras_mae")
class PixelTarget(Target):
    """The pixels of each patch, normalised by mean and std of the data set like the network's input.

    With `normalize=True` each patch is normalised by its own statistics over all its pixels and channels:
    `(x - mean) / sqrt(var + 1e-6)`, where the variance is the unbiased one (divided by N - 1).

    Args:
        normalize: whether each patch is normalised by its own statistics.

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

    def _statistics(self, patches) -> tuple[tf.Tensor, tf.Tensor]:  # both (B, L, 1)
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
        """The pixels of the prediction; with `normalize`, by the statistics of the original patches."""
        return self.to_pixels_from_visible(prediction, images, mask=None)

    def to_pixels_from_visible(self, prediction, images, mask) -> tf.Tensor:
        """The pixels of the prediction; with `normalize`, by statistics that are interpolated from visible patches."""
        prediction = tf.cast(prediction, tf.float32)
        if self.normalize:
            mean, std = self._statistics(self.geometry.normalized_patches(images))
            if mask is not None:
                mean, std = (interpolate_visible(values, mask, self.geometry.grid) for values in (mean, std))
            prediction = prediction * std + mean
        return self.geometry.levels(prediction)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "normalize": self.normalize}
