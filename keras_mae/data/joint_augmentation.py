"""The augmentation of an image together with its mask."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from keras_mae.data.augmentation import color_jitter, random_flip
from keras_mae.data.masks import IGNORED
from keras_mae.data.preprocessing import resize_at_once
from keras_mae.data.scaling import rounded, scale_and_translate
from keras_mae.example_seed import ExampleSeed, Purpose


@dataclasses.dataclass(frozen=True)
class JointAugmentation:
    """The augmentation of an image and its mask: random scale, crop, flip and colour jitter.

    The image is scaled until it just covers the result, times a random factor, and a window of the result's size is cut
    out at a random place. What lies outside of the image is filled, and has no label. The image is resized (bicubic,
    antialiased) and the mask (nearest) on the same window; both are mirrored; the colours of the image alone change.

    Attributes:
        scale: bounds of the factor; None: image and mask are resized to the result's size, whatever their aspect.
        flip: whether half of the images are mirrored.
        jitter: brightness, contrast and saturation vary by up to this share, see `color_jitter`; 0 for none.
        fill: the level outside of the image, for each channel as a share of the largest level; None for one half.

    Reference: arXiv 2111.06377, appendix A.4, whose augmentation is that of arXiv 1807.10221 and mmsegmentation, there
        with hue in the jitter, and crops drawn again if one class has more than 75 % of the pixels.
    """

    scale: tuple[float, float] | None = (0.5, 2.0)
    flip: bool = True
    jitter: float = 0.4
    fill: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        low, high = self.scale or (1, 1)
        if not (0 < low <= high and self.jitter >= 0):
            raise ValueError(f"scale is (smallest, largest), above 0, and jitter is at least 0; got {self}")

    def __call__(
        self, image, mask, image_shape: tuple[int, int, int], seed: ExampleSeed
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Augments a pair.

        Args:
            image: uint8 or uint16 `(H, W, C)`.
            mask: int32 `(H, W)`.
            image_shape: `(height, width, C)` of the result.
            seed: the example's.

        Returns:
            `image_shape` of the image's dtype, and int32 `(height, width)`, `IGNORED` outside of the image.

        Raises:
            tf.errors.InvalidArgumentError: if image and mask are of different sizes.
        """
        image = of_one_size(image, mask)
        if self.scale is None:
            image, mask = resized_pair(image, mask, image_shape[:2])
            inside = tf.ones(image_shape[:2], tf.bool)
        else:
            image, mask, inside = self._window(image, mask, image_shape, seed)
        if self.jitter:
            image = color_jitter(image, seed.fold_in(Purpose.JITTER).uniform(1, (3,))[0], self.jitter)
            image = self._filled(image, inside)
        if self.flip:
            draw = seed.fold_in(Purpose.FLIP).uniform(1, ())[0]
            image, mask = random_flip(image, draw), random_flip(mask, draw)
        return tf.ensure_shape(image, image_shape), tf.ensure_shape(mask, image_shape[:2])

    def _window(self, image, mask, image_shape, seed) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        target = tf.constant(image_shape[:2], tf.int32)
        size = tf.shape(image)[:2]
        draws = seed.fold_in(Purpose.CROP).uniform(1, (3,))[0]
        low, high = self.scale or (1.0, 1.0)
        factor = tf.reduce_max(target / size) * tf.cast(low + (high - low) * draws[0], tf.float64)
        scaled = tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float64) * factor), tf.int32), 1)
        room = tf.abs(scaled - target)
        moved = tf.minimum(tf.cast(draws[1:] * tf.cast(room + 1, tf.float32), tf.int32), room)
        offset = tf.where(scaled >= target, moved, -moved)  # of the window in the scaled image
        scale, moves = tf.cast(scaled / size, tf.float32), tf.cast(-offset, tf.float32)
        window = rounded(scale_and_translate(image, image_shape[:2], tf.unstack(scale), tf.unstack(moves)), image.dtype)
        rows, columns = (
            (tf.range(length) + offset[axis] >= 0) & (tf.range(length) + offset[axis] < scaled[axis])
            for axis, length in enumerate(image_shape[:2])
        )
        inside = rows[:, None] & columns
        classes = tf.where(inside, nearest(mask, scaled, offset, image_shape[:2]), IGNORED)
        return self._filled(window, inside), classes, inside

    def _filled(self, image, inside) -> tf.Tensor:
        shares = (0.5,) * image.shape[-1] if self.fill is None else self.fill
        level = tf.cast(tf.round(tf.constant(shares) * image.dtype.max), image.dtype)
        return tf.where(inside[..., None], image, level)


def of_one_size(image, mask) -> tf.Tensor:
    """Returns the image; raises InvalidArgumentError if its mask is of another size."""
    shapes = tf.shape(image)[:2], tf.shape(mask)
    with tf.control_dependencies([tf.debugging.assert_equal(*shapes, "image and mask are of different sizes")]):
        return tf.identity(image)


def resized_pair(image, mask, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Resizes an image (bicubic, antialiased) and its mask (nearest) to `size`, whatever their aspect."""
    return resize_at_once(image, size), nearest(mask, tf.constant(size), tf.zeros(2, tf.int32), size)


def nearest(mask, scaled, offset, size: tuple[int, int]) -> tf.Tensor:
    """Takes, for the pixels of a window of a scaled mask, the nearest ones of the mask `(H, W)`.

    Args:
        mask: `(H, W)`.
        scaled: the size of the whole scaled mask, int32 `(2,)`.
        offset: of the window in it, int32 `(2,)`; places outside get the nearest pixel at the edge.
        size: height and width of the window.
    """
    for axis, length in enumerate(size):
        old, new = (tf.cast(sizes[axis], tf.float64) for sizes in (tf.shape(mask), scaled))
        centre = tf.cast(tf.range(length) + offset[axis], tf.float64) + 0.5
        place = tf.cast(tf.floor(centre * old / new), tf.int32)
        mask = tf.gather(mask, tf.clip_by_value(place, 0, tf.shape(mask)[axis] - 1), axis=axis)
    return tf.ensure_shape(mask, size)
