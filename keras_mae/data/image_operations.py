"""RandAugment's image operations: keras-cv's, or ours where it has none that works with the installed Keras."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable

import tensorflow as tf

_log = logging.getLogger("keras_mae")

_FILL = 128.0  # gray, for pixels from outside of the image


@functools.cache
def operations_on(channels: int) -> dict[str, Callable]:
    """Returns the operations by name: functions of a float32 image `(1, H, W, C)`, a strength in [0, 1] and a sign."""

    def of_strength(operation: Callable, amount: Callable) -> Callable:
        return lambda image, strength, sign: operation(image, amount(strength, sign))

    return {
        name: of_strength(keras_cvs(name) or ours, amount)
        for name, (ours, amount) in OPERATIONS.items()
        if channels == 3 or name != "color"
    }


def keras_cvs(name: str) -> Callable | None:
    """Returns keras-cv's form of an operation, for which it makes a layer; None if there is none that works."""
    try:
        import keras_cv

        kind, settings, transformations = _KERAS_CV[name]
        augment = getattr(keras_cv.layers, kind)(**settings).augment_images
    except Exception as error:  # whatever a later keras-cv, or its absence, makes of it
        _log.warning("keras-cv has no %s that works (%s): the package's own form is taken", name, error)
        return None
    return lambda images, amount: augment(images, transformations(amount))


def _auto_contrast(images, _) -> tf.Tensor:
    low, high = (bound(images, axis=(1, 2), keepdims=True) for bound in (tf.reduce_min, tf.reduce_max))
    scale = 255.0 / (high - low)
    result = tf.clip_by_value(images * scale + -low * scale, 0.0, 255.0)
    return tf.where(tf.math.is_nan(result), images, result)  # where a channel has one level


