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
        self._width = width
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
        self._inline = entries[:, 4 + width :]
        self._begin = begin + tf.cast(tf.range(count) * size + 4 + width, tf.int64)

    def one(self, tag: int, default: int) -> tf.Tensor:
        """The first value of a field, or the default: int64 scalar."""
        return tf.concat([self.all(tag, 1), [tf.cast(default, tf.int64)]], axis=0)[0]

    def all(self, tag, most=None) -> tf.Tensor:
        """The values of a field, none if it is missing: int64 `(n,)`; at most so many of them if `most` is given."""

        tag = tf.cast(tag, tf.int64)

        def read():
            entry = tf.argmax(self._tags == tag)
            size, count = self._sizes[entry], self._counts[entry]
            inside = size * count <= tf.cast(self._width, tf.int64)
            place = large_number(self._inline[entry], self.is_big_endian)
            found = text_at(
                self._contents, tf.where(inside, self._begin[entry], place), _least(size * count, most, size)
            )
            found = tf.io.decode_raw(found, tf.uint8)
            size = tf.maximum(tf.cast(size, tf.int32), 1)
            return large_number(tf.reshape(found[: tf.size(found) // size * size], [-1, size]), self.is_big_endian)

        return tf.cond(tf.reduce_any(self._tags == tag), read, lambda: tf.zeros(0, tf.int64))

    def text(self, tag: int) -> tf.Tensor:
        """The bytes of a field that is longer than four: string scalar."""
        entry = tf.argmax(self._tags == tag)
        place = large_number(self._inline[entry], self.is_big_endian)
        count = tf.where(tf.reduce_any(self._tags == tag), self._counts[entry], 0)
        return text_at(self._contents, place, count)

    def _number_at(self, place, width) -> tf.Tensor:
        return large_number(bytes_at(self._contents, place, width), self.is_big_endian)


def _least(count, most, size):
    return count if most is None else tf.minimum(count, tf.cast(most, tf.int64) * size)


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
