"""The header and the directories of a TIFF file, read inside a graph.

Reference: TIFF revision 6.0 (Adobe, 1992), sections 2, 8 and 15; BigTIFF, whose numbers are twice as long.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import tensorflow as tf

from keras_mae.data.file_bytes import bytes_at, checked, large_number, text_at

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TYPE_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # in bytes, by a field's type
_MAX_ENTRIES = 1000
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, BYTE_COUNTS = 273, 274, 277, 278, 279
PLANAR, PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTE_COUNTS = (
    284,
    317,
    320,
    322,
    323,
    324,
    325,
)
EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES = 338, 339, 347


class Directory:
    """The fields of one page.

    Args:
        contents: string scalar, the file's bytes.
        begin: int64 scalar, where the directory begins; by default that of the first page.

    Attributes:
        begin: int64 scalar.
        is_big_endian: bool scalar.
        following: int64 scalar, where the next page's directory begins, 0 after the last one.
    """

    def __init__(self, contents, begin=None) -> None:
        mark = text_at(contents, 0, 4)
        self._contents = contents
        self.is_big_endian = tf.strings.substr(mark, 0, 2) == b"MM"
        is_wide = tf.reduce_any(mark == MARKS[2:])
        width = tf.where(is_wide, 8, 4)  # of offsets and counts, in bytes
        if begin is None:
            begin = self._number_at(tf.where(is_wide, 8, 4), width)
        self.begin = begin = tf.cast(begin, tf.int64)
        count_width = tf.where(is_wide, 8, 2)
        count = tf.cast(self._number_at(begin, count_width), tf.int32)
        count = checked(
            count, ((count > 0) & (count <= _MAX_ENTRIES), "a TIFF's directory has 1 to 1000 fields:", count)
        )
        begin += tf.cast(count_width, tf.int64)
        size = 4 + 2 * width  # tag (2), type (2), count, value or its place
        entries = tf.reshape(bytes_at(contents, begin, count * size), [count, size])
        self.following = self._number_at(begin + tf.cast(count * size, tf.int64), width)
        self._tags = large_number(entries[:, :2], self.is_big_endian)
        types = tf.minimum(large_number(entries[:, 2:4], self.is_big_endian), len(_TYPE_SIZES) - 1)
        self._sizes = tf.gather(tf.constant(_TYPE_SIZES, tf.int64), types)
        self._counts = large_number(entries[:, 4 : 4 + width], self.is_big_endian)
        inside = self._sizes * self._counts <= tf.cast(width, tf.int64)
        inline = begin + tf.cast(tf.range(count) * size + 4 + width, tf.int64)
        place = large_number(entries[:, 4 + width :], self.is_big_endian)
        self._places = tf.minimum(tf.where(inside, inline, place), tf.cast(tf.strings.length(contents), tf.int64))
        firsts = tf.io.decode_raw(tf.strings.substr(contents, self._places, self._sizes), tf.uint8, fixed_length=8)
        order = tf.range(8, dtype=tf.int64)
        order = tf.where(self.is_big_endian, self._sizes[:, None] - 1 - order, order)  # negative behind a number's end
        firsts = tf.cast(firsts, tf.int64) * tf.where(
            order < 0, tf.zeros_like(order), tf.bitwise.left_shift(tf.ones_like(order), 8 * tf.maximum(order, 0))
        )
        firsts = tf.reduce_sum(firsts, axis=1)
        largest = tf.constant(2**31 - 1, tf.int64)
        self._firsts = tf.where(firsts < 0, largest, tf.minimum(firsts, largest))

    def one(self, tag, default: int) -> tf.Tensor:
        """The first value of a field, or the default: int64 scalar."""
        is_it = (self._tags == tag) & (self._counts > 0)
        return tf.where(
            tf.reduce_any(is_it), tf.reduce_max(tf.where(is_it, self._firsts, 0)), tf.cast(default, tf.int64)
        )

    def all(self, tag, most) -> tf.Tensor:
        """The values of a field, at most so many, none if it is missing: int64 `(n,)`."""
        is_it = self._tags == tf.cast(tag, tf.int64)
        entry = tf.argmax(is_it)
        size = tf.maximum(self._sizes[entry], 1)
        count = tf.where(
            tf.reduce_any(is_it), tf.minimum(self._counts[entry], tf.cast(most, tf.int64)), tf.zeros((), tf.int64)
        )
        found = tf.io.decode_raw(text_at(self._contents, self._places[entry], size * count), tf.uint8)
        size = tf.cast(size, tf.int32)
        return large_number(tf.reshape(found[: tf.size(found) // size * size], [-1, size]), self.is_big_endian)

    def text(self, tag: int) -> tf.Tensor:
        """The bytes of a field that is longer than four: string scalar."""
        is_it = self._tags == tag
        entry = tf.argmax(is_it)
        return text_at(self._contents, self._places[entry], tf.where(tf.reduce_any(is_it), self._counts[entry], 0))

    def _number_at(self, place, width) -> tf.Tensor:
        return large_number(bytes_at(self._contents, place, width), self.is_big_endian)


def bits_of_tiff(file: BinaryIO, head: bytes) -> int:
    """The bits a sample that the first page of a TIFF file tells, outside of a graph; 8 if it tells none.

    Args:
        file: open for reading.
        head: its first 16 bytes or more.
    """
    order = "<" if head[:2] == b"II" else ">"
    wide = head[2:4] in (b"+\0", b"\0+")
    try:
        place = struct.unpack_from(order + ("Q" if wide else "I"), head, 8 if wide else 4)[0]
        file.seek(place)
        count = struct.unpack(order + ("Q" if wide else "H"), file.read(8 if wide else 2))[0]
        size = 20 if wide else 12
        entries = file.read(size * min(count, _MAX_ENTRIES))
        for begin in range(0, len(entries) - size + 1, size):
            tag, _, number = struct.unpack_from(order + ("HHQ" if wide else "HHI"), entries, begin)
            if tag == BITS:
                value = entries[begin + size // 2 + (2 if wide else 2) :][:8]
                if 2 * number > (8 if wide else 4):
                    file.seek(struct.unpack_from(order + ("Q" if wide else "I"), value)[0])
                    value = file.read(2)
                return struct.unpack_from(order + "H", value)[0]
    except struct.error:
        pass  # cut off: decoding it will say so
    return 8
