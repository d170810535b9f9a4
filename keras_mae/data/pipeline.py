"""Batches for training, as a function of (seed, step), and for evaluation, in order."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_mae.data import batched
from keras_mae.data.augmentation import Augmentation
from keras_mae.data.balance import weighted
from keras_mae.data.corrupt_images import CorruptImages, without_faults
from keras_mae.data.guarded import RowMaker, guarded_rows, untuned
from keras_mae.data.joint_augmentation import JointAugmentation
from keras_mae.data.preprocessing import evaluation_transform
from keras_mae.data.samples import look_at_some
from keras_mae.data.source import Source
from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import pixel_levels

_ENDLESS = np.iinfo(np.int64).max


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Images to train on: an endless stream of batches, which can begin at any step.

    Every epoch is a new permutation of the whole set, without its last `num_images % batch_size` images. The image at
    each place, and its augmentation, are functions of (seed, epoch, index): the batch of a step is the same whenever,
    and with however many threads, it is made.

    Transforms see a batch as a dictionary of named fields: `image` uint8 or uint16 `(B, H, W, C)`, `label` int64
    `(B,)`, -1 without, or float32 `(B, T)`, and perhaps `fault`, see `without_faults`.

    Attributes:
        source: the images.
        image_shape: `(H, W, C)` of a batch's images.
        batch_size: images in a global batch.
        seed: int.
        augmentation: applied to each image; a `JointAugmentation` to each image and its mask.
        transforms: applied to the batches in turn, such as `Mixing` and `DataService`: functions of a data set of
            batches, the seed and the step of its first batch that return another data set of batches.
        with_labels: whether the data set yields `(images, labels)`.

    Raises:
        ValueError: if there are fewer images than a batch needs, or labels are needed and missing.

    Example:
        >>> data = TrainingData(source, (224, 224, 3), batch_size=256, seed=0, augmentation=Augmentation())
        >>> images = next(iter(data.at(step=100)))  # uint8 (256, 224, 224, 3)
    """

    source: Source
    image_shape: tuple[int, int, int]
    batch_size: int
    seed: int
    augmentation: Augmentation | JointAugmentation
    transforms: tuple[Callable[[tf.data.Dataset, int, int], tf.data.Dataset], ...] = ()
    with_labels: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.source.num_images < self.batch_size:
            raise ValueError(
                f"a batch holds between 1 and all {self.source.num_images} images, got batch_size={self.batch_size}; "
                "set a smaller one"
            )
        if isinstance(self.augmentation, JointAugmentation):
            self.source.require_masks()
        if self.with_labels and not self.source.labelled:
            self.source.required_labels()

    @functools.cached_property
    def corrupt(self) -> CorruptImages:
        """The account of the images that cannot be used; the next one takes the place of each."""
        return CorruptImages(self.source)

    def indices(self, step: int) -> np.ndarray:
        """Returns the indices of the images in a global batch, int64 `(B,)`; the next good image replaces a bad one."""
        epoch, batch = divmod(step, self.source.num_images // self.batch_size)
        places = batch * self.batch_size + tf.range(self.batch_size, dtype=tf.int64)
        return index_at(self.seed, epoch, places, self.source.num_images, self.source.storage_order).numpy()

    def at(self, step: int = 0, num_hosts: int = 1, host: int = 0) -> tf.data.Dataset:
        """Returns the batches from a step on.

        Args:
            step: the number of optimizer steps before.
            num_hosts: the number of processes, which make equal parts of each global batch.
            host: the number of this process.

        Returns:
            Batches of uint8 `(batch_size / num_hosts, H, W, C)`, or `(images, int64 (batch_size / num_hosts,))`; labels
            that are no classes are float32 `(batch_size / num_hosts, T)`. With the source's `class_weights` they are
            `(images, labels, float32 (batch_size / num_hosts,))`. With a `JointAugmentation` they are
            `(images, masks)`, int32 `(batch_size / num_hosts, H, W)`, `IGNORED` without label. Images of 16 bits a
            channel become float32 in [0, 255]. Transforms may change all of this.

        Raises:
            ValueError: if the hosts cannot share a batch, or none of the images looked at can be decoded.
        """
        source, image_shape, local = self.source, self.image_shape, _share(self.batch_size, num_hosts, host)
        steps = source.num_images // self.batch_size  # in an epoch
        augmentation, joint = self.augmentation, isinstance(self.augmentation, JointAugmentation)
        look_at_some(source, image_shape[-1], self.corrupt, with_masks=joint)

        def drawn(step, place):
            """Returns the epoch, and the indices of the images at places in this host's part of a batch."""
            epoch, places = step // steps, step % steps * self.batch_size + host * local + place
            return epoch, index_at(self.seed, epoch, places, source.num_images, source.storage_order)

        def batch_at(step):
            epoch, indices = drawn(step, tf.range(local, dtype=tf.int64))
            example = source.read(indices)
            images = tf.ensure_shape(source.pixels(example["image"], image_shape[-1]), (local, *source.image_shape))
            if not self.augmentation.keeps(source.image_shape, image_shape):
                images = batched.augment_batch(self.augmentation, images, image_shape, self.seed, epoch, indices)
            return {**example, "image": images}

        def row_at(position, example):
            epoch, index = drawn(position // local, position % local)
            seed = ExampleSeed.of(self.seed, epoch, index)
            if joint:
                image, mask = source.pixels(example["image"], image_shape[-1]), source.mask(example["mask"])
                image, mask = self.augmentation(image, mask, image_shape, seed)
                return {**example, "image": image, "mask": mask}
            if source.encoded:
                image = self.augmentation.decode(example["image"], image_shape, seed, source.dtype, source.decoding)
            else:
                image = self.augmentation(source.pixels(example["image"], image_shape[-1]), image_shape, seed)
            return {**example, "image": image}

        if isinstance(augmentation, Augmentation) and batched.applies_to(augmentation, source.image_shape, image_shape):
            batches = tf.data.Dataset.range(step, _ENDLESS).map(batch_at, tf.data.AUTOTUNE)
        else:
            maker = RowMaker(source, lambda position: drawn(position // local, position % local)[1], row_at)
            rows = guarded_rows(maker, step * local, _ENDLESS, local, replace=True)
            batches = untuned(rows.rebatch(local, drop_remainder=True), one_thread_each=source.encoded)
        for transform in self.transforms:
            batches = transform(batches, self.seed, step)
        if self.with_labels and source.class_weights is not None:
            batches = weighted(batches, source.class_weights)
        beside = "mask" if joint else "label" if self.with_labels else None
        batches = handed_out(batches, self.corrupt, beside)
        return untuned(batches, one_thread_each=source.encoded).prefetch(tf.data.AUTOTUNE)


def evaluation_dataset(
    source: Source,
    image_shape: tuple[int, int, int],
    batch_size: int,
    crop_ratio: float = 0.875,
    corrupt: CorruptImages | None = None,
    with_labels: bool = False,
    num_hosts: int = 1,
    host: int = 0,
) -> tf.data.Dataset:
    """Returns every image once, in order, after the evaluation transform.

    Args:
        source: the images.
        image_shape: `(H, W, C)` of a batch's images.
        batch_size: images in a batch of this process; the last one may be smaller.
        crop_ratio: of the evaluation transform.
        corrupt: the account of images that cannot be used, which are left out; by default they are only logged.
        with_labels: whether batches are `(images, labels)`.
        num_hosts: the number of processes that share the images; the shares differ by one image at most.
        host: the number of this process.

    Returns:
        Batches of uint8 `(n, H, W, C)`, or `(images, int64 (n,))`, of labels that are no classes float32 `(n, T)`.
        Images of 16 bits a channel become float32 in [0, 255].

    Raises:
        ValueError: if labels are needed and missing, or none of the images looked at can be decoded.
    """
    if batch_size < 1:
        raise ValueError(f"a batch holds at least 1 image, got batch_size={batch_size}")
    _share(num_hosts, num_hosts, host)
    if with_labels and not source.labelled:
        source.required_labels()
    look_at_some(source, image_shape[-1], corrupt or CorruptImages(source))

    count = len(range(host, source.num_images, num_hosts))
    rows = _evaluated(source, image_shape, crop_ratio, lambda n: host + n * num_hosts, count, batch_size)
    batches = handed_out(rows, corrupt, "label" if with_labels else None, drop=True).rebatch(batch_size)
    return untuned(batches, one_thread_each=source.encoded).prefetch(tf.data.AUTOTUNE)


def batches_at(
    source: Source,
    image_shape: tuple[int, int, int],
    batch_size: int,
    crop_ratio: float,
    index_at: Callable[[tf.Tensor], tf.Tensor],
    count: int,
) -> tf.data.Dataset:
    """Returns chosen images in a chosen order, after the evaluation transform; every image keeps its place.

    Args:
        source, image_shape, crop_ratio: as for `evaluation_dataset`.
        batch_size: images in a batch; the last one may be smaller.
        index_at: a function from a position, an int64 scalar in [0, count), to an image's index.
        count: the number of images.

    Returns:
        Batches of `image`, `(n, H, W, C)` of the source's dtype, zeros for images that cannot be used; `label`, int64
        `(n,)`, -1 without; and `fault`, int64 `(n,)`, see `CorruptImages.code`, which images in memory lack.
    """
    rows = _evaluated(source, image_shape, crop_ratio, index_at, count, batch_size).rebatch(batch_size)
    return untuned(rows, one_thread_each=source.encoded).prefetch(tf.data.AUTOTUNE)


def _evaluated(
    source: Source,
    image_shape: tuple[int, int, int],
    crop_ratio: float,
    index_at: Callable,
    count: int,
    batch_size: int,
) -> tf.data.Dataset:
    """Returns rows after the evaluation transform, see `guarded_rows`."""

    def row_at(position, example):
        image = source.pixels(example["image"], image_shape[-1])
        return {**example, "image": evaluation_transform(image, image_shape, crop_ratio)}

    return guarded_rows(RowMaker(source, index_at, row_at), 0, count, batch_size, replace=False)


def handed_out(
    batches: tf.data.Dataset, corrupt: CorruptImages | None, beside: str | None, drop: bool = False
) -> tf.data.Dataset:
    """Turns batches of named fields into images, or `(images, ...)` with the field `beside`, and notes faults."""
    deep = batches.element_spec["image"].dtype == tf.uint16

    def handed_out(batch):
        batch = without_faults(batch, corrupt, drop)
        images = pixel_levels(batch["image"]) if deep else batch["image"]
        if beside is None:
            return images
        return (images, batch[beside], batch["weight"]) if "weight" in batch else (images, batch[beside])

    return batches.map(handed_out, tf.data.AUTOTUNE if deep else None)


def _share(batch_size: int, num_hosts: int, host: int) -> int:
    """Returns the size of this host's part of a batch."""
    if not 0 <= host < num_hosts:
        raise ValueError(f"hosts are numbered from 0 to {num_hosts - 1}, got host={host} of num_hosts={num_hosts}")
    if batch_size % num_hosts:
        raise ValueError(f"a batch of {batch_size} cannot be shared evenly by {num_hosts} hosts; set a multiple of it")
    return batch_size // num_hosts


BLOCK = 256  # images that lie side by side in storage
WINDOW = 32 * BLOCK  # places within which images are shuffled freely


def index_at(seed: int, epoch, places, num_images: int, storage_order: np.ndarray | None = None) -> tf.Tensor:
    """Returns the indices of the images at some places of an epoch, a permutation for every (seed, epoch).

    Without a storage order the permutation is random. With one, images that are near in storage stay near in time,
    which large files on network disks need: the images in storage order, from a random place on, are cut into blocks
    of 256; the blocks are shuffled, and then the images within each 32 blocks. Sets of at most 32 blocks are shuffled
    freely.

    It is a formula, not a buffer: any place of any epoch costs the same.

    Args:
        seed: int.
        epoch: int64 scalar.
        places: int64 scalar or vector, in [0, num_images).
        num_images: the number of images.
        storage_order: None, or the images in the order in which they are stored, int64 `(num_images,)`.

    Returns:
        int64, shaped like `places`.
    """
    if storage_order is None or num_images <= WINDOW:
        key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
        return tf.random.experimental.index_shuffle(places, key, tf.constant(num_images - 1, tf.int64))

    def shuffled(places, number, count):
        """Applies a permutation of `count` places, another one for each `number`."""
        key = [tf.cast(part, tf.int64) * tf.ones_like(places) for part in (seed, epoch, number)]
        return tf.raw_ops.RandomIndexShuffle(
            index=places, seed=tf.stack(key, axis=-1), max_index=tf.cast(count, tf.int64) - 1, rounds=4
        )

    window = places // WINDOW
    size = tf.minimum(num_images - window * WINDOW, WINDOW)
    place = window * WINDOW + shuffled(places % WINDOW, window + 2, size)
    whole = num_images // BLOCK
    block = shuffled(tf.minimum(place // BLOCK, whole - 1), 0, whole)
    place = tf.where(place < whole * BLOCK, block * BLOCK + place % BLOCK, place)  # the rest stays at the end
    begin = shuffled(tf.constant(0, tf.int64), 1, num_images)  # so the rest differs between epochs
    return tf.gather(storage_order, (place + begin) % num_images)
