"""GIF files: the first frame, decoded as by Pillow."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data.file_bytes import as_text, bytes_at, checked, text_at, within_limit

_MAX_BLOCKS = 20_000
_NONE = -1


def decode_gif(contents, max_pixels: int) -> tf.Tensor:
    """Decodes the first frame of a GIF of at most `max_pixels` to RGB, or RGB and alpha: uint8 `(H, W, C)`.

    TensorFlow's decoder reads every frame and drops transparency. So it gets the first frame alone, with a palette of
    gray levels, and returns the indices.
    """
    screen = bytes_at(contents, 6, 7)
    global_palette = _palette_length(screen[4])
    frame, transparent = _first_frame(contents, 13 + global_palette)
    header = bytes_at(contents, frame + 1, 9)
    left, top, width, height = (header[n] + 256 * header[n + 1] for n in (0, 2, 4, 6))
    canvas_width = tf.maximum(screen[0] + 256 * screen[1], left + width)
    canvas_height = tf.maximum(screen[2] + 256 * screen[3], top + height)
    contents = within_limit(contents, canvas_height, canvas_width, max_pixels)
    contents = checked(contents, (width * height > 0, "the first frame of a GIF is empty, or missing"))

    local_palette = _palette_length(header[8])
    data = frame + 10 + local_palette
    size = [as_text(width, 2), as_text(height, 2)]
    interlaced = tf.where(header[8] & 0x40 != 0, b"\x40", b"\0")
    alone = [b"GIF89a", *size, b"\xf7\0\0", _GRAYS, b",\0\0\0\0", *size, interlaced]
    picture = text_at(contents, data, _data_end(contents, data + 1) - data)
    indices = tf.io.decode_gif(tf.strings.join([*alone, picture, b"\0;"]))[0, :, :, 0]
    around = [[top, canvas_height - top - height], [left, canvas_width - left - width]]
    indices = tf.pad(indices, around, constant_values=tf.cast(tf.maximum(transparent, 0), tf.uint8))

    begin = tf.where(local_palette > 0, frame + 10, 13)
    length = tf.where(local_palette > 0, local_palette, global_palette)
    colours = tf.reshape(tf.io.decode_raw(text_at(contents, begin, length), tf.uint8), [-1, 3])
    # an index of no colour is black, but itself a level if there is no palette, or one of the same levels
    count = tf.shape(colours)[0]
    ramp = tf.cast(tf.tile(tf.range(256)[:, None], [1, 3]), tf.uint8)
    others = tf.where(tf.reduce_all(colours == ramp[:count]), ramp, tf.zeros_like(ramp))
    palette = tf.concat([colours, others[count:]], axis=0)

    def with_alpha():
        alpha = tf.where(tf.range(256) == transparent, 0, 255)
        return tf.gather(tf.concat([palette, tf.cast(alpha, tf.uint8)[:, None]], axis=1), tf.cast(indices, tf.int32))

    image = tf.cond(transparent != _NONE, with_alpha, lambda: tf.gather(palette, tf.cast(indices, tf.int32)))
    return tf.ensure_shape(image, (None, None, None))


def _palette_length(flags) -> tf.Tensor:
    """Returns the length in bytes of the palette that the flags announce."""
    return tf.where(flags & 0x80 != 0, tf.bitwise.left_shift(6, flags & 7), 0)


def _first_frame(contents, begin) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the beginning of the first frame and its transparent colour, or -1."""

    def look_further(place, inside, transparent):
        return (place < tf.strings.length(contents)) & (inside | (text_at(contents, place, 1) == b"!"))

    def step(place, inside, transparent):
        block = bytes_at(contents, place, 7)
        # a graphic control extension: !, F9, 4, flags, delay (2), transparent colour
        noted = ~inside & (block[1] == 0xF9) & (block[2] >= 4) & (block[3] & 1 != 0)
        length = tf.where(inside, 1 + block[0], 2)
        return place + length, ~inside | (block[0] != 0), tf.where(noted, block[6], transparent)

    begun = (begin, tf.constant(False), tf.constant(_NONE))
    place, _, transparent = tf.while_loop(look_further, step, begun, maximum_iterations=_MAX_BLOCKS)
    return checked(place, (text_at(contents, place, 1) == b",", "a GIF holds no frame")), transparent


def _data_end(contents, begin) -> tf.Tensor:
    """Finds the end of the blocks of a frame's data: the first empty one."""

    def full_ones(place):
        """Skips all blocks of 255 bytes in a row."""
        lengths = tf.io.decode_raw(text_at(contents, place, 2**30), tf.uint8)[::256]
        others = tf.where(lengths != 255)[:, 0]
        return place + 256 * tf.cast(tf.concat([others, [tf.size(lengths, tf.int64)]], axis=0)[0], tf.int32)

    def step(place):
        place += 1 + bytes_at(contents, place, 1)[0]
        return tf.cond(text_at(contents, place, 1) == b"\xff", lambda: full_ones(place), lambda: place)

    more = lambda place: bytes_at(contents, place, 1)[0] != 0  # noqa: E731
    end = tf.while_loop(more, step, (begin,), maximum_iterations=_MAX_BLOCKS)[0]
    return tf.minimum(end, tf.strings.length(contents))


_GRAYS = bytes(level for level in range(256) for _ in range(3))
