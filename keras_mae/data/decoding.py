"""Image files to pixels for training: any format, depth and number of channels, and of a JPEG only what is needed."""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import tensorflow as tf

from keras_mae.data.orientation import orientation, stored_window, upright
from keras_mae.data.preprocessing import decode_image, resize_at_once, to_channels
from keras_mae.data.rare_branch import rarely

_SCALES = (8, 4, 2)  # what libjpeg can shrink by while it decodes
_MARGIN = 2  # a crop is decoded at no less than this many times the target's size


def decode_file(contents, channels: int, dtype: str = "uint8") -> tf.Tensor:
    """Decodes what `decode_image` does, and TIFF, 16 bits a channel, and more than three channels.

    One and three channels are made from what there is, as in `decode_image`; other numbers of channels must be the
    file's own (PNG: 2 or 4, TIFF: any). For uint16, 8-bit files are scaled: 255 becomes 65535.

    Args:
        contents: string scalar, the file's bytes.
        channels: positive.
        dtype: `"uint8"` or `"uint16"`.

    Returns:
        `dtype` `(H, W, channels)`.

    Raises:
        tf.errors.OpError: if the bytes are not an image, or not one of so many channels.
    """
    return tf.cond(
        _is_tiff(contents),
        lambda: _decode_tiff(contents, channels, dtype),
        lambda: _decode_other(contents, channels, dtype),
    )


def decode_and_crop(contents, channels: int, size: tuple[int, int], window_for) -> tf.Tensor:
    """The upright part of a JPEG that a window selects, resized; only the rows and columns it needs are decoded.

    If the window is much larger than the result, the decoder shrinks while it decodes (by 2, 4 or 8), which leaves
    at least twice the result's size for the antialiased resize.

    Args:
        contents: string scalar, a JPEG file's bytes.
        channels: 1 or 3.
        size: height and width of the result.
        window_for: from the upright image's `(height, width)` to an int32 `(top, left, height, width)`.

    Returns:
        uint8 `(*size, channels)`.
    """
    stored = tf.io.extract_jpeg_shape(contents)[:2]
    noted = orientation(contents)
    window = window_for(tf.where(noted >= 5, stored[::-1], stored))
    spare = tf.reduce_min(window[2:] // (_MARGIN * tf.constant(size)))
    window = stored_window(window, stored, noted)
    branch = tf.reduce_sum(tf.cast(spare >= _SCALES, tf.int32))  # 0 for no scale, 3 for 8

    def decode(scale: int):
        scaled = -(-stored // scale)
        end = tf.minimum(-(-(window[:2] + window[2:]) // scale), scaled)
        begin = window[:2] // scale
        return tf.image.decode_and_crop_jpeg(
            contents,
            tf.concat([begin, end - begin], axis=0),
            channels=3 if channels == 3 else 0,
            ratio=scale,
            dct_method="INTEGER_ACCURATE",
        )

    branches = [lambda scale=scale: decode(scale) for scale in (1, *_SCALES[::-1])]
    image = tf.switch_case(branch, [branches[0], *map(rarely, branches[1:])])
    image = upright(to_channels(image, channels), noted)
    return tf.ensure_shape(resize_at_once(image, size), (*size, channels))


def bits_of(header: bytes) -> int:
    """The bits a channel, 8 or 16, that the first bytes of a PNG or TIFF file tell; 8 for every other file."""
    if header[:8] == b"\x89PNG\r\n\x1a\n" and len(header) > 24:
        return 16 if header[24] == 16 else 8
    return 8


def has_16_bits(contents) -> tf.Tensor:
    """Whether a file has 16 bits a channel: bool scalar.

    Args:
        contents: string scalar, the file's bytes.
    """
    is_png = tf.strings.substr(contents, 0, 8) == b"\x89PNG\r\n\x1a\n"
    return is_png & (tf.strings.substr(contents, tf.minimum(24, tf.strings.length(contents)), 1) == b"\x10")


def require_tifffile(path: str) -> None:
    """Raises ValueError if TIFF files cannot be read here."""
    if importlib.util.find_spec("tifffile") is None:
        raise ValueError(f"{path} needs a library that reads TIFF: pip install 'keras-mae[tiff]'")


def read_tiff(contents: bytes) -> np.ndarray:
    """The first image of a TIFF file: uint8 or uint16 `(H, W, C)`; whole planes or pages are channels, too.

    Raises:
        ValueError: if its pixels are neither uint8 nor uint16.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(contents)) as file:
        series = file.series[0]
        pixels, axes = series.asarray(), series.axes
    while pixels.ndim > 3:
        pixels, axes = pixels[0], axes[1:]
    if pixels.ndim == 2:
        pixels, axes = pixels[..., None], axes + "S"
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"pixels are uint8 or uint16, this TIFF holds {pixels.dtype}")
    return pixels.transpose([axes.index("Y"), axes.index("X"), *(n for n in range(3) if axes[n] not in "YX")])


def _is_tiff(contents) -> tf.Tensor:
    magic = tf.strings.substr(contents, 0, 4)
    return tf.reduce_any(magic == [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])


def _decode_tiff(contents, channels: int, dtype: str) -> tf.Tensor:
    def read(contents):
        pixels = read_tiff(contents.numpy())
        if pixels.dtype != dtype:
            pixels = pixels.astype("uint16") * 257 if dtype == "uint16" else (pixels >> 8).astype("uint8")
        return pixels

    image = tf.py_function(read, [contents], dtype)
    image.set_shape((None, None, None))
    return _as_asked(image, channels)


def _decode_other(contents, channels: int, dtype: str) -> tf.Tensor:
    if channels in (1, 3) and dtype == "uint8":
        return decode_image(contents, channels)

    def decode_8_bits():
        image = decode_image(contents, 3)
        return image if dtype == "uint8" else tf.cast(image, tf.uint16) * 257

    is_png = tf.strings.substr(contents, 0, 8) == b"\x89PNG\r\n\x1a\n"
    image = tf.cond(is_png, lambda: tf.io.decode_png(contents, dtype=dtype), decode_8_bits)
    return _as_asked(image, channels)


def _as_asked(image, channels: int) -> tf.Tensor:
    if channels in (1, 3):
        # a stack of other than 1 to 4 planes is no colour image, and no three of them are red, green and blue
        with tf.control_dependencies([tf.debugging.assert_less_equal(tf.shape(image)[-1], 4, _WRONG_CHANNELS)]):
            return to_channels(tf.identity(image), channels)
    with tf.control_dependencies([tf.debugging.assert_equal(tf.shape(image)[-1], channels, _WRONG_CHANNELS)]):
        return tf.ensure_shape(tf.identity(image), (None, None, channels))


_WRONG_CHANNELS = "the file has another number of channels than the one asked for"
