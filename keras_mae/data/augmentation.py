"""Random image operations, each a function of the uniform numbers that it is given."""

from __future__ import annotations

import math

import tensorflow as tf

from keras_mae.data.preprocessing import resize


def random_resized_crop(
    image,
    size: tuple[int, int],
    draws,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tf.Tensor:
    """Cuts out a random rectangle and resizes it (bicubic, antialiased).

    The rectangle's area is uniform in `scale` times the image's, its aspect (width / height) log-uniform in `ratio`.
    The first of ten draws that fits into the image is taken; if none does, the largest centred rectangle with an
    allowed aspect.

    Args:
        image: uint8 `(H, W, C)`.
        size: height and width of the result.
        draws: uniform numbers in [0, 1), float32 `(10, 4)`.
        scale, ratio: bounds.

    Returns:
        uint8 `(*size, C)`.

    Reference: arXiv 1409.4842, section 6; arXiv 2111.06377, table 8.
    """
    top, left, height, width = tf.unstack(crop_window(tf.shape(image)[:2], draws, scale, ratio))
    crop = image[top : top + height, left : left + width]
    return tf.ensure_shape(resize(crop, size), (*size, image.shape[-1]))


def crop_window(size, draws, scale: tuple[float, float], ratio: tuple[float, float]) -> tf.Tensor:
    """The rectangle of `random_resized_crop` as int32 `(top, left, height, width)`, for an image of `size`."""
    image_height, image_width = tf.unstack(tf.cast(size, tf.float32))
    area = image_height * image_width * (scale[0] + (scale[1] - scale[0]) * draws[:, 0])
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    aspect = tf.exp(log_low + (log_high - log_low) * draws[:, 1])
    heights, widths = tf.round(tf.sqrt(area / aspect)), tf.round(tf.sqrt(area * aspect))
    fits = (heights >= 1) & (widths >= 1) & (heights <= image_height) & (widths <= image_width)
    tops = tf.floor(draws[:, 2] * (image_height - heights + 1))
    lefts = tf.floor(draws[:, 3] * (image_width - widths + 1))

    # if nothing fits: all of the image, cut to the nearest allowed aspect
    allowed = tf.clip_by_value(image_width / image_height, ratio[0], ratio[1])
    whole_height = tf.minimum(image_height, tf.round(image_width / allowed))
    whole_width = tf.minimum(image_width, tf.round(image_height * allowed))
    centre = [tf.floor((image_height - whole_height) / 2), tf.floor((image_width - whole_width) / 2)]

    windows = tf.stack([tops, lefts, heights, widths], axis=1)  # (10, 4)
    windows = tf.concat([windows, [[*centre, whole_height, whole_width]]], axis=0)
    first = tf.argmax(tf.concat([fits, [True]], axis=0))
    return tf.cast(windows[first], tf.int32)


def random_flip(image, draw) -> tf.Tensor:
    """The image, mirrored left to right if the uniform number `draw` is below one half."""
    return tf.cond(draw < 0.5, lambda: image[:, ::-1], lambda: image)
