"""Random image operations, as functions of uniform numbers."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from keras_mae.data.channels import LUMA
from keras_mae.data.decoding import Decoding, decode_and_crop, decode_file
from keras_mae.data.preprocessing import evaluation_transform, resize_at_once
from keras_mae.data.rare_branch import rarely
from keras_mae.example_seed import ExampleSeed, Purpose

RATIO = (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The augmentation of training images: random crop, flip and colour jitter.

    Attributes:
        crop_scale: bounds of the random resized crop's area, as shares of the image's; None for the evaluation
            transform instead.
        flip: whether half of the images are mirrored.
        crop_ratio: of the evaluation transform, used if there is no random crop.
        jitter: brightness, contrast and saturation vary by up to this share, see `color_jitter`; 0 for none.
    """

    crop_scale: tuple[float, float] | None = (0.2, 1.0)
    flip: bool = True
    crop_ratio: float = 0.875
    jitter: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.crop_scale or (1, 1)
        if not (0 < low <= high <= 1 and 0 < self.crop_ratio <= 1 and self.jitter >= 0):
            raise ValueError(
                "crop_scale is (smallest, largest) in (0, 1], crop_ratio lies in (0, 1], jitter is at least 0; got "
                f"{self}"
            )

    def keeps(self, source_shape: tuple[int, int, int] | None, image_shape: tuple[int, int, int]) -> bool:
        """Returns whether images of `source_shape` (None: of several sizes) are not changed."""
        return self.crop_is_whole(source_shape, image_shape) and not self.flip and not self.jitter

    def crop_is_whole(self, source_shape: tuple[int, int, int] | None, image_shape: tuple[int, int, int]) -> bool:
        """Returns whether images of `source_shape` (None: of several sizes) are neither resized nor cropped."""
        return source_shape == image_shape and self.crop_scale is None and self.crop_ratio == 1

    def __call__(self, image, image_shape: tuple[int, int, int], seed: ExampleSeed) -> tf.Tensor:
        """Augments an image, uint8 or uint16 `(H, W, C)`, to `image_shape` of the same dtype."""
        return tf.ensure_shape(self.after_crop(self._crop(image, image_shape, seed), seed), image_shape)

    def decode(
        self,
        contents,
        image_shape: tuple[int, int, int],
        seed: ExampleSeed,
        dtype: str = "uint8",
        decoding: Decoding = Decoding(),
    ) -> tf.Tensor:
        """Augments an image file's bytes; of a JPEG, only the crop is decoded."""

        def whole():
            return self._crop(decode_file(contents, image_shape[-1], dtype, decoding), image_shape, seed)

        def part():
            return decode_and_crop(contents, image_shape[-1], image_shape[:2], window_for, decoding)

        def window_for(size):
            return crop_window(size, crop_draws(seed), self.crop_scale, RATIO)

        if self.crop_scale is None or dtype != "uint8" or image_shape[-1] not in (1, 3):
            image = whole()
        else:
            image = tf.cond(tf.io.is_jpeg(contents), part, rarely(whole))
        return tf.ensure_shape(self.after_crop(image, seed), image_shape)

    def _crop(self, image, image_shape: tuple[int, int, int], seed: ExampleSeed) -> tf.Tensor:
        if self.crop_scale is None:
            return evaluation_transform(image, image_shape, self.crop_ratio)
        return random_resized_crop(image, image_shape[:2], crop_draws(seed), self.crop_scale)

    def after_crop(self, image, seed: ExampleSeed) -> tf.Tensor:
        """Augments an image that has its size already."""
        image = random_flip(image, seed.fold_in(Purpose.FLIP).uniform(1, ())[0]) if self.flip else image
        if self.jitter:
            image = color_jitter(image, seed.fold_in(Purpose.JITTER).uniform(1, (3,))[0], self.jitter)
        return image


def crop_draws(seed: ExampleSeed) -> tf.Tensor:
    """Draws the numbers for a random resized crop: float32 `(10, 4)`."""
    return seed.fold_in(Purpose.CROP).uniform(1, (10, 4))[0]


