"""PNG files: what TensorFlow's decoder leaves out, which is orientation and a colour that is transparent."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data.file_bytes import bytes_at, find_chunks, large_number, text_at, within_limit
from keras_mae.data.orientation import exif_orientation, upright
from keras_mae.data.rare_branch import rarely

MARK = b"\x89PNG\r\n\x1a\n"


def decode_png(contents, dtype: str, max_pixels: int) -> tf.Tensor:
    """A PNG's own channels, upright: gray, gray and alpha, RGB, or RGB and alpha.

    A palette, and a colour that is transparent (tRNS), become RGB and alpha; an animated PNG is its still image.

    Args:
        contents: string scalar, the file's bytes.
        dtype: `"uint8"` or `"uint16"`.
        max_pixels: files of more are refused.

    Returns:
        `dtype` `(H, W, C)`.
    """
    header = bytes_at(contents, 16, 8)
    contents = within_limit(contents, large_number(header[4:], True), large_number(header[:4], True), max_pixels)
    # What most programs write: everything in one chunk, right behind the header
    end = 45 + large_number(bytes_at(contents, 33, 4), True)
    is_plain = (text_at(contents, 37, 4) == b"IDAT") & (text_at(contents, end + 4, 4) == b"IEND")
    keyed, noted = tf.cond(is_plain, lambda: (False, 1), rarely(lambda: _walk(contents)))
    image = tf.cond(
        keyed,
        rarely(lambda: tf.io.decode_png(contents, 4, dtype)),  # only of four is the transparent colour made alpha
        lambda: tf.io.decode_png(contents, 0, dtype),
    )
    return upright(tf.ensure_shape(image, (None, None, None)), noted)


def _walk(contents) -> tuple[tf.Tensor, tf.Tensor]:
    """Whether there is a tRNS chunk, and the orientation of an eXIf chunk."""
    keyed, exif = tf.unstack(find_chunks(contents, 8, tf.strings.length(contents), [b"tRNS", b"eXIf"], riff=False))
    return keyed > 0, tf.cond(exif > 0, lambda: exif_orientation(contents, exif + 8), lambda: tf.constant(1))
