"""Augments a batch of small images of one size at once."""

from __future__ import annotations

import math

import tensorflow as tf

from keras_mae.data.augmentation import RATIO, Augmentation, color_jitter, crop_window
from keras_mae.data.scaling import rounded
from keras_mae.example_seed import ExampleSeed, Purpose

_LARGEST = 128 * 128  # pixels up to which the resize by matrices is faster


def applies_to(
    augmentation: Augmentation, source_shape: tuple[int, int, int] | None, image_shape: tuple[int, int, int]
) -> bool:
    """Returns whether `augment_batch` does the same as the augmentation, and faster."""
    if source_shape is None or type(augmentation) is not Augmentation:
        return False
    cropped = augmentation.crop_scale is not None
    small = max(math.prod(source_shape[:2]), math.prod(image_shape[:2])) <= _LARGEST
    return (cropped and small) or augmentation.crop_is_whole(source_shape, image_shape)


def augment_batch(
    augmentation: Augmentation, images, image_shape: tuple[int, int, int], seed: int, epoch, indices
) -> tf.Tensor:
    """Augments each image as the augmentation does on its own, up to rounding.

    The augmentation must be one that `applies_to` the images, uint8 or uint16 `(B, H, W, C)`, whose indices in the
    source are int64 `(B,)`. Returns `(B, *image_shape)` of the same dtype.
    """
    base = ExampleSeed.of(seed, epoch)
    images = _crop_and_flip(augmentation, images, image_shape, base, indices)
    if not augmentation.jitter:
        return images
    return color_jitter(images, base.fold_in(Purpose.JITTER).uniform_at(indices, (3,)), augmentation.jitter)


def _crop_and_flip(augmentation: Augmentation, images, image_shape, base: ExampleSeed, indices) -> tf.Tensor:
    mirrored = tf.zeros_like(indices, tf.bool)
    if augmentation.flip:
        mirrored = base.fold_in(Purpose.FLIP).uniform_at(indices, ()) < 0.5
    if augmentation.crop_scale is None:
        return tf.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    draws = base.fold_in(Purpose.CROP).uniform_at(indices, (10, 4))
    windows = crop_window(images.shape[1:3], draws, augmentation.crop_scale, RATIO)
    top, left, height, width = tf.unstack(tf.cast(windows, tf.float32), axis=-1)
    rows = resize_matrix(top, height, images.shape[1], image_shape[0])
    columns = resize_matrix(left, width, images.shape[2], image_shape[1])
    columns = tf.where(mirrored[:, None, None], columns[:, ::-1], columns)

    _, old_height, old_width, channels = images.shape
    pixels = tf.cast(images, tf.float32)
    pixels = rows @ tf.reshape(pixels, [-1, old_height, old_width * channels])  # (B, height, W C)
    pixels = tf.reshape(pixels, [-1, image_shape[0], old_width, channels])
    pixels = tf.reshape(tf.transpose(pixels, [0, 2, 1, 3]), [-1, old_width, image_shape[0] * channels])
    pixels = columns @ pixels  # (B, width, height C)
    pixels = tf.transpose(tf.reshape(pixels, [-1, image_shape[1], image_shape[0], channels]), [0, 2, 1, 3])
    return rounded(pixels, images.dtype)


def resize_matrix(begin, length, old_size: int, new_size: int) -> tf.Tensor:
    """Returns the antialiased bicubic resize of a part of a row of pixels as a matrix.

    Args:
        begin, length: of the parts, in pixels: float32 `(B,)`.
        old_size: pixels in the row.
        new_size: pixels in the result.

    Returns:
        float32 `(B, new_size, old_size)`; every row sums to 1.

    Reference: Keys, "Cubic convolution interpolation for digital image processing", 1981 (a = -1/2).
    """
    begin, length = begin[:, None, None], length[:, None, None]
    step = length / new_size
    centre = begin + (tf.range(new_size, dtype=tf.float32)[:, None] + 0.5) * step
    place = tf.range(old_size, dtype=tf.float32) + 0.5
    distance = tf.abs(place - centre) / tf.maximum(step, 1.0)
    near = ((1.5 * distance - 2.5) * distance) * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weight = tf.where(distance < 1, near, tf.where(distance < 2, far, 0.0))
    weight = tf.where((place > begin) & (place < begin + length), weight, 0.0)
    return weight / tf.reduce_sum(weight, axis=-1, keepdims=True)
