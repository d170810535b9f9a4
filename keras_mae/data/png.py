"""PNG files, with the orientation and the transparent colour, which TensorFlow's decoder ignores."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data.file_bytes import bytes_at, find_chunks, large_number, number, text_at, within_limit
from keras_mae.data.orientation import exif_orientation, upright
from keras_mae.data.rare_branch import rarely

MARK = b"\x89PNG\r\n\x1a\n"


def decode_png(contents, dtype: str, max_pixels: int) -> tf.Tensor:
    """Decodes a PNG of at most `max_pixels`, upright, to its own channels: `dtype` `(H, W, C)`.

    A palette, and a colour that is transparent (tRNS), become RGB and alpha; an animated PNG is its still image.
    """
    header = bytes_at(contents, 16, 8)
    contents = within_limit(contents, large_number(header[4:], True), large_number(header[:4], True), max_pixels)
    # Most programs write everything into one chunk, right behind the header
    end = 45 + large_number(bytes_at(contents, 33, 4), True)
    is_plain = (text_at(contents, 37, 4) == b"IDAT") & (text_at(contents, end + 4, 4) == b"IEND")

    def walk():
        keyed, exif = tf.unstack(find_chunks(contents, 8, tf.strings.length(contents), [b"tRNS", b"eXIf"], riff=False))
        end = exif + 8 + number(bytes_at(contents, exif, 4), True)
        return keyed > 0, tf.cond(exif > 0, lambda: exif_orientation(contents, exif + 8, end), lambda: tf.constant(1))

    keyed, noted = tf.cond(is_plain, lambda: (False, 1), rarely(walk))
    image = tf.cond(
        keyed,
        rarely(lambda: tf.io.decode_png(contents, 4, dtype)),  # only with four channels does that colour become alpha
        lambda: tf.io.decode_png(contents, 0, dtype),
    )
    return upright(tf.ensure_shape(image, (None, None, None)), noted)
