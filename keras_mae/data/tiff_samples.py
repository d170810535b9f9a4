"""Reads the samples of a TIFF page from its strips or tiles."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data import tiff_header as tag
from keras_mae.data.file_bytes import checked, text_at
from keras_mae.data.rare_branch import rarely
from keras_mae.data.tiff_compression import JPEG, NONE, decompress
from keras_mae.data.tiff_header import Directory

_PADDING = 2**24  # pixels by which tiles may exceed the allowed number


def read_bytes(contents, page: Directory, shape, max_levels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decompresses the strips or tiles of a page.

    Args:
        contents: string scalar, the file's bytes.
        page: the page, whose fields have been checked.
        shape: the page's height, width and samples, int64 `(3,)`, checked as well.
        max_levels: the bound on the page's levels; padding of tiles may exceed it a little.

    Returns:
        uint8 `(rows, bytes)`, each a row of a strip or tile; and their layout, int32 `(6,)`, for `samples_of`.
    """
    height, width, samples = tf.unstack(tf.cast(shape, tf.int32))
    depth, tile_width = page.one(tag.BITS), page.one(tag.TILE_WIDTH)
    planar, tiled = page.one(tag.PLANAR) == 2, tile_width > 0
    planes, together = tf.where(planar, samples, 1), tf.where(planar, 1, samples)
    rows = tf.minimum(page.one(tag.ROWS_PER_STRIP), tf.cast(height, tf.int64))
    tile, strip = [page.one(tag.TILE_HEIGHT), tile_width], [rows, tf.cast(width, tf.int64)]
    size = tf.clip_by_value(tf.where(tiled, tile, strip), 1, 2**24)
    across = -(-tf.cast([height, width], tf.int64) // size)  # strips or tiles, down and across
    padded = tf.reduce_prod(across) * tf.reduce_prod(size) * tf.maximum(tf.cast(samples, tf.int64), 4)
    begins = page.all(tf.where(tiled, tag.TILE_OFFSETS, tag.OFFSETS), 2**24)
    count = tf.cast(planes, tf.int64) * tf.reduce_prod(across)
    size = checked(
        tf.stack([*tf.unstack(size), *tf.unstack(across)]),
        (padded <= max_levels + 4 * _PADDING, "a TIFF's strips or tiles are too large:", size),
        (tf.size(begins, tf.int64) >= count, "a TIFF lacks the places of some of its strips or tiles"),
    )
    size, across = tf.split(tf.cast(size, tf.int32), 2)
    count = planes * across[0] * across[1]

    row_bytes = tf.cast((tf.cast(size[1] * together, tf.int64) * depth + 7) // 8, tf.int32)
    lowest = height - (across[0] - 1) * size[0]
    heights = tf.where(~tiled & ((tf.range(count) + 1) % across[0] == 0), lowest, size[0])
    begins, lengths = _places(contents, page, tiled, begins[:count], count)
    compression = page.one(tag.COMPRESSION)
    data = tf.cond(
        compression == JPEG,
        rarely(lambda: _jpegs(contents, page, begins, lengths, heights, size[1], together)),
        lambda: decompress(contents, compression, begins, lengths, row_bytes * heights, page.one(tag.FILL_ORDER) == 2),
    )
    layout = tf.stack([planes, together, *tf.unstack(across), *tf.unstack(size)])
    return tf.ensure_shape(tf.reshape(data, [-1, row_bytes]), (None, None)), layout


def samples_of(rows, layout, page: Directory, dtype: str) -> tf.Tensor:
    """Converts the result of `read_bytes` to the numbers of a page, not scaled: `dtype` `(H, W, C)`.

    Numbers of 12 and 16 bits lose all but the upper 8 for uint8.
    """
    planes, together, down, across, tile_height, tile_width = tf.unstack(layout)
    height, width = (tf.cast(page.one(name), tf.int32) for name in (tag.HEIGHT, tag.WIDTH))
    numbers = _unpacked(rows, page, tile_width, together, dtype)

    def of_tiles():
        tiles = tf.reshape(numbers, [planes, down, across, tile_height, tile_width, together])
        tiles = tf.transpose(tiles, [0, 1, 3, 2, 4, 5])
        return tf.reshape(tiles, [planes, down * tile_height, across * tile_width, together])[:, :height, :width]

    tiled = page.one(tag.TILE_WIDTH) > 0
    image = tf.cond(tiled, rarely(of_tiles), lambda: tf.reshape(numbers, [planes, height, width, together]))
    image = tf.cond(page.one(tag.PLANAR) == 2, lambda: tf.transpose(image[..., 0], [1, 2, 0]), lambda: image[0])
    return tf.ensure_shape(image, (None, None, None))


def _places(contents, page: Directory, tiled, begins, count) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where the parts begin, and their lengths, in bytes: int32 `(count,)` each."""
    lengths = page.all(tf.where(tiled, tag.TILE_BYTE_COUNTS, tag.BYTE_COUNTS), count)
    end = tf.strings.length(contents)
    begins = tf.minimum(tf.cast(begins, tf.int32), end)
    lengths = tf.pad(tf.cast(lengths, tf.int32), [[0, count - tf.size(lengths)]], constant_values=2**31 - 1)
    lengths = tf.minimum(lengths, end - begins)
    total = tf.reduce_sum(tf.cast(lengths, tf.int64))
    fits = (total <= 2 * tf.cast(end, tf.int64)) | (page.one(tag.COMPRESSION) == NONE)
    return begins, checked(lengths, (fits, "a TIFF's strips or tiles are longer together than the file"))


def _unpacked(rows, page: Directory, width, together, dtype: str) -> tf.Tensor:
    """Converts rows of bytes to rows of numbers: `dtype` `(rows, width * together)`."""
    count, depth = width * together, page.one(tag.BITS)
    # programs ignore the predictor of uncompressed parts
    predicted = (page.one(tag.PREDICTOR) == 2) & (page.one(tag.COMPRESSION) != NONE)

    def summed(numbers):
        sum_up = lambda: tf.reshape(tf.cumsum(tf.reshape(numbers, [-1, width, together]), 1), [-1, count])  # noqa: E731
        return tf.cond(predicted, rarely(sum_up), lambda: numbers)

    def in_dtype(numbers):
        if numbers.dtype == tf.uint16 and dtype == "uint8":
            numbers = tf.bitwise.right_shift(numbers, tf.constant(8, tf.uint16))
        return tf.cast(numbers, dtype)

    def of_few_bits():
        bits = tf.cast(depth, tf.int32)
        steps = tf.cast(8 - bits * (1 + tf.range(8 // bits)), tf.uint8)
        numbers = tf.bitwise.right_shift(rows[..., None], steps) & tf.cast(tf.bitwise.left_shift(1, bits) - 1, tf.uint8)
        return in_dtype(tf.reshape(numbers, [tf.shape(rows)[0], -1])[:, :count])

    def of_12_bits():
        padded = tf.pad(tf.cast(rows, tf.uint16), [[0, 0], [0, -tf.shape(rows)[1] % 3]])
        a, b, c = tf.unstack(tf.reshape(padded, [tf.shape(rows)[0], -1, 3]), axis=-1)
        numbers = tf.stack([a * 16 + b // 16, b % 16 * 256 + c], axis=-1)
        return in_dtype(tf.reshape(numbers, [tf.shape(rows)[0], -1])[:, :count])

    def of_16_bits():
        numbers = tf.bitcast(tf.reshape(rows, [-1, count, 2]), tf.uint16)
        eight = tf.constant(8, tf.uint16)
        swapped = lambda: tf.bitwise.left_shift(numbers, eight) | tf.bitwise.right_shift(numbers, eight)  # noqa: E731
        return in_dtype(summed(tf.cond(page.is_big_endian, swapped, lambda: numbers)))

    kind = tf.reduce_sum(tf.cast(depth >= [8, 12, 16], tf.int32))
    return tf.switch_case(kind, [of_few_bits, lambda: in_dtype(summed(rows)), of_12_bits, of_16_bits])


def _jpegs(contents, page: Directory, begins, lengths, heights, width, together) -> tf.Tensor:
    """Decodes parts that are JPEG streams, whose tables may lie apart: uint8 `(n,)`."""
    tables = page.text(tag.JPEG_TABLES)  # a stream of its own, from its beginning mark to its end mark
    tables = tf.strings.substr(tables, tf.minimum(2, tf.strings.length(tables)), tf.strings.length(tables) - 4)
    # the mark says whether colours are YCbCr, which the numbers of the components do not
    adobe = tf.where(page.one(tag.PHOTOMETRIC) == 6, _ADOBE + b"\1", _ADOBE + b"\0")

    def step(part, results):
        stream = text_at(contents, begins[part] + 2, lengths[part] - 2)
        stream = tf.strings.join([b"\xff\xd8", adobe, tables, stream])
        wanted = tf.stack([heights[part], width, together])
        found = tf.io.extract_jpeg_shape(stream)
        stream = checked(stream, (tf.reduce_all(found == wanted), "a JPEG in a TIFF has another size", found, wanted))
        return part + 1, results.write(part, tf.reshape(tf.io.decode_jpeg(stream, dct_method="INTEGER_ACCURATE"), [-1]))

    parts = tf.size(begins)
    results = tf.TensorArray(tf.uint8, parts, infer_shape=False, element_shape=(None,))
    return tf.while_loop(lambda part, _: part < parts, step, (0, results), parallel_iterations=1)[1].concat()


_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
