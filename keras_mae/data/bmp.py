"""BMP files, decoded as by Pillow; TensorFlow's decoder takes indices for gray levels, and padding for alpha."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data.file_bytes import bytes_at, checked, number, text_at, within_limit
from keras_mae.data.row_blocks import by_row_blocks

_BITFIELDS = 3
_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # their sizes in bytes


def decode_bmp(contents, max_pixels: int) -> tf.Tensor:
    """Decodes a BMP of 1 to 32 bits a pixel, of at most `max_pixels`, to RGB, or RGB and alpha: uint8 `(H, W, C)`."""
    # from byte 10 on: where the pixels begin, the header's size (14), width (18), height (22), planes and bits (26),
    # compression (30), and from byte 46 the number of colours
    numbers = tf.unstack(number(tf.reshape(bytes_at(contents, 10, 40), [10, 4]), False))  # int32
    begin, header_size, width, height, bits, compression = numbers[:6]
    old = header_size == 12  # there width, height, planes and bits have two bytes each
    upside_down = old | (height >= 0)
    halves = lambda value: (value & 0xFFFF, tf.bitwise.right_shift(value, 16) & 0xFFFF)  # noqa: E731
    width, height = (tf.where(old, *pair) for pair in zip(halves(width), (width, tf.abs(height))))
    bits = tf.where(old, halves(numbers[3])[1], halves(bits)[1])
    compression = tf.where(old, 0, compression)
    contents = within_limit(contents, height, width, max_pixels)
    known = tf.reduce_any(bits == [1, 4, 8, 16, 24, 32]), "a BMP has 1, 4, 8, 16, 24 or 32 bits a pixel, this one", bits
    raw = (compression == 0) | (compression == _BITFIELDS) & (bits > 8)
    contents = checked(
        contents,
        known,
        (raw, "this compression of BMP files is not read (1 and 2 are RLE):", compression),
        (tf.reduce_any(header_size == _HEADERS), "no header of a BMP is as long:", header_size),
        (begin >= 0, "a BMP ends early"),
    )

    entry = tf.where(old, 3, 4)
    colours = tf.where(old | (numbers[9] <= 0), tf.bitwise.left_shift(1, tf.minimum(bits, 8)), numbers[9])
    colours = tf.where(bits <= 8, tf.minimum(colours, 65536), 0)
    behind_header = 14 + header_size
    begin = tf.where((begin == behind_header) | (begin == 0), behind_header + entry * colours, begin)
    stride = (tf.cast(width, tf.int64) * tf.cast(bits, tf.int64) + 31) // 32 * 4
    needed = stride * tf.cast(height - 1, tf.int64) + (tf.cast(width, tf.int64) * tf.cast(bits, tf.int64) + 7) // 8
    rows = tf.io.decode_raw(text_at(contents, tf.cast(begin, tf.int64), stride * tf.cast(height, tf.int64)), tf.uint8)
    rows = checked(rows, (tf.size(rows, tf.int64) >= needed, "a BMP ends early"))
    stride = tf.cast(stride, tf.int32)
    rows = tf.reshape(tf.pad(rows, [[0, stride * height - tf.size(rows)]]), [height, stride])
    rows = tf.cond(upside_down, lambda: rows[::-1], lambda: rows)

    def palette():
        found = tf.io.decode_raw(text_at(contents, behind_header, entry * colours), tf.uint8)
        found = tf.reshape(found[: tf.size(found) // entry * entry], [-1, entry])[:256, 2::-1]  # blue, green, red
        return tf.pad(found, [[0, 256 - tf.shape(found)[0]], [0, 0]])

    def by_palette(rows):
        steps = 8 - bits * (1 + tf.range(8 // bits))
        indices = tf.bitwise.right_shift(rows, tf.cast(steps, tf.uint8))
        indices = tf.reshape(indices & tf.cast(2**bits - 1, tf.uint8), [tf.shape(rows)[0], -1])[:, :width]
        return tf.gather(palette(), tf.cast(indices, tf.int32))

    fields = bytes_at(contents, 54, 16)  # red, green, blue, and alpha if the header reaches so far
    fields = tf.where(tf.range(16) < tf.where(header_size >= 56, 16, 12), fields, 0)

    def of_16_bits(rows):
        pairs = tf.cast(tf.reshape(rows[:, : 2 * width], [-1, width, 2]), tf.int32)
        pixels = pairs[..., 0] + 256 * pairs[..., 1]
        green = tf.where((compression == _BITFIELDS) & (fields[5] == 0x07), 6, 5)
        shifts, bounds = tf.stack([5 + green, 5, 0]), tf.stack([31, 2**green - 1, 31])
        levels = tf.bitwise.right_shift(pixels[..., None], shifts) & bounds
        return tf.cast(levels * 255 // bounds, tf.uint8)

    def of_24_bits():
        return tf.reshape(rows[:, : 3 * width], [height, width, 3])[..., ::-1]

    def of_32_bits():
        pixels = tf.reshape(rows[:, : 4 * width], [height, width, 4])
        masks = tf.reshape(fields, [4, 4])
        given = (compression == _BITFIELDS) & (tf.reduce_sum(masks) > 0)
        whole = (tf.reduce_sum(masks, axis=1) == 255) & (tf.reduce_max(masks, axis=1) == 255)
        is_known = ~given | tf.reduce_all(whole[:3]) & (whole[3] | (tf.reduce_sum(masks[3]) == 0))
        places = tf.where(given, tf.argmax(masks, axis=1), [2, 1, 0, 3])
        with_alpha = (compression == _BITFIELDS) & (~given | whole[3])
        places = checked(places, (is_known, "the colours of a BMP of 32 bits are whole bytes"))
        return tf.gather(pixels, places[: tf.where(with_alpha, 4, 3)], axis=-1)

    kind = tf.reduce_sum(tf.cast(bits >= [16, 24, 32], tf.int32))
    image = tf.switch_case(
        kind,
        [
            lambda: by_row_blocks(by_palette, rows[..., None]),
            lambda: by_row_blocks(of_16_bits, rows[..., None]),
            of_24_bits,
            of_32_bits,
        ],
    )
    return tf.ensure_shape(image, (None, None, None))
