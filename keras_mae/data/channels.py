"""Converts a file's channels to those that are asked for."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data.file_bytes import checked
from keras_mae.data.rare_branch import rarely
from keras_mae.data.row_blocks import by_row_blocks

# Weights of red, green and blue in the luma of ITU-R BT.601, as in JPEG's and Pillow's gray
LUMA = (0.299, 0.587, 0.114)
_WRONG = "the file has another number of channels than the one asked for:"


def as_asked(image, channels: int, background: int) -> tf.Tensor:
    """Converts an image to 1 or 3 channels; other numbers must be the image's own.

    Args:
        image: uint8 or uint16 `(H, W, C)`. With 1 to 4 channels it is gray, gray and alpha, RGB, or RGB and alpha.
        channels: positive.
        background: the gray level in [0, 255] behind transparent pixels, for 1 or 3 channels.

    Returns:
        `(H, W, channels)` of the same dtype.

    Raises:
        tf.errors.InvalidArgumentError: if the image cannot be converted.
    """
    own = tf.shape(image)[-1]
    if channels not in (1, 3):
        return tf.ensure_shape(checked(image, (own == channels, _WRONG, own, channels)), (None, None, channels))

    def converted():
        # an image of more than 4 channels has no red, green and blue
        return by_row_blocks(lambda rows: _convert(rows, channels, background), checked(image, (own <= 4, _WRONG, own)))

    image = tf.cond(own == channels, lambda: image, rarely(converted))
    return tf.ensure_shape(image, (None, None, channels))


def _convert(image, channels: int, background: int) -> tf.Tensor:
    own = tf.shape(image)[-1]
    image = tf.cond(own % 2 == 0, lambda: _composited(image, background), lambda: image)
    gray = tf.shape(image)[-1] == 1
    if channels == 1:
        return tf.cond(gray, lambda: image, lambda: _luma(image))
    return tf.cond(gray, lambda: tf.concat([image] * 3, axis=-1), lambda: image)


def _composited(image, background: int) -> tf.Tensor:
    """Lays the colours over an opaque background; alpha is the last channel."""
    level = float(background * (image.dtype.max // 255))
    pixels = tf.cast(image, tf.float32)
    pixels = level + (pixels[..., :-1] - level) * pixels[..., -1:] / float(image.dtype.max)
    return tf.cast(tf.round(pixels), image.dtype)


def _luma(image) -> tf.Tensor:
    gray = tf.reduce_sum(tf.cast(image, tf.float32) * LUMA, axis=-1, keepdims=True)
    return tf.cast(tf.round(gray), image.dtype)