def _equalize(images, _) -> tf.Tensor:
    def channel(levels):
        counts = tf.math.bincount(levels, minlength=256, maxlength=256)
        step = (tf.reduce_sum(counts) - tf.reduce_min(tf.boolean_mask(counts, counts > 0))) // 255
        ranks = (tf.cumsum(counts, exclusive=True) + step // 2) // tf.maximum(step, 1)
        return tf.gather(tf.where(step > 0, tf.minimum(ranks, 255), tf.range(256)), levels)

    channels = tf.unstack(tf.cast(images, tf.int32), axis=-1)
    return tf.cast(tf.stack(list(map(channel, channels)), axis=-1), images.dtype)


def _contrast(images, factor) -> tf.Tensor:
    mean = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    return tf.clip_by_value((images - mean) * factor + mean, 0.0, 255.0)


def _sharpness(images, share) -> tf.Tensor:
    kernel = tf.reshape([1.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0], (3, 3, 1, 1)) / 13.0
    kernel = tf.tile(kernel, [1, 1, images.shape[-1], 1])
    smooth = tf.clip_by_value(tf.nn.depthwise_conv2d(images, kernel, [1, 1, 1, 1], "VALID"), 0.0, 255.0)
    return _towards(images, tf.pad(smooth - images[:, 1:-1, 1:-1], [[0, 0], [1, 1], [1, 1], [0, 0]]), share)


def _towards(images, difference, share) -> tf.Tensor:
    return tf.clip_by_value(images + share * difference, 0.0, 255.0)


def _rotate(images, angle) -> tf.Tensor:
    cos, sin = tf.cos(angle), tf.sin(angle)
    height, width = _size(images) - 1
    x, y = (width - (cos * width - sin * height)) / 2, (height - (sin * width + cos * height)) / 2
    return _moved(images, cos, -sin, x, sin, cos, y)


def _size(images) -> tf.Tensor:
    return tf.cast(tf.shape(images)[1:3], tf.float32)


def _moved(images, *matrix) -> tf.Tensor:
    """Moves pixels, bilinearly; `matrix`, of two rows, maps a place in the result to one in `images`."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([[tf.cast(number, tf.float32) for number in (*matrix, 0, 0)]]),
        output_shape=tf.shape(images)[1:3],
        fill_value=_FILL,
        fill_mode="CONSTANT",
        interpolation="BILINEAR",
    )


def posterize(images, bits) -> tf.Tensor:
    """Keeps the upper `bits`, an int32 scalar from 0 to 8, of each level; keras-cv's layer has a fixed number."""
    step = tf.cast(tf.bitwise.left_shift(1, 8 - bits), tf.float32)
    return tf.floor(images / step) * step


def _signed(most: float) -> Callable:
    return lambda strength, sign: most * strength * sign


def _factor(strength, sign) -> tf.Tensor:
    return 1 + 0.9 * strength * sign


# By name: our form, a function of images and an amount; and the amount for a strength and a sign. keras-cv's
# brightness adds, its solarisation inverts after adding, and its posterisation has a fixed number of bits.
OPERATIONS: dict[str, tuple[Callable, Callable]] = {
    "auto contrast": (_auto_contrast, _signed(0.0)),
    "equalize": (_equalize, _signed(0.0)),
    "invert": (lambda images, _: 255 - images, _signed(0.0)),
    "rotate": (_rotate, _signed(math.radians(30))),
    "posterize": (posterize, lambda strength, sign: 4 - tf.cast(strength * 4, tf.int32)),
    "solarize": (
        lambda images, threshold: tf.where(images < threshold, images, 255 - images),
        lambda strength, sign: 256 - tf.floor(strength * 256),
    ),
    "add": (
        lambda images, light: tf.where(images < 128, tf.minimum(images + light, 255.0), images),
        lambda strength, sign: tf.floor(strength * 110),
    ),
    "color": (lambda images, x: _towards(images, tf.image.rgb_to_grayscale(images) - images, x), _signed(-0.9)),
    "contrast": (_contrast, _factor),
    "brightness": (lambda images, factor: tf.minimum(images * factor, 255.0), _factor),
    "sharpness": (_sharpness, _signed(-0.9)),
    "shear x": (lambda images, x: _moved(images, 1, x, 0, 0, 1, 0), _signed(0.3)),
    "shear y": (lambda images, y: _moved(images, 1, 0, 0, y, 1, 0), _signed(0.3)),
    "translate x": (lambda images, x: _moved(images, 1, 0, -x * _size(images)[1], 0, 1, 0), _signed(0.45)),
    "translate y": (lambda images, y: _moved(images, 1, 0, 0, 0, 1, -y * _size(images)[0]), _signed(0.45)),
}

_LEVELS = {"value_range": (0, 255)}
_PLACES = {"fill_mode": "constant", "fill_value": _FILL, "interpolation": "bilinear"}
_SHEAR = ("RandomShear", {"x_factor": 1.0, "y_factor": 1.0, **_PLACES})
_TRANSLATION = ("RandomTranslation", {"height_factor": 1.0, "width_factor": 1.0, **_PLACES})
# keras-cv's layer, its settings, and the argument of `augment_images` for an amount
_KERAS_CV: dict[str, tuple[str, dict, Callable]] = {
    "auto contrast": ("AutoContrast", _LEVELS, lambda _: None),
    "equalize": ("Equalization", _LEVELS, lambda _: None),
    "invert": ("Solarization", _LEVELS, lambda _: {"additions": 0.0, "thresholds": 0.0}),
    "rotate": ("RandomRotation", {"factor": 1.0, **_PLACES}, lambda angle: {"angles": angle[None]}),
    "solarize": ("Solarization", _LEVELS, lambda threshold: {"additions": 0.0, "thresholds": threshold}),
    "color": ("RandomColorDegeneration", {"factor": 0.5}, lambda share: share),
    "contrast": ("RandomContrast", {"factor": 0.5, **_LEVELS}, lambda factor: factor),
    "sharpness": ("RandomSharpness", {"factor": 0.5, **_LEVELS}, lambda share: share),
    "shear x": (*_SHEAR, lambda x: {"shear_x": x[None, None], "shear_y": None}),
    "shear y": (*_SHEAR, lambda y: {"shear_x": None, "shear_y": y[None, None]}),
    "translate x": (*_TRANSLATION, lambda x: {"width_translations": x[None, None], "height_translations": [[0.0]]}),
    "translate y": (*_TRANSLATION, lambda y: {"width_translations": [[0.0]], "height_translations": y[None, None]}),
}
