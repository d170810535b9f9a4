"""Decoding and the evaluation transform: the same graph in evaluation, in tf.data and in an exported model."""

from __future__ import annotations

import tensorflow as tf

from keras_mae import _backend  # noqa: F401
from keras_mae.data.orientation import orientation, upright

# Red, green and blue in the luma of ITU-R BT.601, as in JPEG's and Pillow's gray
LUMA = (0.299, 0.587, 0.114)


def decode_image(contents, channels: int) -> tf.Tensor:
    """Decodes a JPEG, PNG, BMP or GIF (its first frame) to uint8 `(H, W, channels)`.

    JPEGs are decoded with the accurate DCT, which agrees with Pillow's levels; TensorFlow's default differs by up to
    five. They are turned upright if the camera noted its orientation (EXIF). An alpha channel is dropped. Gray is
    repeated for three channels; colour becomes luma (BT.601) for one. Of 16 bits the upper 8 are kept.

    Args:
        contents: string scalar, the file's bytes.
        channels: 1 or 3.

    Raises:
        tf.errors.InvalidArgumentError: if the bytes are not an image.
    """
    if channels not in (1, 3):
        raise ValueError(f"image files are decoded to 1 or 3 channels, got {channels}")
    image = tf.cond(
        tf.io.is_jpeg(contents),
        lambda: upright(tf.io.decode_jpeg(contents, dct_method="INTEGER_ACCURATE"), orientation(contents)),
        lambda: tf.cond(
            _is_palette_bmp(contents),
            lambda: _decode_palette_bmp(contents),
            lambda: tf.io.decode_image(contents, expand_animations=False),
        ),
    )
    return to_channels(image, channels)


def to_channels(image, channels: int) -> tf.Tensor:
    """An image of any number of channels with 1 or 3: gray, gray and alpha, RGB, or RGB and alpha to gray or RGB."""
    if image.shape[-1] == channels:
        return image
    colour = tf.shape(image)[-1] >= 3  # otherwise gray, perhaps with alpha

    def to_gray():
        return tf.cond(colour, lambda: _luma(image[..., :3]), lambda: image[..., :1])

    def to_rgb():
        return tf.cond(colour, lambda: image[..., :3], lambda: tf.concat([image[..., :1]] * 3, axis=-1))

    return tf.ensure_shape(to_gray() if channels == 1 else to_rgb(), (None, None, channels))


def evaluation_transform(image, image_shape: tuple[int, int, int], crop_ratio: float = 0.875) -> tf.Tensor:
    """Resizes and takes the centre: what an image goes through whenever it is not for training.

    The image is scaled (bicubic, antialiased) until it just covers `image_shape / crop_ratio`, and the centre is cut
    out: 224 pixels out of a shorter side of 256 for a ratio of 0.875. With a ratio of 1, an image that has the size
    already is returned untouched.

    Args:
        image: uint8 or uint16 `(H, W, C)`, any size.
        image_shape: `(height, width, C)` of the result.
        crop_ratio: in (0, 1].

    Returns:
        `(height, width, C)` of the image's dtype.
    """
    if not 0 < crop_ratio <= 1:
        raise ValueError(f"a crop ratio lies in (0, 1], got {crop_ratio!r}")
    height, width, _ = image_shape
    size = tf.cast(tf.shape(image)[:2], tf.float64)
    covering = tf.constant([height / crop_ratio, width / crop_ratio], tf.float64)
    scaled = tf.cast(tf.round(size * tf.reduce_max(covering / size)), tf.int32)
    scaled = tf.maximum(scaled, [height, width])
    offset = (scaled - [height, width]) // 2
    image = tf.cond(tf.reduce_all(tf.shape(image)[:2] == scaled), lambda: image, lambda: resize(image, scaled))
    image = image[offset[0] : offset[0] + height, offset[1] : offset[1] + width]
    return tf.ensure_shape(image, image_shape)


def resize(image, size) -> tf.Tensor:
    """Bicubic, antialiased resize of a uint8 or uint16 image, rounded to its dtype after each direction.

    That is how Pillow does it, width first: on photographs its uint8 result is met to one level in 999 values of 1,000.
    Where the filter overshoots, at the edge of white, rounding only once can differ by several levels.
    """
    image = tf.convert_to_tensor(image)
    return resize_at_once(resize_at_once(image, (tf.shape(image)[0], size[1])), size)


def resize_at_once(image, size) -> tf.Tensor:
    """The same, rounded only at the end, in half the time: for training, where crops are random anyway."""
    image = tf.convert_to_tensor(image)
    pixels = tf.image.resize(image, size, method="bicubic", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, image.dtype.max), image.dtype)


def _is_palette_bmp(contents) -> tf.Tensor:
    """Whether the file is a BMP of 8 bits a pixel, of which TensorFlow gives the palette's indices as gray levels."""
    header = tf.io.decode_raw(contents, tf.uint8, fixed_length=30)
    return tf.reduce_all(tf.gather(header, [0, 1, 28]) == [ord("B"), ord("M"), 8])


def _decode_palette_bmp(contents) -> tf.Tensor:
    header = tf.io.decode_raw(contents, tf.uint8, fixed_length=30)
    begin = 14 + tf.cast(header[14], tf.int32)  # after the file's header and the one that gives its own size here
    palette = tf.io.decode_raw(tf.strings.substr(contents, begin, 1024), tf.uint8, fixed_length=1024)
    palette = tf.reshape(palette, [256, 4])[:, 2::-1]  # blue, green, red, unused
    return tf.gather(palette, tf.cast(tf.io.decode_bmp(contents)[..., 0], tf.int32))


def _luma(image) -> tf.Tensor:
    gray = tf.reduce_sum(tf.cast(image, tf.float32) * LUMA, axis=-1, keepdims=True)
    return tf.cast(tf.round(gray), image.dtype)
