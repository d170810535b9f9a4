"""Decodes image files, in the same way for training, evaluation and serving, and of a JPEG only a crop."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import BinaryIO

import tensorflow as tf

from keras_mae import _backend  # noqa: F401
from keras_mae.data.bmp import decode_bmp
from keras_mae.data.channels import as_asked
from keras_mae.data.file_bytes import begins_with, bytes_at, checked, within_limit
from keras_mae.data.gif import decode_gif
from keras_mae.data.orientation import orientation, stored_window, upright
from keras_mae.data.png import MARK as PNG_MARK
from keras_mae.data.png import decode_png
from keras_mae.data.preprocessing import resize_at_once
from keras_mae.data.rare_branch import rarely, traced_once
from keras_mae.data.tiff import decode_tiff
from keras_mae.data.tiff_header import BITS, MARKS, Directory, bits_of_tiff
from keras_mae.data.webp import decode_webp, is_webp

# The names of files of each format that `decode_file` reads
FORMATS = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WebP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}
EXTENSIONS = tuple(extension for extensions in FORMATS.values() for extension in extensions)
MISNAMED_TIFF = "a TIFF file: name it .tif"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes(5)  # the segment of a JPEG whose inks are inverted
_SCALES = (8, 4, 2)  # factors by which libjpeg can shrink while it decodes
_MARGIN = 2  # a crop is decoded at no less than this many times the target's size


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How image files are decoded.

    Attributes:
        max_pixels: images of more are refused before they are decoded. In a TIFF of more than four channels, four
            levels count as one pixel.
        background: the gray level in [0, 255] behind transparent pixels where 1 or 3 channels are asked for.
        tiff: whether TIFF files are read. To trace their decoder takes seconds in every process, so a folder without a
            file of that name leaves it out.
    """

    max_pixels: int = 100_000_000
    background: int = 255
    tiff: bool = True

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels is at least 1, got {self.max_pixels!r}")
        if not 0 <= self.background <= 255:
            raise ValueError(f"background is a gray level in [0, 255], got {self.background!r}")


@tf.autograph.experimental.do_not_convert  # AutoGraph would change nothing, and take a second in every process
def decode_file(contents, channels: int, dtype: str = "uint8", decoding: Decoding = Decoding()) -> tf.Tensor:
    """Decodes a JPEG, PNG, BMP, GIF, WebP or TIFF to the pixels that Pillow shows, in one dtype.

    Gray is repeated for three channels; colour becomes luma (BT.601) for one; transparent pixels are laid over a
    background for both. Other numbers of channels must be the file's own (PNG, WebP: 2 or 4, TIFF: any). Images are
    turned upright (EXIF). Only the first frame or page is decoded. Colour profiles are not applied.

    JPEGs are decoded with the accurate DCT, which agrees with Pillow's levels; TensorFlow's default differs by up to
    five. For uint8 the upper 8 of 16 bits are kept; for uint16, 8-bit files are scaled: 255 becomes 65535.

    Args:
        contents: string scalar, the file's bytes.
        channels: positive.
        dtype: `"uint8"` or `"uint16"`.
        decoding: the settings.

    Returns:
        `dtype` `(H, W, channels)`.

    Raises:
        tf.errors.OpError: if the bytes are not an image, have too many pixels, or another number of channels.
    """

    def jpeg():
        size = tf.io.extract_jpeg_shape(contents)
        image = tf.io.decode_jpeg(
            _with_mark(within_limit(contents, size[0], size[1], decoding.max_pixels), size[2]),
            channels=3 if channels == 3 else 0,
            dct_method="INTEGER_ACCURATE",
        )
        return _in_dtype(upright(image, orientation(contents)), dtype)

    other = _other_than_jpeg(channels in (1, 3), dtype, decoding.max_pixels, decoding.tiff)
    image = tf.cond(tf.io.is_jpeg(contents), jpeg, functools.partial(other, contents, channels))
    return as_asked(image, channels, decoding.background)


