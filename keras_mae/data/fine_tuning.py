"""The augmentation of the fine-tuning recipe for one image."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from keras_mae.data.augmentation import Augmentation
from keras_mae.data.rand_augment import RandAugment
from keras_mae.example_seed import ExampleSeed, Purpose

_ERASED_AREA = (0.02, 1 / 3)
_ERASED_RATIO = (0.3, 1 / 0.3)
_NOISE_STD = 255 * 0.226  # the mean of ImageNet's standard deviations: noise of 1 after normalisation


@dataclasses.dataclass(frozen=True)
class FineTuningAugmentation(Augmentation):
    """An `Augmentation` of crop, flip, RandAugment and random erasing, in this order.

    Mixup and cutmix follow on the batch, see `mix_batch`.

    Attributes:
        rand_augment: None leaves it out.
        erasing: the probability of a rectangle of noise.

    Reference: arXiv 2111.06377, table 9.
    """

    crop_scale: tuple[float, float] | None = (0.08, 1.0)
    rand_augment: RandAugment | None = RandAugment()
    erasing: float = 0.25

    def keeps(self, source_shape, image_shape) -> bool:
        return not self.rand_augment and not self.erasing and super().keeps(source_shape, image_shape)

    def after_crop(self, image, seed: ExampleSeed) -> tf.Tensor:
        image = super().after_crop(image, seed)
        if self.rand_augment:
            image = self.rand_augment(image, seed)
        if self.erasing:
            erases = seed.fold_in(Purpose.ERASING).uniform(1, ())[0] < self.erasing
            image = tf.cond(erases, lambda whole=image: random_erasing(whole, seed), lambda whole=image: whole)
        return image


def random_erasing(image, seed: ExampleSeed) -> tf.Tensor:
    """Fills a random rectangle with normal noise around middle gray, different in every pixel and channel.

    The rectangle's area is uniform in 0.02 to 1/3 of the image's, its aspect (height / width) log-uniform in 0.3 to
    1 / 0.3. It is the first of ten draws that fits; if none does, nothing is erased.

    Args:
        image: uint8 or uint16 `(H, W, C)` of static shape.
        seed: the example's.

    Returns:
        The same shape and dtype.

    Reference: arXiv 1708.04896.
    """
    height, width, channels = image.shape
    seed = seed.fold_in(Purpose.ERASING)
    draws = seed.fold_in(0).uniform(1, (10, 4))[0]
    area = height * width * (_ERASED_AREA[0] + (_ERASED_AREA[1] - _ERASED_AREA[0]) * draws[:, 0])
    low, high = math.log(_ERASED_RATIO[0]), math.log(_ERASED_RATIO[1])
    aspect = tf.exp(low + (high - low) * draws[:, 1])
    heights, widths = tf.round(tf.sqrt(area * aspect)), tf.round(tf.sqrt(area / aspect))
    fits = (heights < height) & (widths < width) & (heights >= 1) & (widths >= 1)
    first = tf.argmax(fits)
    erased_height, erased_width = heights[first], widths[first]
    top = tf.floor(draws[first, 2] * (height - erased_height + 1))
    left = tf.floor(draws[first, 3] * (width - erased_width + 1))
    rows, columns = tf.range(height, dtype=tf.float32)[:, None], tf.range(width, dtype=tf.float32)
    inside = (rows >= top) & (rows < top + erased_height) & (columns >= left) & (columns < left + erased_width)
    uniform = seed.fold_in(1).uniform(1, (2, height, width, channels))[0]
    noise = tf.sqrt(-2 * tf.math.log(1 - uniform[0])) * tf.cos(2 * math.pi * uniform[1])
    levels = (127.5 + _NOISE_STD * noise) * (image.dtype.max / 255)
    noise = tf.cast(tf.clip_by_value(tf.round(levels), 0, image.dtype.max), image.dtype)
    return tf.where((inside & tf.reduce_any(fits))[..., None], noise, image)
