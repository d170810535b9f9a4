"""Decodes the LZW of TIFF files, many strips at once.

The width of a code follows from its number since the last Clear, so that all codes of a file can be read at once. An
entry of the table is the string of one earlier code and the byte behind it. So a code is one byte longer than the
earlier code, and its bytes are copies of earlier bytes. Both are found by following these references twice as far in
each round.

Reference: TIFF revision 6.0 (Adobe, 1992), section 13.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mae.data.file_bytes import checked

_CLEAR, _END, _FIRST = 256, 257, 258
_MOST = 4096  # codes between two Clears
_ORDER = np.arange(_MOST)
# the table grows by one string for each code but the first; a code is read one bit wider once it holds 511, 1023, 2047
_WIDTHS = 9 + sum((_ORDER + _FIRST - 1 >= full).astype(np.int32) for full in (511, 1023, 2047))
_PLACES = np.concatenate([[0], np.cumsum(_WIDTHS)[:-1]]).astype(np.int32)


def decode_lzw(data, begins, lengths, expected) -> tf.Tensor:
    """Decodes strips of `data`, uint8 `(n,)`, and joins them: uint8 `(sum(expected),)`.

    Args are those of `tiff_compression.decompress`. A strip of fewer bytes, or of unknown codes, is refused.
    """
    data = tf.cast(tf.pad(data, [[0, 3]]), tf.int32)
    words = data[:-2] * 65536 + data[1:-1] * 256 + data[2:]  # the 24 bits from each byte on
    begins = begins * 8
    starts, counts = _segments(words, begins, begins + lengths * 8)
    codes, first = _codes(words, starts, counts)
    place = tf.range(tf.size(codes))
    parent = tf.where(codes < _CLEAR, place, first + codes - _FIRST)
    is_literal = parent == place
    known = (parent < place) & (parent >= first) | is_literal & (codes < _CLEAR)
    codes = checked(codes, (tf.reduce_all(known), "a TIFF's LZW data are damaged"))
    sizes = _depths(parent) + 1
    strips = tf.repeat(tf.range(tf.size(begins)), tf.reduce_sum(counts, axis=1))
    totals = tf.math.unsorted_segment_sum(tf.cast(sizes, tf.int64), strips, tf.size(begins))
    expected = tf.cast(expected, tf.int64)
    totals = checked(totals, (tf.reduce_all(totals >= expected), "a TIFF's LZW data end early"))

    def cut():
        """Keeps each strip's codes that begin before its expected end; a code's parent lies before it."""
        begin = tf.cumsum(tf.cast(sizes, tf.int64), exclusive=True)
        left = tf.gather(expected + tf.cumsum(totals, exclusive=True), strips) - begin
        kept = tf.where(left > 0)
        number = tf.scatter_nd(kept, tf.range(tf.shape(kept)[0]), tf.shape(codes, tf.int64))
        kept = kept[:, 0]
        shorter = tf.cast(tf.minimum(tf.cast(sizes, tf.int64), left), tf.int32)
        return tf.gather(codes, kept), tf.gather(number, tf.gather(parent, kept)), tf.gather(shorter, kept)

    return _decoded(*tf.cond(tf.reduce_all(totals == expected), lambda: (codes, parent, sizes), cut))


def _decoded(codes, parent, sizes) -> tf.Tensor:
    """Returns the bytes of codes, each a literal, or its parent's bytes and the byte behind them."""
    begin = tf.cumsum(sizes, exclusive=True)
    places = tf.range(tf.reduce_sum(sizes))
    source = _roots(places - tf.repeat(begin - tf.gather(begin, parent), sizes))
    literals = tf.scatter_nd(begin[:, None], tf.cast(codes & 0xFF, tf.uint8), tf.shape(places))
    return tf.gather(literals, source)


def _segments(words, begins, ends) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds where the codes behind each Clear begin, in bits, and their number: int32 `(strips, segments)` each."""
    order = tf.range(_MOST)

    def step(number, place, starts, counts):
        places = place[:, None] + _PLACES
        read = _read(words, places, _WIDTHS)
        past = places + _WIDTHS > ends[:, None]
        stops = past | (read == _CLEAR) | (read == _END)
        count = tf.reduce_min(tf.where(stops, order, _MOST), axis=1)
        last = tf.minimum(count, _MOST - 1)
        cleared = tf.gather((read == _CLEAR) & ~past, last, batch_dims=1) & (count < _MOST)
        after = place + tf.gather(tf.constant(_PLACES + _WIDTHS), last)
        place_after = tf.where(cleared, after, ends)
        return number + 1, place_after, starts.write(number, place), counts.write(number, count)

    arrays = [tf.TensorArray(tf.int32, 0, dynamic_size=True, element_shape=begins.shape) for _ in range(2)]
    _, _, starts, counts = tf.while_loop(
        lambda number, place, *_: tf.reduce_any(place < ends), step, (0, begins, *arrays), parallel_iterations=1
    )
    return tf.transpose(starts.stack()), tf.transpose(counts.stack())


def _codes(words, starts, counts) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads all codes in order, and the place of the first code of each one's segment: int32 `(n,)` each."""
    starts, counts = tf.reshape(starts, [-1]), tf.reshape(counts, [-1])
    first = tf.repeat(tf.cumsum(counts, exclusive=True), counts)
    order = tf.range(tf.reduce_sum(counts)) - first
    places = tf.repeat(starts, counts) + tf.gather(_PLACES, order)
    return _read(words, places, tf.gather(_WIDTHS, order)), first


def _read(words, places, widths) -> tf.Tensor:
    """Reads numbers of `widths` bits from the bits `places` on, the highest bit first."""
    word = tf.gather(words, tf.minimum(tf.bitwise.right_shift(places, 3), tf.size(words) - 1))
    return tf.bitwise.right_shift(word, 24 - (places & 7) - widths) & (tf.bitwise.left_shift(1, widths) - 1)


def _depths(parent) -> tf.Tensor:
    """Counts the steps from each element to one that is its own parent."""
    depth = tf.cast(parent != tf.range(tf.size(parent)), tf.int32)

    def step(parent, depth, _):
        following = tf.gather(parent, parent)
        return following, depth + tf.gather(depth, parent), tf.reduce_any(following != parent)

    return tf.while_loop(lambda *state: state[2], step, (parent, depth, True), parallel_iterations=1)[1]


def _roots(source) -> tf.Tensor:
    """Follows each element's sources to one that is its own source."""

    def step(source, _):
        following = tf.gather(source, source)
        return following, tf.reduce_any(following != source)

    return tf.while_loop(lambda _, more: more, step, (source, True), parallel_iterations=1)[0]
