"""RandAugment with stateless random numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from keras_mae.data.image_operations import operations_on
from keras_mae.example_seed import ExampleSeed, Purpose

_LARGEST = 10.0


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Applies operations drawn from fifteen, each with its own random strength.

    The operations and their strengths are those of the recipe `rand-m9-mstd0.5-inc1`, in which a larger magnitude
    means a stronger change for every operation: contrast, equalisation, inversion, rotation (30 degrees at magnitude
    10), fewer bits, solarisation, added light below a threshold, colour, contrast, brightness and sharpness (a factor
    of 1 +- 0.9), shear (0.3) and translation (0.45 of the side). Signs are random. Pixels from outside are gray.

    keras-cv's own `RandAugment` draws from generators with state; here its operations get their factors.

    Attributes:
        magnitude: the mean strength, of 10.
        std: the strength's standard deviation.
        num_operations: the number of operations in a row.
        probability: that an operation is applied.

    Reference: arXiv 1909.13719; arXiv 2111.06377, table 9: RandAug (9, 0.5).
    """

    magnitude: float = 9.0
    std: float = 0.5
    num_operations: int = 2
    probability: float = 0.5

    def __call__(self, image, seed: ExampleSeed) -> tf.Tensor:
        """Augments a uint8 image `(H, W, C)`; only images of three channels change in colour."""
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


def _apply(operation: Callable, image, strength, sign) -> tf.Tensor:
    result = operation(tf.cast(image, tf.float32)[None], strength, sign)[0]
    return tf.cast(tf.clip_by_value(tf.round(result), 0, 255), tf.uint8)
