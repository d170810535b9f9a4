"""Images with masks to test on, of one size or of their own, and a count of the classes in masks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_mae.data.corrupt_images import CorruptImages, without_faults
from keras_mae.data.guarded import RowMaker, guarded_rows, untuned
from keras_mae.data.joint_augmentation import of_one_size, resized_pair
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.pipeline import handed_out
from keras_mae.data.samples import look_at_some, with_reason
from keras_mae.data.source import Source
from keras_mae.data.subset import random_subset

_LOOKED_AT, _TOGETHER = 1000, 16
_COUNTED = 256  # classes whose pixels are counted


def masked_dataset(
    source: Source, image_shape: tuple[int, int, int], batch_size: int, corrupt: CorruptImages
) -> tf.data.Dataset:
    """Returns every image and its mask once, in order, resized to one size, whatever their aspect.

    Args:
        source: images with masks.
        image_shape: `(H, W, C)` of a batch's images.
        batch_size: images in a batch; the last one may be smaller.
        corrupt: the account of the images that cannot be used, which are left out.

    Returns:
        Batches of uint8 `(n, H, W, C)` and int32 `(n, H, W)`, `IGNORED` without label. Images of 16 bits a channel
        become float32 in [0, 255].

    Raises:
        ValueError: if there are no masks, or none of the images looked at can be decoded.
    """
    source.require_masks()
    look_at_some(source, image_shape[-1], corrupt, with_masks=True)

    def row_at(position, example):
        image, mask = source.pixels(example["image"], image_shape[-1]), source.mask(example["mask"])
        image, mask = resized_pair(of_one_size(image, mask), mask, image_shape[:2])
        return {"image": tf.ensure_shape(image, image_shape), "mask": mask}

    maker = RowMaker(source, lambda position: position, row_at)
    rows = guarded_rows(maker, 0, source.num_images, batch_size, replace=False)
    batches = handed_out(rows, corrupt, "mask", drop=True).rebatch(batch_size)
    return untuned(batches, one_thread_each=source.encoded).prefetch(tf.data.AUTOTUNE)


class Whole(NamedTuple):
    """An image of its own size.

    Attributes:
        number: of the image in the source.
        image: uint8 or uint16 `(H, W, C)`.
        mask: int32 `(H, W)`, `IGNORED` without label; None if the source has no masks.
    """

    number: int
    image: np.ndarray
    mask: np.ndarray | None


def whole_images(source: Source, channels: int, corrupt: CorruptImages) -> Iterator[Whole]:
    """Yields every image of a source in order, of its own size, with its mask if there are masks.

    Those that cannot be used are left out and noted. The stream raises OSError if the storage fails.
    """
    look_at_some(source, channels, corrupt, with_masks=source.masked)

    def row_at(position, example):
        image = source.pixels(example["image"], channels)
        row = {"index": position, "image": tf.io.serialize_tensor(image)}  # rows of one batch are of one shape
        if source.masked:
            mask = source.mask(example["mask"])
            row["image"] = tf.io.serialize_tensor(of_one_size(image, mask))
            row["mask"] = tf.io.serialize_tensor(mask)
        return row

    def parsed(row):
        image = tf.io.parse_tensor(row["image"], source.dtype)
        mask = tf.io.parse_tensor(row["mask"], tf.int32) if source.masked else tf.zeros((0, 0), tf.int32)
        return row["index"], image, mask

    maker = RowMaker(source, lambda position: position, row_at)
    rows = guarded_rows(maker, 0, source.num_images, min(_TOGETHER, source.num_images), replace=False)
    rows = rows.map(lambda batch: without_faults(batch, corrupt, drop=True)).unbatch().map(parsed)
    with storage_errors():
        for index, image, mask in untuned(rows, one_thread_each=True).prefetch(2).as_numpy_iterator():
            yield Whole(int(index), image, mask if source.masked else None)


class ClassCount(NamedTuple):
    """The classes in some masks.

    Attributes:
        largest: the largest class.
        pixels: of the first 256 classes, int64 `(256,)`.
        masks: the number of masks that were read.
        unlabelled: the share of the pixels without label.
    """

    largest: int
    pixels: np.ndarray
    masks: int
    unlabelled: float


def count_classes(source: Source) -> ClassCount:
    """Counts the classes in the masks of a random sample of images, or of all if they are at most 1,000.

    Raises:
        ValueError: if there are no masks, no mask can be decoded, more than 1 % of the sample cannot, or no pixel has a
            label.
    """
    source.require_masks()
    chosen = random_subset(source, _LOOKED_AT)
    corrupt = CorruptImages(chosen)

    def counted(position, example):
        classes = tf.reshape(chosen.mask(example["mask"]), [-1])
        total = tf.size(classes, tf.int64)
        classes = tf.boolean_mask(classes, classes >= 0)
        sizes = tf.stack([total, tf.size(classes, tf.int64)])
        largest = tf.reduce_max(tf.concat([classes, [-1]], axis=0))
        counts = tf.math.bincount(classes, minlength=_COUNTED, maxlength=_COUNTED, dtype=tf.int64)
        return {"largest": largest, "counts": tf.ensure_shape(counts, (_COUNTED,)), "sizes": sizes}

    maker = RowMaker(chosen, lambda position: position, counted)
    rows = guarded_rows(maker, 0, chosen.num_images, min(_TOGETHER, chosen.num_images), replace=False)
    rows = untuned(rows.map(lambda batch: without_faults(batch, corrupt, drop=True)))
    largest, counts, read, sizes = -1, np.zeros(_COUNTED, "int64"), 0, np.zeros(2, "int64")
    with storage_errors():
        for batch in rows.as_numpy_iterator():
            largest = max([largest, *batch["largest"].tolist()])
            counts += batch["counts"].sum(axis=0)
            sizes += batch["sizes"].sum(axis=0)
            read += len(batch["counts"])
    if not read:
        failed = min(corrupt.names)
        raise ValueError(
            f"none of the {chosen.num_images} masks looked at can be used, such as that of {chosen.name_of(failed)} "
            f"({chosen.remedy(failed) or with_reason(chosen, failed, 3)})"
        )
    corrupt.check()
    if largest < 0:
        raise ValueError(f"no pixel of {read} masks has a label: every number there is one to ignore; {source.masks}")
    return ClassCount(largest, counts, read, float(1 - sizes[1] / sizes[0]))
