"""Normalisation of pixel values for the network."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def pixel_levels(pixels) -> tf.Tensor:
    """Pixels of any dtype as levels in [0, 255], float32: the dtype uint16 means 0 to 65535, that is `257 * level`."""
    pixels = tf.convert_to_tensor(pixels)
    levels = tf.cast(pixels, tf.float32)
    return levels / 257 if pixels.dtype == tf.uint16 else levels


@keras.saving.register_keras_serializable(package="keras_mae")
class PixelNormalization(keras.layers.Layer):
    """`(pixels / 255 - mean) / std` per channel, in float32, on the device.

    It takes images and flattened patches alike: the last axis holds whole pixels, channel fastest.

    Args:
        mean: one number a channel, in units of 255 pixel levels.
        std: likewise.

    Call arguments:
        pixels: tensor `(..., n * C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].

    Returns:
        float32 tensor of the same shape.
    """

    compute_output_spec = keras.Operation.compute_output_spec  # traces `call`, so that the dtype is right

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(
                f"mean and std hold one number a channel, every std above 0; got mean={mean!r} and std={std!r}"
            )

    def _tiled(self, values: np.ndarray, width: int) -> np.ndarray:
        return np.tile(values.astype("float32"), width // len(self.mean))

    def call(self, pixels):
        scale = 1.0 / (255.0 * np.asarray(self.std))
        offset = -np.asarray(self.mean) / np.asarray(self.std)
        width = pixels.shape[-1]
        return pixel_levels(pixels) * self._tiled(scale, width) + self._tiled(offset, width)

    def inverse(self, normalized) -> tf.Tensor:
        """The inverse: pixel levels in [0, 255] (not clipped), float32."""
        width = normalized.shape[-1]
        scale, offset = 255.0 * np.asarray(self.std), 255.0 * np.asarray(self.mean)
        return tf.cast(normalized, tf.float32) * self._tiled(scale, width) + self._tiled(offset, width)

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "std": self.std}
