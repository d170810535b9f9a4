"""Scales images with TensorFlow's kernel, in the layout in which it is fast."""

from __future__ import annotations

import tensorflow as tf

from keras_mae import _backend  # noqa: F401

_LARGE = 2**21  # values; one thread scales what has no more: where all cores are busy, more images come that way


def scale_and_translate(image, size, scale, translation=(0.0, 0.0)) -> tf.Tensor:
    """Scales and moves an image (bicubic, antialiased): the same bits as `tf.raw_ops.ScaleAndTranslate`, sooner.

    TensorFlow's kernel goes down an image first, and adds whole rows. Then it goes across, pixel by pixel, which takes
    most of its time. Here it goes down twice, and the image is transposed in between. What is not large lies along the
    kernel's second axis: the first one is shared out among threads, which wait for each other where all are busy.

    Args:
        image: uint8, uint16 or float32 `(H, W, C)`.
        size: height and width of the result.
        scale: factors for the height and the width.
        translation: of the scaled image, in pixels of the result, down and across.

    Returns:
        float32 `(*size, C)`. What lies outside of the image is zero.
    """
    rows = scale_down(image, size[0], scale[0], translation[0])
    return scale_across(rows, size[1], scale[1], translation[1])


def scale_down(image, length, scale, translation=0.0) -> tf.Tensor:
    """Scales and moves an image in the height alone: `(H, W, C)` to float32 `(length, W, C)`."""
    height, width, channels = tf.unstack(tf.shape(image))
    rows = _scaled(tf.reshape(image, [height, width * channels]), length, scale, translation)
    return tf.ensure_shape(tf.reshape(rows, [length, width, channels]), (None, None, image.shape[-1]))


def scale_across(image, length, scale, translation=0.0) -> tf.Tensor:
    """Scales and moves an image in the width alone: `(H, W, C)` to float32 `(H, length, C)`."""
    height, width, channels = tf.unstack(tf.shape(image))
    pixels = tf.reshape(tf.cast(image, tf.float32), [height, width * channels])
    columns = tf.reshape(tf.transpose(pixels), [width, channels * height])
    columns = tf.reshape(_scaled(columns, length, scale, translation), [length * channels, height])
    pixels = tf.reshape(tf.transpose(columns), [height, length, channels])
    return tf.ensure_shape(pixels, (None, None, image.shape[-1]))


def _scaled(rows, length, scale, translation) -> tf.Tensor:
    """Scales and moves `(H, N)` in the height: float32 of `length * N` values, in one row."""
    is_large = tf.size(rows, tf.int64) > _LARGE
    shape = tf.gather(tf.concat([tf.shape(rows), [1]], axis=0), tf.where(is_large, [2, 0, 2, 1], [2, 2, 0, 1]))
    order = tf.where(is_large, [0, 1], [1, 0])  # of the axis that is scaled, and the one that is not

    return tf.raw_ops.ScaleAndTranslate(
        images=tf.reshape(rows, shape),  # a row is the channels of one pixel
        size=tf.gather([length, 1], order),
        scale=tf.gather([scale, 1.0], order),
        translation=tf.gather([translation, 0.0], order),
        kernel_type="keyscubic",
        antialias=True,
    )


def rounded(pixels, dtype: tf.DType) -> tf.Tensor:
    """Rounds float32 levels to the nearest ones of an integer dtype."""
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, dtype.max), dtype)
