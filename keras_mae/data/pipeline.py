"""Batches for training, as a function of (seed, step), and for evaluation, in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_mae.data import batched
from keras_mae.data.augmentation import Augmentation
from keras_mae.data.corrupt_images import CorruptImages, note_faults, usable
from keras_mae.data.decoding import decode_file
from keras_mae.data.guarded import RowMaker, guarded_rows
from keras_mae.data.options import untuned
from keras_mae.data.order import index_at
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.preprocessing import evaluation_transform
from keras_mae.data.source import Source
from keras_mae.data.subset import random_subset
from keras_mae.example_seed import ExampleSeed

_LOOKED_AT = 16


def training_dataset(
    source: Source,
    image_shape: tuple[int, int, int],
    batch_size: int,
    seed: int,
    augmentation: Augmentation,
    corrupt: CorruptImages,
    first_step: int = 0,
    with_labels: bool = False,
    num_hosts: int = 1,
    host: int = 0,
    through: Callable[[tf.data.Dataset], tf.data.Dataset] = lambda dataset: dataset,
) -> tf.data.Dataset:
    """An endless stream of training batches, beginning with that of `first_step`.

    Every epoch is a new permutation of the whole set, of which the last `num_images % batch_size` are left out. The
    image at each place, and what augmentation does to it, are functions of (seed, epoch, index): the batch of a
    step is the same whenever, and with however many threads, it is made.

    Args:
        source: the images.
        image_shape: `(H, W, C)` of a batch's images.
        batch_size: images in a global batch.
        seed: int.
        augmentation: applied to each image.
        corrupt: images that cannot be decoded, or are missing, are replaced by the next one and noted here.
        first_step: optimizer steps that were taken before.
        with_labels: whether batches are `(images, labels)`.
        num_hosts: how many processes share each global batch; every one makes an equal part of it.
        host: the number of this process among them.
        through: what happens to the data set before faults are noted, such as that other machines compute it.

    Returns:
        Batches of uint8 `(batch_size / num_hosts, H, W, C)`, or `(images, int64 (batch_size / num_hosts,))`. Images
        of 16 bits a channel become float32 in [0, 255].

    Raises:
        ValueError: if there are fewer images than a batch needs, the hosts cannot share a batch, labels are needed
            and missing, or none of the images looked at can be decoded.
    """
    if batch_size < 1 or source.num_images < batch_size:
        raise ValueError(
            f"a batch holds between 1 and all {source.num_images} images, got batch_size={batch_size}; set a smaller "
            "one"
        )
    local = _share(batch_size, num_hosts, host)
    per_epoch = source.num_images // batch_size * batch_size
    if with_labels and not source.labelled:
        source.required_labels()
    _look_at_some(source, image_shape[-1], corrupt)

    def place_of(position):
        """The epoch, and the place in it, of this host's example number `position`."""
        position = position // local * batch_size + host * local + position % local
        return position // per_epoch, position % per_epoch

    def index_of(position):
        return index_at(seed, *place_of(position), source.num_images, source.storage_order)

    def load_batch(step):
        epoch, places = place_of(step * local + tf.range(local, dtype=tf.int64))
        indices = index_at(seed, epoch[0], places, source.num_images, source.storage_order)
        images = source.image(indices, image_shape[-1])
        images = tf.ensure_shape(images, (local, *source.image_shape))
        if not augmentation.keeps(source.image_shape, image_shape):
            images = batched.augment_batch(augmentation, images, image_shape, seed, epoch[0], indices)
        return (images, source.label(indices)) if with_labels else images

    def make(position, values):
        epoch, _ = place_of(position)
        index = index_of(position)
        example_seed = ExampleSeed.of(seed, epoch, index)
        if source.encoded:
            contents, label = values
            image = augmentation.decode(contents, image_shape, example_seed, source.dtype, source.decoding)
        else:
            image, label = source.image(index, image_shape[-1]), source.label(index)
            image = augmentation(image, image_shape, example_seed)
        return (image, label) if with_labels else image

    endless = np.iinfo(np.int64).max
    if batched.applies_to(augmentation, source.image_shape, image_shape):
        return _finish(through(tf.data.Dataset.range(first_step, endless).map(load_batch, tf.data.AUTOTUNE)), source)
    rows = guarded_rows(RowMaker(source, index_of, make), first_step * local, endless, local, replace=True)
    rows = through(untuned(rows.rebatch(local, drop_remainder=True), one_thread_each=source.encoded))
    return _finish(note_faults(rows, corrupt), source)


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
    """Every image once, in order, through the evaluation transform.

    Args:
        source: the images.
        image_shape: `(H, W, C)` of a batch's images.
        batch_size: images in a batch of this process; the last one may be smaller.
        crop_ratio: of the evaluation transform.
        corrupt: images that cannot be decoded are left out and reported here; by default only the log tells.
        with_labels: whether batches are `(images, labels)`.
        num_hosts: how many processes share the images; the shares differ by one image at most.
        host: the number of this process among them.

    Returns:
        Batches of uint8 `(n, H, W, C)`, or `(images, int64 (n,))`. Images of 16 bits a channel become float32 in
        [0, 255].

    Raises:
        ValueError: if labels are needed and missing, or none of the images looked at can be decoded.
    """
    if batch_size < 1:
        raise ValueError(f"a batch holds at least 1 image, got batch_size={batch_size}")
    _share(num_hosts, num_hosts, host)
    if with_labels and not source.labelled:
        source.required_labels()
    _look_at_some(source, image_shape[-1], corrupt or CorruptImages(source.num_images, source.name_of))

    def make(position, values):
        if source.encoded:
            image = decode_file(values[0], image_shape[-1], source.dtype, source.decoding)
            label = values[1]
        else:
            image, label = source.image(values, image_shape[-1]), source.label(values)
        image = evaluation_transform(image, image_shape, crop_ratio)
        return (image, label) if with_labels else image

    count = len(range(host, source.num_images, num_hosts))
    maker = RowMaker(source, lambda position: host + position * num_hosts, make)
    rows = guarded_rows(maker, 0, count, batch_size, replace=False)
    return _finish(note_faults(rows, corrupt, drop=True).rebatch(batch_size), source)


