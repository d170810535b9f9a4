"""The orientation in EXIF data, which TensorFlow's decoders ignore."""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from keras_mae.data.file_bytes import bytes_at, large_number, number, text_at
from keras_mae.data.rare_branch import rarely, traced_once
from keras_mae.data.tiff_header import TYPE_SIZES

_TAG = 0x0112  # Orientation, in the first directory (IFD0)
_INTEGERS = (3, 4, 8, 9)  # types of two and of four bytes
_APP0, _APP1, _APP15, _COMMENT = 0xE0, 0xE1, 0xEF, 0xFE


def orientation(contents) -> tf.Tensor:
    """Reads the EXIF orientation from a JPEG's bytes: int32 scalar, 1 to 8; 1 (upright) if none is valid.

    Reference: CIPA DC-008 (Exif 2.32), sections 4.5.2, 4.6.2 and 4.6.4.
    """
    # Most programs write one segment in front of the tables. To look further takes a tenth of the decoding's time
    is_plain = (text_at(contents, 2, 4) == b"\xff\xe0\0\x10") & (text_at(contents, 20, 2) == b"\xff\xdb")
    return tf.cond(is_plain, lambda: tf.constant(1), rarely(lambda: _find(contents)))


def upright(image, orientation) -> tf.Tensor:
    """Mirrors and turns an image `(H, W, C)` by its EXIF orientation, int32 scalar, 1 to 8.

    Returns:
        `(H, W, C)`, or `(W, H, C)` for orientations from 5 on.
    """
    result = tf.cond(orientation == 1, lambda: image, lambda: _turning(image.dtype)(image, orientation))
    return tf.ensure_shape(result, (None, None, image.shape[-1]))


@functools.cache
def _turning(dtype: tf.DType) -> Callable:
    @traced_once(tf.TensorSpec((None, None, None), dtype), tf.TensorSpec((), tf.int32))
    def turned(image, orientation):
        down_right = tf.gather([[0, 0], [0, 1], [1, 1], [1, 0], [0, 0], [1, 0], [1, 1], [0, 1]], orientation - 1)
        image = tf.reverse(image, tf.where(down_right == 1)[:, 0])
        return tf.transpose(image, tf.where(orientation >= 5, [1, 0, 2], [0, 1, 2]))

    return turned


def stored_window(window, size, orientation) -> tf.Tensor:
    """Finds a window of the upright image in the stored one, whose `(height, width)` is `size`.

    Both windows are int32 `(top, left, height, width)`.
    """

    def turned():
        turn = orientation >= 5
        down = (orientation == 3) | (orientation == 4) | (orientation == 6) | (orientation == 7)
        right = (orientation == 2) | (orientation == 3) | (orientation == 7) | (orientation == 8)
        top, left, height, width = tf.unstack(tf.gather(window, tf.where(turn, [1, 0, 3, 2], [0, 1, 2, 3])))
        top = tf.where(down, size[0] - height - top, top)
        left = tf.where(right, size[1] - width - left, left)
        return tf.stack([top, left, height, width])

    return tf.cond(orientation == 1, lambda: window, rarely(turned))


def _find(contents) -> tf.Tensor:
    """Reads the first segment of EXIF data in front of the image."""

    def look_further(place, marker, begin):
        is_application = (marker[0] == 0xFF) & ((marker[1] >= _APP0) & (marker[1] <= _APP15) | (marker[1] == _COMMENT))
        return is_application & ~_is_exif(marker)

    def step(place, marker, begin):
        place += 2 + number(marker[2:4], True)
        return place, bytes_at(contents, place, 10), place + 10

    marker = bytes_at(contents, 2, 10)
    _, marker, begin = tf.while_loop(look_further, step, (2, marker, 12), maximum_iterations=64)
    end = begin - 8 + number(marker[2:4], True)
    return tf.cond(_is_exif(marker), lambda: exif_orientation(contents, begin, end), lambda: tf.constant(1))


def _is_exif(marker) -> tf.Tensor:
    """Returns whether ten bytes begin a segment of EXIF data: marker (2), length (2), `Exif`, two zeros."""
    return tf.reduce_all(tf.gather(marker, [0, 1, 4, 5, 6, 7, 8, 9]) == [0xFF, _APP1, *b"Exif\0\0"])


@traced_once(tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int32))
def exif_orientation(contents, begin, end) -> tf.Tensor:
    """Reads the orientation from the EXIF data (a TIFF structure) between two bytes: int32 scalar, 1 to 8."""
    data = text_at(contents, begin, tf.maximum(end - begin, 0))
    header = bytes_at(data, 0, 8)
    big = header[0] == ord("M")
    directory = number(header[4:8], big)
    count = number(bytes_at(data, directory, 2), big)
    entries = bytes_at(data, directory + 2, 12 * tf.maximum(count, 1))
    entries = tf.reshape(entries, [-1, 12])  # tag (2), type (2), count (4), value (4, left-justified) or its place
    tags, types, counts, values = (large_number(entries[:, a:b], big) for a, b in ((0, 2), (2, 4), (4, 8), (8, 12)))
    sizes = tf.gather(tf.constant(TYPE_SIZES, tf.int64), tf.where(types < len(TYPE_SIZES), types, 0))
    # like Pillow, skip fields that are too large, and read nothing behind one whose value lies outside of the data
    lengths, end = tf.where(sizes * counts > 4, sizes * counts, 0), tf.cast(tf.strings.length(data), tf.int64)
    is_outside = (lengths > 0) & (tf.cumsum(lengths) <= end) & (values + lengths > end)
    values = tf.where(sizes == 2, large_number(entries[:, 8:10], big), values)
    is_it = (tags == _TAG) & (counts > 0) & (lengths == 0) & tf.reduce_any(types[:, None] == _INTEGERS, axis=1)
    is_it &= tf.cumsum(tf.cast(is_outside, tf.int32)) == 0
    is_it &= tf.reduce_any(text_at(data, 0, 4) == [b"II*\0", b"MM\0*"])
    noted = tf.where(tf.reduce_any(is_it), values[tf.argmax(is_it)], 1)
    return valid_orientation(tf.cast(noted, tf.int32))


def valid_orientation(noted) -> tf.Tensor:
    """Replaces an invalid orientation by 1."""
    return tf.where((noted >= 1) & (noted <= 8), noted, 1)
