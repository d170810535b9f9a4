"""The header and the directories of a TIFF file, read inside a graph.

Reference: TIFF revision 6.0 (Adobe, 1992), sections 2, 8 and 15; BigTIFF, whose numbers are twice as long.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import tensorflow as tf

from keras_mae.data.file_bytes import bounded, bytes_at, checked, large_number, text_at
from keras_mae.data.rare_branch import traced_once

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
TYPE_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # in bytes, by a field's type
_MAX_ENTRIES = 1000
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, BYTE_COUNTS = 273, 274, 277, 278, 279
PLANAR, PREDICTOR, COLOUR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES = 284, 317, 320, 338, 339, 347
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTE_COUNTS = 322, 323, 324, 325

# Fields of one number, with the value that a missing one has
_DEFAULTS = {
    WIDTH: 0,
    HEIGHT: 0,
    BITS: 1,
    COMPRESSION: 1,
    PHOTOMETRIC: 0,
    FILL_ORDER: 1,
    ORIENTATION: 1,
    SAMPLES: 1,
    ROWS_PER_STRIP: 2**31 - 1,
    PLANAR: 1,
    PREDICTOR: 1,
    TILE_WIDTH: 0,
    TILE_HEIGHT: 0,
    EXTRA_SAMPLES: -1,
}


class Directory:
    """The fields of one page.

    Args:
        contents: string scalar, the file's bytes.
        begin: int64 scalar, where the directory begins; 0 for the first page.
        state: of another `Directory` of the same page, which is then not read again.

    Attributes:
        state: tensors, to pass to a traced function.
        begin: int64 scalar.
        is_big_endian: bool scalar.
        following: int64 scalar, where the next page's directory begins, 0 after the last one.
    """

    def __init__(self, contents, begin=0, state=None) -> None:
        self._contents = contents
        self.state = _read_directory(contents, tf.cast(begin, tf.int64)) if state is None else state
        places, self.is_big_endian, self._table, firsts = self.state
        self.begin, self.following = tf.unstack(places)
        self._firsts = dict(zip(_DEFAULTS, tf.unstack(firsts)))

    def one(self, tag: int) -> tf.Tensor:
        """Returns the first value of a field, or its default: int64 scalar."""
        return self._firsts[tag]

    def all(self, tag, most) -> tf.Tensor:
        """Returns at most `most` values of a field, none if it is missing: int64 `(n,)`."""
        arguments = tf.cast(tag, tf.int64), tf.cast(most, tf.int64)
        return _values(self._contents, self.is_big_endian, self._table, *arguments)

    def text(self, tag: int) -> tf.Tensor:
        """Returns the bytes of a field of more than four: string scalar."""
        found, _, count, place = tf.unstack(_entry(self._table, tag))
        return text_at(self._contents, place, tf.where(found == tag, count, 0))


def _entry(table, tag) -> tf.Tensor:
    """Returns a field's tag, the size of its numbers, their count and place: int64 `(4,)`; another's if missing."""
    return table[tf.argmax(table[:, 0] == tag)]


@traced_once(tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64))
def _read_directory(contents, begin):
    """Reads where a directory and the next one begin, the byte order, all entries (see `_entry`), first numbers."""
    mark = text_at(contents, 0, 4)
    is_big_endian = tf.strings.substr(mark, 0, 2) == b"MM"
    is_wide = tf.reduce_any(mark == MARKS[2:])
    width = tf.where(is_wide, 8, 4)  # of offsets and counts, in bytes

    def number_at(place, width):
        return large_number(bytes_at(contents, place, width), is_big_endian)

    begin = tf.where(begin == 0, number_at(tf.cast(width, tf.int64), width), begin)
    count_width = tf.where(is_wide, 8, 2)
    count = tf.cast(number_at(begin, count_width), tf.int32)
    count = checked(count, ((count > 0) & (count <= _MAX_ENTRIES), "a TIFF's directory has 1 to 1000 fields:", count))
    entries_at = begin + tf.cast(count_width, tf.int64)
    size = 4 + 2 * width  # tag (2), type (2), count, value or its place
    entries = tf.reshape(bytes_at(contents, entries_at, count * size), [count, size])
    following = number_at(entries_at + tf.cast(count * size, tf.int64), width)
    tags = large_number(entries[:, :2], is_big_endian)
    types = tf.minimum(large_number(entries[:, 2:4], is_big_endian), len(TYPE_SIZES) - 1)
    sizes = tf.gather(tf.constant(TYPE_SIZES, tf.int64), types)
    counts = large_number(entries[:, 4 : 4 + width], is_big_endian)
    inside = sizes * counts <= tf.cast(width, tf.int64)
    inline = entries_at + tf.cast(tf.range(count) * size + 4 + width, tf.int64)
    place = large_number(entries[:, 4 + width :], is_big_endian)
    places = tf.minimum(tf.where(inside, inline, place), tf.cast(tf.strings.length(contents), tf.int64))
    firsts = tf.io.decode_raw(tf.strings.substr(contents, places, sizes), tf.uint8, fixed_length=8)
    order = tf.range(8, dtype=tf.int64)
    order = tf.where(is_big_endian, sizes[:, None] - 1 - order, order)  # negative behind a number's end
    weights = tf.where(order < 0, tf.zeros_like(order), tf.bitwise.left_shift(tf.ones_like(order), 8 * order))
    firsts = tf.reduce_sum(tf.cast(firsts, tf.int64) * weights, axis=1)
    firsts = bounded(firsts)
    is_it = (tags[:, None] == list(_DEFAULTS)) & (counts > 0)[:, None]
    found = tf.reduce_max(tf.where(is_it, firsts[:, None], 0), axis=0)
    found = tf.where(tf.reduce_any(is_it, axis=0), found, list(_DEFAULTS.values()))
    table = tf.ensure_shape(tf.stack([tags, sizes, counts, places], axis=1), (None, 4))
    return tf.stack([begin, following]), is_big_endian, table, found


STATE = (
    tf.TensorSpec((2,), tf.int64),
    tf.TensorSpec((), tf.bool),
    tf.TensorSpec((None, 4), tf.int64),
    tf.TensorSpec((len(_DEFAULTS),), tf.int64),
)


@traced_once(tf.TensorSpec((), tf.string), *STATE[1:3], tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.int64))
def _values(contents, is_big_endian, table, tag, most):
    found, size, count, place = tf.unstack(_entry(table, tag))
    size = tf.maximum(size, 1)
    count = tf.where(found == tag, tf.minimum(count, most), 0)
    found = tf.io.decode_raw(text_at(contents, place, size * count), tf.uint8)
    size = tf.cast(size, tf.int32)
    return large_number(tf.reshape(found[: tf.size(found) // size * size], [-1, size]), is_big_endian)


def bits_of_tiff(file: BinaryIO, head: bytes) -> int:
    """Reads the bits a sample of the first page of an open TIFF file, outside of a graph; 8 if it has no such field.

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
