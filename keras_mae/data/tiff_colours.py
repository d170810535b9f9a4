"""Converts the samples of a TIFF page to the colours that Pillow shows."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data import tiff_header as tag
from keras_mae.data.file_bytes import checked, named
from keras_mae.data.row_blocks import by_row_blocks
from keras_mae.data.tiff_header import Directory

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_NAMES = {4: "mask", 6: "YCbCr", 8: "CIELab", 9: "ICCLab", 32803: "CFA", 32844: "LogL", 32845: "LogLuv", 34892: "raw"}
_ASSOCIATED, _ALPHA = 1, (1, 2, 999)  # kinds of an extra sample; 999 is an old Corel Draw's


def to_colours(image, page: Directory, channels) -> tf.Tensor:
    """Converts the samples of a page, uint8 or uint16 `(H, W, samples)`, to gray or RGB, with or without alpha.

    A gray page of as many samples as `channels` is not changed. Samples of unknown meaning are refused.
    """
    photometric, depth = page.one(tag.PHOTOMETRIC), page.one(tag.BITS)
    in_jpeg = page.one(tag.COMPRESSION) == 7  # there YCbCr has become RGB
    samples = tf.shape(image)[-1]
    decoded = tf.cast(tf.where(samples == 3, _RGB, _BLACK_IS_ZERO), tf.int64)
    photometric = tf.where(in_jpeg & (photometric == _YCBCR), decoded, photometric)
    kinds = [photometric <= 1, photometric == _PALETTE, photometric == _RGB, photometric == _CMYK]
    kind = tf.argmax([*kinds, True], output_type=tf.int32)
    base = tf.gather([1, 1, 3, 4, 0], kind)
    extra = page.one(tag.EXTRA_SAMPLES)
    has_alpha = tf.reduce_any(extra == _ALPHA) | (extra == -1) & (photometric == _RGB)
    has_alpha &= samples > base
    stack = (photometric <= 1) & (samples > 2)
    not_read = "this kind of TIFF colours (photometric interpretation) is not read:"
    image = checked(
        image,
        (kind < 4, not_read, photometric, named(photometric, _NAMES)),
        (samples >= base, "a TIFF has fewer channels than its kind of colours:", samples, base),
        (~stack | (samples == channels), "the file has another number of channels than the one asked for:", samples),
        (
            ~((photometric == 0) & (depth > 8)),
            "a TIFF of 16 bits whose 0 is white is shown differently by each program; store it with 0 for black",
        ),
    )
    colours = tf.switch_case(
        tf.minimum(kind, 3),
        [
            lambda: _gray(scaled(image, depth), photometric, stack),
            lambda: _by_palette(image, page, depth),
            lambda: scaled(image, depth)[..., :3],
            lambda: by_row_blocks(_of_cmyk, scaled(image, depth)),
        ],
    )

    def with_alpha():
        both = tf.concat([colours, scaled(image[..., base : base + 1], depth)], axis=-1)
        return tf.cond(extra == _ASSOCIATED, lambda: by_row_blocks(_straight, both), lambda: both)

    return tf.ensure_shape(tf.cond(has_alpha & ~stack, with_alpha, lambda: colours), (None, None, None))


def scaled(image, depth) -> tf.Tensor:
    """Scales levels of less than 12 bits to the range of the dtype."""
    top = tf.where(depth < 12, tf.bitwise.left_shift(tf.ones_like(depth), depth) - 1, image.dtype.max)
    factor = tf.cast(image.dtype.max // top, image.dtype)
    return tf.cond(factor == 1, lambda: image, lambda: image * factor)


def _gray(image, photometric, stack) -> tf.Tensor:
    image = tf.cond(stack, lambda: image, lambda: image[..., :1])
    return tf.cond(photometric == _WHITE_IS_ZERO, lambda: image.dtype.max - image, lambda: image)


def _by_palette(image, page: Directory, depth) -> tf.Tensor:
    levels = page.all(tag.COLOUR_MAP, 3 * 2**16)
    count = tf.bitwise.left_shift(tf.ones_like(depth), depth)
    known = (tf.size(levels, tf.int64) >= 3 * count) & (depth <= 8)
    wrong = "a TIFF of indices has a colour map of three numbers for each of 2 to 256:"
    levels = checked(levels, (known, wrong, levels))
    levels = tf.transpose(tf.reshape(levels[: tf.size(levels) // 3 * 3], [3, -1]))
    levels = levels // 256 if image.dtype == tf.uint8 else levels
    return by_row_blocks(lambda rows: tf.gather(tf.cast(levels, image.dtype), tf.cast(rows[..., 0], tf.int32)), image)


def _of_cmyk(image) -> tf.Tensor:
    top = float(image.dtype.max)
    pixels = top - tf.cast(image[..., :4], tf.float32)
    return tf.cast(tf.round(pixels[..., :3] * pixels[..., 3:] / top), image.dtype)


def _straight(image) -> tf.Tensor:
    """Divides colours by alpha, with which they were multiplied."""
    pixels = tf.cast(image, tf.float32)
    colours = tf.math.floor(pixels[..., :-1] * float(image.dtype.max) / tf.maximum(pixels[..., -1:], 1.0))
    return tf.concat([tf.cast(tf.minimum(colours, float(image.dtype.max)), image.dtype), image[..., -1:]], axis=-1)