def first_images(source: Source, image_shape: tuple[int, int, int], count: int, crop_ratio: float) -> np.ndarray:
    """The first `count` that can be decoded, through the evaluation transform: `(n, H, W, C)` of the source's dtype."""
    return _decoded(source, range(source.num_images), image_shape, count, crop_ratio)


def sample_images(source: Source, image_shape: tuple[int, int, int], count: int, crop_ratio: float) -> np.ndarray:
    """A random sample of `count` images that can be decoded, always the same of the same source.

    Of two counts, the smaller sample is the beginning of the larger.

    Returns:
        What an evaluation batch holds: uint8 `(n, H, W, C)`, or of 16 bits a channel float32 in [0, 255].
    """
    order = random_subset(source, source.num_images).indices
    images = _decoded(source, order, image_shape, count, crop_ratio)
    return images if source.dtype == "uint8" else images.astype("float32") / np.float32(257)


def _decoded(
    source: Source, order: Sequence[int] | np.ndarray, image_shape: tuple[int, int, int], count: int, crop_ratio: float
) -> np.ndarray:
    """The first `count` images in an order that can be decoded, through the evaluation transform: of their dtype."""
    indices = np.asarray(order, "int64")
    images: list[np.ndarray] = []
    try:
        for index in indices[:count]:
            image = source.image(tf.constant(index), image_shape[-1])
            images.append(evaluation_transform(image, image_shape, crop_ratio).numpy())
        return np.stack(images)
    except tf.errors.OpError:
        indices = indices[len(images) :]  # the rest as a stream, which waits for files and leaves some out

    def make(position, values):
        image = decode_file(values[0], image_shape[-1], source.dtype, source.decoding)
        return evaluation_transform(image, image_shape, crop_ratio)

    maker = RowMaker(source, lambda position: tf.gather(indices, position), make)
    rows = guarded_rows(maker, 0, len(indices), count - len(images), replace=False)
    failed = source.num_images
    with storage_errors():
        for codes, found in untuned(rows, one_thread_each=True).as_numpy_iterator():
            images.extend(found[usable(codes)])
            failed = min([failed, *(index for index, _ in CorruptImages.faults_in(codes))])
            if len(images) >= count:
                return np.stack(images[:count])
    if not images:
        raise ValueError(
            f"none of the {source.num_images} images can be decoded, such as {source.name_of(failed)} "
            f"({_reason_of(source, failed, image_shape[-1])})"
        )
    return np.stack(images)


def _finish(dataset: tf.data.Dataset, source: Source) -> tf.data.Dataset:
    if source.dtype == "uint16":

        def to_levels(images, *labels):
            images = tf.cast(images, tf.float32) / 257
            return (images, *labels) if labels else images

        dataset = dataset.map(to_levels, tf.data.AUTOTUNE)
    return untuned(dataset, one_thread_each=source.encoded).prefetch(tf.data.AUTOTUNE)


def _share(batch_size: int, num_hosts: int, host: int) -> int:
    """This host's part of a batch."""
    if not 0 <= host < num_hosts:
        raise ValueError(f"hosts are numbered from 0 to {num_hosts - 1}, got host={host} of num_hosts={num_hosts}")
    if batch_size % num_hosts:
        raise ValueError(f"a batch of {batch_size} cannot be shared evenly by {num_hosts} hosts; set a multiple of it")
    return batch_size // num_hosts


def _look_at_some(source: Source, channels: int, corrupt: CorruptImages) -> None:
    """Refuses a source none of whose first few images can be decoded, as its stream would never yield one."""
    indices = np.unique(np.linspace(0, source.num_images - 1, _LOOKED_AT).astype(int))
    if not source.encoded:
        return
    try:
        for index in indices:
            source.image(tf.constant(index, tf.int64), channels)
        return
    except tf.errors.OpError:
        pass  # see below what is wrong with which

    def make(position, values):
        return tf.size(decode_file(values[0], channels, source.dtype, source.decoding))

    rows = guarded_rows(RowMaker(source, lambda p: tf.gather(indices, p), make), 0, len(indices), len(indices), False)
    with storage_errors():
        faults = [fault for codes, _ in untuned(rows).as_numpy_iterator() for fault in corrupt.faults_in(codes)]
    if len(faults) == len(indices):
        raise ValueError(
            f"none of the {len(faults)} images looked at, of {source.num_images}, can be decoded, such as "
            f"{source.name_of(faults[0][0])} ({_reason_of(source, faults[0][0], channels)})"
        )
    for fault in faults:
        corrupt.report(*fault)
    corrupt.check()


def _reason_of(source: Source, index: int, channels: int) -> str:
    """What is wrong with an image that cannot be decoded."""
    try:
        source.image(tf.constant(index, tf.int64), channels)
    except tf.errors.OpError as error:
        return _reason(error)
    return "now it can be"


def _reason(error: tf.errors.OpError) -> str:
    """TensorFlow's message on one line, without the names of nodes; of an assertion what it says."""
    text = " ".join(re.sub(r"\{\{.*?\}\}", "", error.message).split()).replace("\\'", "'")
    text = text.partition(" [[")[0]  # where in the graph it was
    said = re.search(r"assertion failed: ((?:\[.*?\] ?)+)", text)
    return (" ".join(re.findall(r"\[(?!Op:)(.*?)\]", said[1])) if said else text)[:200]
