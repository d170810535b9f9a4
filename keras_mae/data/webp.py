"""WebP files: still images and the first frame of animations, upright."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data.file_bytes import (
    as_text,
    bytes_at,
    checked,
    find_chunks,
    large_number,
    number,
    text_at,
    within_limit,
)
from keras_mae.data.orientation import exif_orientation, upright
from keras_mae.data.rare_branch import rarely

_ANIMATED, _WITH_EXIF, _WITH_ALPHA = 0x02, 0x08, 0x10


def is_webp(contents) -> tf.Tensor:
    """Returns whether a file's bytes are those of a WebP: bool scalar."""
    return (text_at(contents, 0, 4) == b"RIFF") & (text_at(contents, 8, 4) == b"WEBP")


def decode_webp(contents, max_pixels: int) -> tf.Tensor:
    """Decodes a WebP of at most `max_pixels` to upright RGB, or RGB and alpha: uint8 `(H, W, C)`.

    TensorFlow 2.21 writes past the end of its memory when it decodes an animation, and crashes. So it gets one picture,
    in a file made of its chunks.
    """
    header = bytes_at(contents, 20, 10)  # flags, unused (3), width - 1 and height - 1 (3 each), if there is a header
    is_extended = text_at(contents, 12, 4) == b"VP8X"
    end = tf.strings.length(contents)

    def look():
        size = tf.stack([_three(header[7:]), _three(header[4:7])]) + 1
        frame, exif = tf.unstack(find_chunks(contents, 12, end, [b"ANMF", b"EXIF"], riff=True))
        frame = tf.where(header[0] & _ANIMATED != 0, frame, 0)
        exif = tf.where(header[0] & _WITH_EXIF != 0, exif, 0)
        exif_end = exif + 8 + number(bytes_at(contents, exif + 4, 4), False)
        exif += tf.where(text_at(contents, exif + 8, 6) == b"Exif\0\0", 14, 8)
        noted = tf.cond(exif > 14, lambda: exif_orientation(contents, exif, exif_end), lambda: tf.constant(1))
        return within_limit(size, size[0], size[1], max_pixels), frame, noted

    size, frame, noted = tf.cond(is_extended, rarely(look), lambda: (tf.zeros(2, tf.int32), 0, 1))
    place = bytes_at(contents, frame, 14)  # of a frame: name, length, left / 2, top / 2, and ten bytes more
    frame_end = frame + 8 + tf.cast(large_number(place[4:8], False), tf.int32)
    begin, end = tf.where(frame > 0, frame + 24, 12), tf.where(frame > 0, frame_end, end)
    image = _decode_picture(contents, begin, end, max_pixels)

    def on_canvas():
        offset = tf.where(frame > 0, 2 * tf.stack([_three(place[11:]), _three(place[8:11])]), 0)
        after = size - offset - tf.shape(image)[:2]
        fits = tf.reduce_all(after >= 0) & (frame > 0)
        picture = checked(image, (fits, "the picture of a WebP lies outside of it"))
        opaque = tf.fill([tf.shape(image)[0], tf.shape(image)[1], 4 - tf.shape(image)[2]], tf.constant(255, tf.uint8))
        around = tf.stack([tf.stack([offset[0], after[0]]), tf.stack([offset[1], after[1]]), [0, 0]])
        canvas = tf.pad(tf.concat([picture, opaque], axis=-1), around)
        return tf.cond(header[0] & _WITH_ALPHA != 0, lambda: canvas, lambda: canvas[..., :3])

    is_whole = ~is_extended | tf.reduce_all(tf.shape(image)[:2] == size)
    return upright(tf.ensure_shape(tf.cond(is_whole, lambda: image, rarely(on_canvas)), (None, None, None)), noted)


def _decode_picture(contents, begin, end, max_pixels: int) -> tf.Tensor:
    """Decodes the picture whose chunks lie between these bytes: perhaps ALPH, and `VP8 ` or VP8L."""
    alpha, lossy, lossless = tf.unstack(find_chunks(contents, begin, end, [b"ALPH", b"VP8 ", b"VP8L"], riff=True))
    place = tf.where(lossy > 0, lossy, lossless)
    header = bytes_at(contents, place + 8, 10)
    # of a lossless picture: width - 1, height - 1, 14 bits each
    packed = tf.cast(large_number(header[1:5], False), tf.int32)
    width = tf.where(lossy > 0, (header[6] + 256 * header[7]) % 2**14, packed % 2**14 + 1)
    height = tf.where(lossy > 0, (header[8] + 256 * header[9]) % 2**14, packed // 2**14 % 2**14 + 1)
    contents = within_limit(contents, tf.where(place > 0, height, 0), width, max_pixels)
    picture = _chunk(contents, place, end)

    def with_alpha():
        sizes = [b"VP8X\x0a\0\0\0\x10\0\0\0", as_text(width - 1, 3), as_text(height - 1, 3)]
        return tf.strings.join([*sizes, _chunk(contents, alpha, end), picture])

    chunks = tf.cond((alpha > 0) & (lossy > 0), rarely(with_alpha), lambda: picture)
    file = tf.strings.join([b"RIFF", as_text(tf.strings.length(chunks) + 4, 4), b"WEBP", chunks])
    return tf.io.decode_webp(file)[0]


def _chunk(contents, begin, end) -> tf.Tensor:
    """Returns the chunk that begins here, with its padding."""
    length = tf.cast(large_number(bytes_at(contents, begin + 4, 4), False), tf.int32)
    length = tf.minimum(length, end - begin)
    return text_at(contents, begin, 8 + length + length % 2)


def _three(digits) -> tf.Tensor:
    return digits[0] + 256 * digits[1] + 65536 * digits[2]
