"""The evaluation transform, the same graph in evaluation, in tf.data and in an exported model."""

from __future__ import annotations

import tensorflow as tf

from keras_mae import _backend  # noqa: F401
from keras_mae.data.row_blocks import by_row_blocks
from keras_mae.data.scaling import rounded, scale_across, scale_and_translate, scale_down

_RADIUS = 2  # pixels that the bicubic filter reaches to each side
_WHOLE = 4  # a side up to this many times as long as the cut is resized as a whole


def evaluation_transform(image, image_shape: tuple[int, int, int], crop_ratio: float = 0.875) -> tf.Tensor:
    """Resizes an image that is not for training, and cuts out the centre.

    The image is scaled (bicubic, antialiased) until it just covers `image_shape / crop_ratio`, and the centre is cut
    out: 224 pixels of a shorter side of 256 for a ratio of 0.875. With a ratio of 1, an image of that size already is
    not changed.

    The resize is rounded to the image's dtype after each direction, width first, as Pillow does it: on photographs
    its uint8 result is met to one level in 999 values of 1,000. Where the filter overshoots, at the edge of white,
    rounding only once can differ by several levels.

    Args:
        image: uint8 or uint16 `(H, W, C)`, any size.
        image_shape: `(height, width, C)` of the result.
        crop_ratio: in (0, 1].

    Returns:
        `(height, width, C)` of the image's dtype.
    """
    if not 0 < crop_ratio <= 1:
        raise ValueError(f"a crop ratio lies in (0, 1], got {crop_ratio!r}")
    image = tf.convert_to_tensor(image)
    height, width, _ = image_shape
    size = tf.cast(tf.shape(image)[:2], tf.float64)
    covering = tf.constant([height / crop_ratio, width / crop_ratio], tf.float64)
    scaled = tf.cast(tf.round(size * tf.reduce_max(covering / size)), tf.int64)
    scaled = tf.maximum(scaled, [height, width])
    offset = (scaled - [height, width]) // 2
    begin, length = _resized_window(scaled, offset, (height, width))

    def cut(image, offset):
        return image[offset[0] : offset[0] + height, offset[1] : offset[1] + width]

    is_scaled = tf.reduce_all(tf.shape(image, tf.int64)[:2] == scaled)
    resized = lambda: cut(_resize_window(image, scaled, begin, length), offset - begin)  # noqa: E731
    return tf.ensure_shape(tf.cond(is_scaled, lambda: cut(image, offset), resized), image_shape)


def resize_at_once(image, size) -> tf.Tensor:
    """Resizes a uint8 or uint16 image `(H, W, C)` (bicubic, antialiased), rounded once: for random crops."""
    image = tf.convert_to_tensor(image)
    scale = tf.unstack(tf.cast(size, tf.float32) / tf.cast(tf.shape(image)[:2], tf.float32))
    return rounded(scale_and_translate(image, size, scale), image.dtype)


def resize_as_pillow(image, size) -> tf.Tensor:
    """Resizes a uint8 or uint16 image to `size`, int64 `(2,)`, rounded after each direction, width first."""
    return _resize_window(image, size, tf.zeros_like(size), size)


def _resized_window(scaled, offset, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns begin and length of the part of a resized image to compute, of which `size` is cut out at `offset`.

    A side that is not much longer than the cut is computed as a whole, so that its numbers are those of the whole image
    to the last bit; of a thin image only the cut, as the whole would take gigabytes.
    """
    whole = scaled <= [_WHOLE * side for side in size]
    return tf.where(whole, tf.zeros_like(offset), offset), tf.where(whole, scaled, tf.constant(size, tf.int64))


def _resize_window(image, scaled, begin, length) -> tf.Tensor:
    """Computes the part of a resized image from `begin` on, `length` long, from the pixels that the filter needs.

    `scaled` is the size of the whole resized image; all three are int64 `(2,)`.
    """
    size = tf.shape(image, tf.int64)[:2]
    step = tf.cast(size, tf.float64) / tf.cast(scaled, tf.float64)  # in pixels of the image
    support = _RADIUS * tf.maximum(step, 1.0) + 1.0
    first = tf.cast(tf.floor((tf.cast(begin, tf.float64) + 0.5) * step - support), tf.int64)
    last = tf.cast(tf.math.ceil((tf.cast(begin + length, tf.float64) - 0.5) * step + support), tf.int64)
    whole = length == scaled
    first, last = (
        tf.where(whole, tf.zeros_like(first), tf.maximum(first, 0)),
        tf.where(whole, size, tf.minimum(last, size)),
    )
    part = image[first[0] : last[0], first[1] : last[1]]
    # the place of the image's edge, in the result's pixels
    shift = tf.cast(tf.cast(first, tf.float64) / step - tf.cast(begin, tf.float64), tf.float32)
    scale = tf.cast(scaled, tf.float32) / tf.cast(size, tf.float32)
    length = tf.cast(length, tf.int32)

    def wide(rows):
        return rounded(scale_across(rows, length[1], scale[1], shift[1]), image.dtype)

    return rounded(scale_down(by_row_blocks(wide, part), length[0], scale[0], shift[0]), image.dtype)
