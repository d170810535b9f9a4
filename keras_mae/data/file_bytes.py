"""Reads numbers in an image file's bytes inside a graph, and refuses files."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def text_at(contents, begin, count) -> tf.Tensor:
    """Returns `count` bytes from `begin` on, fewer behind the file's end: string scalar."""
    length = tf.strings.length(contents)
    if not isinstance(begin, int):
        length, begin = tf.cast(length, begin.dtype), tf.maximum(begin, 0)
    return tf.strings.substr(contents, tf.cast(tf.minimum(begin, length), tf.int32), tf.cast(count, tf.int32))


def bytes_at(contents, begin, count) -> tf.Tensor:
    """Returns `count` bytes, one at least, from `begin` on as int32; zeros behind the file's end."""
    found = tf.io.decode_raw(text_at(contents, begin, count), tf.uint8, fixed_length=count)
    return tf.ensure_shape(tf.cast(found, tf.int32), [count if isinstance(count, int) else None])


def number(digits, big_endian) -> tf.Tensor:
    """Returns the numbers whose two or four bytes lie along the last axis, in the dtype of the digits."""
    return tf.reduce_sum(digits * _weights(digits, big_endian), axis=-1)


def large_number(digits, big_endian) -> tf.Tensor:
    """Returns the same of one to eight bytes, as `bounded` int64."""
    return bounded(number(tf.cast(digits, tf.int64), big_endian))


def bounded(numbers) -> tf.Tensor:
    """Replaces int64 numbers above `2**31 - 1`, or overflowed ones, by this one: no file is as long."""
    return tf.where(numbers < 0, _LARGEST, tf.minimum(numbers, _LARGEST))


def _weights(digits, big_endian):
    if digits.shape[-1] is None:
        size = tf.shape(digits, digits.dtype)[-1]
        order = tf.range(size)
        return tf.bitwise.left_shift(tf.ones_like(order), 8 * tf.where(big_endian, size - 1 - order, order))
    weights = np.left_shift(1, 8 * np.arange(digits.shape[-1])).astype(digits.dtype.as_numpy_dtype)
    if isinstance(big_endian, bool):
        return weights[::-1] if big_endian else weights
    return tf.where(big_endian, weights[::-1], weights)


def begins_with(contents, *marks: bytes) -> tf.Tensor:
    """Returns whether the file begins with one of these marks of equal lengths: bool scalar."""
    return tf.reduce_any(tf.strings.substr(contents, 0, len(marks[0])) == list(marks))


def checked(value, *conditions: tuple):
    """Returns the value, a tensor, if all conditions hold: each is `(holds, text, ...)`.

    Raises:
        tf.errors.InvalidArgumentError: with the texts of a condition that does not hold.
    """
    # not tf.debugging.Assert: its branches take a hundred times as long to build, and some microseconds an image
    found = [tf.raw_ops.Assert(condition=holds, data=[*data], summarize=8) for holds, *data in conditions]
    with tf.control_dependencies(found):
        return tf.identity(value)


def named(value, names: dict[int, str]) -> tf.Tensor:
    """Returns the name of a number for an error: string scalar."""
    place = tf.argmax(tf.concat([value == list(names), [True]], axis=0))
    return tf.gather([*names.values(), "unknown"], place)


def within_limit(contents, height, width, max_pixels: int) -> tf.Tensor:
    """Returns the bytes; raises InvalidArgumentError if the image has no pixel, or more than `max_pixels`."""
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    pixels = height * width
    text = f"an image has 1 to {max_pixels:,} pixels (set max_megapixels for more), this one's height and width are"
    return checked(contents, ((pixels >= 1) & (pixels <= max_pixels), text, height, width))


def find_chunks(contents, begin, end, kinds: list[bytes], riff: bool) -> tf.Tensor:
    """Finds where the first chunk of each kind begins, of the chunks from `begin` to `end`.

    Args:
        contents: string scalar, the file's bytes.
        begin, end: int32 scalars.
        kinds: names of four letters.
        riff: whether chunks are those of a RIFF file (name, length, data, padding) or a PNG (length, name, data, sum).

    Returns:
        int32 `(len(kinds),)`, 0 where there is none.
    """
    length_at, name_at = (4, 0) if riff else (0, 4)
    end = tf.minimum(end, tf.strings.length(contents))

    def step(place, found):
        length = tf.cast(large_number(bytes_at(contents, place + length_at, 4), not riff), tf.int32)
        length = tf.minimum(length, end - place)
        found = tf.where((found == 0) & (text_at(contents, place + name_at, 4) == kinds), place, found)
        return place + length + (8 + length % 2 if riff else 12), found

    begun = (tf.convert_to_tensor(begin), tf.zeros(len(kinds), tf.int32))
    _, found = tf.while_loop(lambda place, _: place <= end - 8, step, begun, maximum_iterations=_MAX_CHUNKS)
    return found


def as_text(value, count: int) -> tf.Tensor:
    """Writes a number as `count` bytes, the lowest first: string scalar."""
    digits = tf.bitwise.right_shift(value, 8 * tf.range(count)) % 256
    return tf.strings.reduce_join(tf.gather([bytes([level]) for level in range(256)], digits))


_MAX_CHUNKS = 10_000
_LARGEST = np.int64(2**31 - 1)
