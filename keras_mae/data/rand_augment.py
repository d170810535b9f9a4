"""RandAugment with keras-cv's image operations, every random choice being stateless."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import tensorflow as tf

from keras_mae.example_seed import ExampleSeed, Purpose

_LARGEST = 10.0
_RANGE = (0, 255)
_FILL = 128.0


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """A few operations after another, each drawn from fifteen, each with a strength of its own.

    The operations and their strengths are those of the recipe `rand-m9-mstd0.5-inc1`, in which a larger magnitude
    means a stronger change for every operation: contrast, equalisation, inversion, rotation (30 degrees at magnitude
    10), fewer bits, solarisation, added light below a threshold, colour, contrast, brightness and sharpness (a factor
    of 1 +- 0.9), shear (0.3) and translation (0.45 of the side). Signs are random. What comes in from outside is gray.

    keras-cv's own `RandAugment` draws from generators with state; here its operations are given their factors.

    Attributes:
        magnitude: the mean strength, of 10.
        std: the strength's standard deviation.
        num_operations: how many operations follow each other.
        probability: of each to take place at all.

    Reference: arXiv 1909.13719; arXiv 2111.06377, table 9: RandAug (9, 0.5).
    """

    magnitude: float = 9.0
    std: float = 0.5
    num_operations: int = 2
    probability: float = 0.5

    def __call__(self, image, seed: ExampleSeed) -> tf.Tensor:
        """uint8 `(H, W, C)` to the same; of one channel, colour stays as it is."""
        if image.dtype != tf.uint8:
            raise ValueError(f"RandAugment takes uint8 images, got {image.dtype.name}; switch it off for others")
        draws = seed.fold_in(Purpose.RAND_AUGMENT).uniform(1, (self.num_operations, 5))[0]
        with tf.init_scope():  # the layers are made once, outside of any graph
            operations = list(operations_on(image.shape[-1]).values())
        result = image
        for takes_place, which, sign, *normal in map(tf.unstack, tf.unstack(draws)):
            # Box and Muller: two uniform numbers to a normal one; 1 - u lies in (0, 1]
            deviation = tf.sqrt(-2 * tf.math.log(1 - normal[0])) * tf.cos(2 * math.pi * normal[1])
            strength = tf.clip_by_value(self.magnitude + self.std * deviation, 0, _LARGEST) / _LARGEST
            sign = tf.where(sign < 0.5, -1.0, 1.0)
            number = tf.cast(which * len(operations), tf.int32)
            branches = [
                lambda operation=operation, image=result: _apply(operation, image, strength, sign)
                for operation in operations
            ]
            result = tf.cond(
                takes_place < self.probability, lambda: tf.switch_case(number, branches), lambda image=result: image
            )
        return tf.ensure_shape(result, image.shape)


@functools.cache
def operations_on(channels: int) -> dict[str, Callable]:
    """The operations by name: functions of an image float32 `(1, H, W, C)`, a strength in [0, 1] and a sign.

    keras-cv's brightness adds, and its posterisation and solarisation have fixed settings or another meaning: those
    are written out.
    """
    from keras_cv import layers

    geometry = {"fill_mode": "constant", "fill_value": _FILL, "interpolation": "bilinear"}
    shear = layers.RandomShear(1.0, 1.0, **geometry)
    translation = layers.RandomTranslation(1.0, 1.0, **geometry)
    rotation = layers.RandomRotation(1.0, **geometry)
    auto_contrast, equalization = layers.AutoContrast(_RANGE), layers.Equalization(_RANGE)
    solarization = layers.Solarization(_RANGE)
    color = layers.RandomColorDegeneration(0.5)
    contrast = layers.RandomContrast(_RANGE, 0.5)
    sharpness = layers.RandomSharpness(0.5, _RANGE)
    none = tf.zeros((1, 1))

    def row(value):
        return tf.reshape(value, (1, 1))

    def blend(strength, sign):
        """keras-cv's factor: 0 leaves the image, 1 replaces it by its degenerate form, -1 doubles the difference."""
        return -0.9 * strength * sign

    found = {
        "auto contrast": lambda image, strength, sign: auto_contrast.augment_images(image),
        "equalize": lambda image, strength, sign: equalization.augment_images(image),
        "invert": lambda image, strength, sign: solarization.augment_images(
            image, {"additions": 0.0, "thresholds": 0.0}
        ),
        "rotate": lambda image, strength, sign: rotation.augment_images(
            image, {"angles": tf.reshape(sign * strength * math.radians(30), (1,))}
        ),
        "posterize": lambda image, strength, sign: posterize(image, 4 - tf.cast(strength * 4, tf.int32)),
        "solarize": lambda image, strength, sign: solarization.augment_images(
            image, {"additions": 0.0, "thresholds": 256 - tf.floor(strength * 256)}
        ),
        "add": lambda image, strength, sign: tf.where(
            image < 128, tf.minimum(image + tf.floor(strength * 110), 255.0), image
        ),
        "color": lambda image, strength, sign: color.augment_images(image, blend(strength, sign)),
        "contrast": lambda image, strength, sign: contrast.augment_images(image, 1 - blend(strength, sign)),
        "brightness": lambda image, strength, sign: tf.minimum(image * (1 + 0.9 * strength * sign), 255.0),
        "sharpness": lambda image, strength, sign: sharpness.augment_images(image, blend(strength, sign)),
        "shear x": lambda image, strength, sign: shear.augment_images(
            image, {"shear_x": row(0.3 * strength * sign), "shear_y": None}
        ),
        "shear y": lambda image, strength, sign: shear.augment_images(
            image, {"shear_x": None, "shear_y": row(0.3 * strength * sign)}
        ),
        "translate x": lambda image, strength, sign: translation.augment_images(
            image, {"width_translations": row(0.45 * strength * sign), "height_translations": none}
        ),
        "translate y": lambda image, strength, sign: translation.augment_images(
            image, {"width_translations": none, "height_translations": row(0.45 * strength * sign)}
        ),
    }
    if channels != 3:
        del found["color"]
    return found


def posterize(image, bits) -> tf.Tensor:
    """Only the upper `bits`, an int32 scalar from 0 to 8, of each level remain; keras-cv's layer has a fixed number."""
    step = tf.cast(tf.bitwise.left_shift(1, 8 - bits), tf.float32)
    return tf.floor(image / step) * step


def _apply(operation: Callable, image, strength, sign) -> tf.Tensor:
    result = operation(tf.cast(image, tf.float32)[None], strength, sign)[0]
    return tf.cast(tf.clip_by_value(tf.round(result), 0, 255), tf.uint8)