def random_resized_crop(
    image, size: tuple[int, int], draws, scale: tuple[float, float] = (0.2, 1.0), ratio: tuple[float, float] = RATIO
) -> tf.Tensor:
    """Cuts out a random rectangle and resizes it (bicubic, antialiased).

    The rectangle's area is uniform in `scale` times the image's, its aspect (width / height) log-uniform in `ratio`.
    It is the first of ten draws that fits into the image; if none does, the largest centred rectangle with an aspect
    within `ratio`.

    Args:
        image: uint8 or uint16 `(H, W, C)`.
        size: height and width of the result.
        draws: uniform numbers in [0, 1), float32 `(10, 4)`.
        scale, ratio: bounds.

    Returns:
        `(*size, C)` of the image's dtype.

    Reference: arXiv 1409.4842, section 6; arXiv 2111.06377, table 8.
    """
    top, left, height, width = tf.unstack(crop_window(tf.shape(image)[:2], draws, scale, ratio))
    crop = image[top : top + height, left : left + width]
    return tf.ensure_shape(resize_at_once(crop, size), (*size, image.shape[-1]))


def crop_window(size, draws, scale: tuple[float, float], ratio: tuple[float, float]) -> tf.Tensor:
    """Computes the rectangles of `random_resized_crop` in images of one size, from draws `(..., 10, 4)`.

    Returns:
        int32 `(..., 4)`: top, left, height, width.
    """
    image_height, image_width = tf.unstack(tf.cast(size, tf.float32))
    area = image_height * image_width * (scale[0] + (scale[1] - scale[0]) * draws[..., 0])
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    aspect = tf.exp(log_low + (log_high - log_low) * draws[..., 1])
    heights, widths = tf.round(tf.sqrt(area / aspect)), tf.round(tf.sqrt(area * aspect))
    fits = (heights >= 1) & (widths >= 1) & (heights <= image_height) & (widths <= image_width)
    tops = tf.floor(draws[..., 2] * (image_height - heights + 1))
    lefts = tf.floor(draws[..., 3] * (image_width - widths + 1))
    windows = tf.stack([tops, lefts, heights, widths], axis=-1)  # (..., 10, 4)
    first = tf.argmax(fits, axis=-1)
    window = tf.gather(windows, first, axis=-2, batch_dims=windows.shape.rank - 2)

    # if nothing fits: the whole image, cut to the nearest allowed aspect
    allowed = tf.clip_by_value(image_width / image_height, ratio[0], ratio[1])
    whole_height = tf.minimum(image_height, tf.round(image_width / allowed))
    whole_width = tf.minimum(image_width, tf.round(image_height * allowed))
    centre = [tf.floor((image_height - whole_height) / 2), tf.floor((image_width - whole_width) / 2)]
    window = tf.where(tf.reduce_any(fits, axis=-1)[..., None], window, [*centre, whole_height, whole_width])
    return tf.cast(window, tf.int32)


def random_flip(image, draw) -> tf.Tensor:
    """Mirrors the image left to right if the uniform number `draw` is below one half."""
    return tf.cond(draw < 0.5, lambda: tf.reverse(image, [1]), lambda: image)  # a slice takes many times as long


def color_jitter(images, draws, strength: float) -> tf.Tensor:
    """Scales brightness, then contrast, then saturation, each by a factor uniform in `1 - strength` to `1 + strength`.

    Contrast is the distance from the image's mean gray, saturation that of a pixel from its own gray. Gray is the luma
    of ITU-R BT.601; without three channels it is the mean of the channels, and there is no saturation.

    Args:
        images: uint8 or uint16 `(..., H, W, C)`.
        draws: uniform numbers in [0, 1), float32 `(..., 3)`.
        strength: in [0, 1].

    Returns:
        The same shape and dtype.

    Reference: arXiv 2002.05709, appendix A (in a fixed order, without the change of hue); arXiv 2111.06377, Table 1e.
    """
    images = tf.convert_to_tensor(images)
    brightness, contrast, saturation = tf.unstack(1 + strength * (2 * draws - 1), axis=-1)

    def scaled(pixels, around, factor):
        factor = factor[..., None, None, None]
        return tf.clip_by_value(around + (pixels - around) * factor, 0.0, float(images.dtype.max))

    colour = images.shape[-1] == 3

    def gray(pixels):
        return tf.reduce_sum(pixels * LUMA, -1, True) if colour else tf.reduce_mean(pixels, -1, True)

    pixels = scaled(tf.cast(images, tf.float32), 0.0, brightness)
    pixels = scaled(pixels, tf.reduce_mean(gray(pixels), [-3, -2], True), contrast)
    pixels = scaled(pixels, gray(pixels), saturation) if colour else pixels
    return tf.cast(tf.round(pixels), images.dtype)
