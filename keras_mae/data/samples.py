"""Some images of a source, to look at before a stream of all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_mae.data.corrupt_images import CorruptImages, usable
from keras_mae.data.guarded import RowMaker, guarded_rows, untuned
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.preprocessing import evaluation_transform
from keras_mae.data.source import Source
from keras_mae.data.subset import random_subset

_LOOKED_AT = 16


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

    def make(position, example):
        image = source.pixels(example["image"], image_shape[-1])
        return {"image": evaluation_transform(image, image_shape, crop_ratio)}

    maker = RowMaker(source, lambda position: tf.gather(indices, position), make)
    rows = guarded_rows(maker, 0, len(indices), count - len(images), replace=False)
    failed = source.num_images
    with storage_errors():
        for batch in untuned(rows, one_thread_each=True).as_numpy_iterator():
            images.extend(batch["image"][usable(batch["fault"])])
            failed = min([failed, *(index for index, _ in CorruptImages.faults_in(batch["fault"]))])
            if len(images) >= count:
                return np.stack(images[:count])
    if not images:
        raise ValueError(
            f"none of the {source.num_images} images can be decoded, such as {source.name_of(failed)} "
            f"({_reason_of(source, failed, image_shape[-1])})"
        )
    return np.stack(images)


def look_at_some(source: Source, channels: int, corrupt: CorruptImages) -> None:
    """Refuses a source none of whose first few images can be decoded, as its stream would never yield one."""
    if not source.encoded:
        return
    indices = np.unique(np.linspace(0, source.num_images - 1, _LOOKED_AT).astype(int))
    try:
        for index in indices:
            source.pixels(source.read(tf.constant(index, tf.int64))["image"], channels)
        return
    except tf.errors.OpError:
        pass  # see below what is wrong with which

    def make(position, example):
        return {"size": tf.size(source.pixels(example["image"], channels))}

    rows = guarded_rows(RowMaker(source, lambda p: tf.gather(indices, p), make), 0, len(indices), len(indices), False)
    with storage_errors():
        faults = [fault for batch in untuned(rows).as_numpy_iterator() for fault in corrupt.faults_in(batch["fault"])]
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
