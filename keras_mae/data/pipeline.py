"""Batches for training, as a function of (seed, step)."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from keras_mae.data.augmentation import random_flip, random_resized_crop
from keras_mae.data.corrupt_images import CorruptImages, replace_corrupt
from keras_mae.data.preprocessing import evaluation_transform
from keras_mae.data.sources import Source
from keras_mae.example_seed import ExampleSeed

_LOOKED_AT = 16


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to a training image.

    Attributes:
        crop_scale: bounds of the random resized crop's area, as shares of the image's; None resizes and takes the
            centre instead.
        flip: whether half of the images are mirrored.
        crop_ratio: of the evaluation transform, used if there is no random crop.
    """

    crop_scale: tuple[float, float] | None = (0.2, 1.0)
    flip: bool = True
    crop_ratio: float = 0.875

    def keeps(self, source_shape: tuple[int, int, int] | None, image_shape: tuple[int, int, int]) -> bool:
        """Whether images of `source_shape` (None: of all sizes) stay what they are."""
        return source_shape == image_shape and self.crop_scale is None and not self.flip and self.crop_ratio == 1

    def __call__(self, image, image_shape: tuple[int, int, int], seed: ExampleSeed) -> tf.Tensor:
        """uint8 `(H, W, C)` to uint8 `image_shape`."""
        draws = seed.uniform(1, (10, 4))[0]
        if self.crop_scale is None:
            image = evaluation_transform(image, image_shape, self.crop_ratio)
        else:
            image = random_resized_crop(image, image_shape[:2], draws, self.crop_scale)
        if self.flip:
            image = random_flip(image, seed.fold_in(0).uniform(1, ())[0])
        return tf.ensure_shape(image, image_shape)


def training_dataset(
    source: Source,
    image_shape: tuple[int, int, int],
    batch_size: int,
    seed: int,
    augmentation: Augmentation,
    corrupt: CorruptImages,
    first_step: int = 0,
    with_labels: bool = False,
) -> tf.data.Dataset:
    """An endless stream of training batches, beginning with that of `first_step`.

    Every epoch is a new permutation of the whole set, of which the last `num_images % batch_size` are left out. The
    image at each place, and what augmentation does to it, are functions of (seed, epoch, index): the batch of a
    step is the same whenever, and with however many threads, it is made.

    Args:
        source: the images.
        image_shape: `(H, W, C)` of a batch's images.
        batch_size: images in a (global) batch.
        seed: int.
        augmentation: applied to each image.
        corrupt: images that cannot be decoded are replaced by their neighbour and reported here.
        first_step: optimizer steps that were taken before.
        with_labels: whether batches are `(images, labels)`.

    Returns:
        Batches of uint8 `(batch_size, H, W, C)`, or `(images, int64 (batch_size,))`.

    Raises:
        ValueError: if there are fewer images than a batch needs, or none of those looked at can be decoded.
    """
    if batch_size < 1 or source.num_images < batch_size:
        raise ValueError(
            f"a batch holds between 1 and all {source.num_images} images, got batch_size={batch_size}; set a smaller "
            "one"
        )
    per_epoch = source.num_images // batch_size * batch_size
    _look_at_some(source, image_shape[-1], corrupt)

    def index_at(positions):
        """The images at some positions (a scalar or a vector) of one epoch."""
        key = tf.stack([tf.constant(seed, tf.int64), tf.reshape(positions, [-1])[0] // per_epoch])
        return tf.random.experimental.index_shuffle(positions % per_epoch, key, source.num_images - 1)

    def element(images, indices):
        return (images, tf.gather(source.required_labels(), indices)) if with_labels else images

    def load_batch(step):
        indices = index_at(step * batch_size + tf.range(batch_size, dtype=tf.int64))
        return element(source.image(indices, image_shape[-1]), indices)

    def load(position):
        index = index_at(position)
        image = source.image(index, image_shape[-1])
        image = augmentation(image, image_shape, ExampleSeed.of(seed, position // per_epoch, index))
        return position, element(image, index)

    endless = np.iinfo(np.int64).max
    if augmentation.keeps(source.image_shape, image_shape):  # nothing to do for each image on its own
        return tf.data.Dataset.range(first_step, endless).map(load_batch).prefetch(tf.data.AUTOTUNE)

    first = first_step * batch_size
    dataset = tf.data.Dataset.range(first, endless)
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = replace_corrupt(dataset, first, index_at, corrupt)
    return dataset.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def first_images(source: Source, image_shape: tuple[int, int, int], count: int, crop_ratio: float) -> np.ndarray:
    """The first `count` images that can be decoded, through the evaluation transform: uint8 `(n, H, W, C)`."""
    images: list[np.ndarray] = []
    for index in range(source.num_images):
        if len(images) == count:
            break
        try:
            image = source.image(tf.constant(index, tf.int64), image_shape[-1])
        except tf.errors.OpError:  # also a file that went away, or may not be read: the stream drops these too
            continue
        images.append(evaluation_transform(image, image_shape, crop_ratio).numpy())
    if not images:
        raise ValueError(f"none of the {source.num_images} images can be decoded, such as {source.name_of(0)}")
    return np.stack(images)


def _look_at_some(source: Source, channels: int, corrupt: CorruptImages) -> None:
    """Refuses a source none of whose first few images can be decoded, as its stream would never yield one."""
    indices = np.unique(np.linspace(0, source.num_images - 1, _LOOKED_AT).astype(int))
    bad = []
    for index in indices:
        try:
            source.image(tf.constant(index, tf.int64), channels)
        except tf.errors.OpError:
            bad.append(index)
    if len(bad) == len(indices):
        raise ValueError(
            f"none of the {len(bad)} images looked at, of {source.num_images}, can be decoded, such as "
            f"{source.name_of(int(bad[0]))}"
        )
    for index in bad:
        corrupt.report(int(index))
    corrupt.check()