@functools.cache  # tracing it takes seconds, and many graphs decode files
def _other_than_jpeg(colours: bool, dtype: str, limit: int, tiff: bool) -> Callable:
    """Returns the decoder of all formats but JPEG, from a file's bytes and the channels asked for to pixels."""

    @traced_once(tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int32))
    def decode(contents, channels):
        def of_8_bits(decoder: Callable) -> Callable:
            return lambda: _in_dtype(_of_8_bits(decoder, limit)(contents), dtype)

        def refused(text: str) -> tf.Tensor:
            return checked(tf.zeros((0, 0, 0), dtype), (False, text))

        read_tiff = functools.partial(decode_tiff, contents, channels, colours, dtype, limit)
        kinds = [
            (begins_with(contents, PNG_MARK), functools.partial(decode_png, contents, dtype, limit)),
            (begins_with(contents, b"GIF87a", b"GIF89a"), of_8_bits(decode_gif)),
            (begins_with(contents, b"BM"), of_8_bits(decode_bmp)),
            (is_webp(contents), of_8_bits(decode_webp)),
            (begins_with(contents, *MARKS), rarely(read_tiff) if tiff else functools.partial(refused, MISNAMED_TIFF)),
            (True, functools.partial(refused, f"an image is one of {', '.join(FORMATS)}")),
        ]
        number = tf.argmax([is_kind for is_kind, _ in kinds], output_type=tf.int32)
        image = tf.switch_case(number, [decode for _, decode in kinds])
        return tf.ensure_shape(image, (None, None, None))

    return decode


@functools.cache
def _of_8_bits(decoder: Callable, limit: int) -> Callable:
    """Returns a decoder of a format that has 8 bits only: one function for both dtypes."""
    return traced_once(tf.TensorSpec((), tf.string))(functools.partial(decoder, max_pixels=limit))


def _with_mark(contents, components) -> tf.Tensor:
    """Adds Adobe's mark to a JPEG of four inks: Pillow takes each for Adobe's, TensorFlow only those with the mark."""

    def marked():  # the mark comes before all other segments: if the file has one, its own counts
        parts = [tf.strings.substr(contents, 0, 2), _ADOBE, tf.strings.substr(contents, 2, tf.strings.length(contents))]
        return tf.strings.join(parts)

    return tf.cond(components == 4, rarely(marked), lambda: contents)


def _in_dtype(image, dtype: str) -> tf.Tensor:
    return image if dtype == "uint8" else tf.cast(image, tf.uint16) * 257


def decode_image(contents, channels: int) -> tf.Tensor:
    """Decodes an image file's bytes, see `decode_file`, to 1 or 3 channels: uint8 `(H, W, channels)`."""
    if channels not in (1, 3):
        raise ValueError(f"image files are decoded to 1 or 3 channels, got {channels}")
    return decode_file(contents, channels)


@tf.autograph.experimental.do_not_convert
def decode_and_crop(
    contents, channels: int, size: tuple[int, int], window_for, decoding: Decoding = Decoding()
) -> tf.Tensor:
    """Decodes the part of a JPEG that a window selects, upright and resized.

    Only the rows and columns of the window are decoded. If it is much larger than the result, the decoder shrinks it
    (by 2, 4 or 8) to no less than twice the result's size, from which an antialiased resize goes on.

    Args:
        contents, channels, decoding: as in `decode_file`, for a JPEG and 1 or 3 channels.
        size: height and width of the result.
        window_for: a function from the upright image's `(height, width)` to an int32 `(top, left, height, width)`.

    Returns:
        uint8 `(*size, channels)`.
    """
    shape = tf.io.extract_jpeg_shape(contents)
    stored = shape[:2]
    contents = _with_mark(within_limit(contents, stored[0], stored[1], decoding.max_pixels), shape[2])
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
    image = upright(as_asked(image, channels, decoding.background), noted)
    return tf.ensure_shape(resize_at_once(image, size), (*size, channels))


def has_16_bits(contents) -> tf.Tensor:
    """Returns whether the bytes, a string scalar, are a PNG or TIFF of more than 8 bits a channel: bool scalar."""
    is_png = begins_with(contents, PNG_MARK) & (bytes_at(contents, 24, 1)[0] == 16)
    of_tiff = rarely(lambda: Directory(contents).one(BITS) > 8)
    return tf.cond(begins_with(contents, *MARKS), of_tiff, lambda: is_png)


def bits_of(file: BinaryIO) -> int:
    """Reads the bits a channel, 8 or 16, from the header of an open PNG or TIFF file; 8 for every other file."""
    head = file.read(32)
    if head.startswith(PNG_MARK) and len(head) > 24:
        return 16 if head[24] == 16 else 8
    return 16 if head[:2] in (b"II", b"MM") and bits_of_tiff(file, head) > 8 else 8
