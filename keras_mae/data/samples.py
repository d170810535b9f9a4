"""Decodes some images of a source, before a stream of all of them."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import tensorflow as tf

from keras_mae.data.corrupt_images import CorruptImages, usable
from keras_mae.data.guarded import RowMaker, guarded_rows, untuned
from keras_mae.data.joint_augmentation import of_one_size
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.preprocessing import evaluation_transform
from keras_mae.data.source import Source
from keras_mae.data.subset import random_subset

_LOOKED_AT = 16


def first_images(source: Source, image_shape: tuple[int, int, int], count: int, crop_ratio: float) -> np.ndarray:
    """Returns the first `count` images that can be decoded, resized as in evaluation: `(n, H, W, C)` of their dtype."""
    return _decoded(source, np.arange(source.num_images), image_shape, count, crop_ratio)


def drawn_images(source: Source, image_shape: tuple[int, int, int], count: int, crop_ratio: float) -> np.ndarray:
    """Returns a random sample of `count` images, as `sample_images`: `(n, H, W, C)` of their dtype."""
    indices = random_subset(source, source.num_images).indices
    return _decoded(source, indices, image_shape, count, crop_ratio)


def sample_images(source: Source, image_shape: tuple[int, int, int], count: int, crop_ratio: float) -> np.ndarray:
    """Returns a random sample of `count` images that can be decoded, always the same of the same source.

    A smaller sample is the beginning of a larger one. It is uint8 `(n, H, W, C)`, or float32 in [0, 255] for images of
    16 bits a channel, as a batch of evaluation.
    """
    images = drawn_images(source, image_shape, count, crop_ratio)
    return images if source.dtype == "uint8" else images.astype("float32") / np.float32(257)


def _decoded(
    source: Source, indices: np.ndarray, image_shape: tuple[int, int, int], count: int, crop_ratio: float
) -> np.ndarray:
    """Returns the first `count` of the images at `indices`, int64, that can be decoded."""
    images: list[np.ndarray] = []
    try:
        for index in indices[:count]:
            image = source.image(tf.constant(index), image_shape[-1])
            images.append(evaluation_transform(image, image_shape, crop_ratio).numpy())
        return np.stack(images)
    except tf.errors.OpError:
        indices = indices[len(images) :]  # a stream waits for the files of the rest and leaves some out

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
        such_as = with_reason(source, failed, image_shape[-1])
        raise ValueError(f"none of the {source.num_images} images can be decoded, such as {such_as}")
    return np.stack(images)


def look_at_some(source: Source, channels: int, corrupt: CorruptImages, with_masks: bool = False) -> None:
    """Refuses a source of which none of some images can be decoded, as its stream might never yield one.

    With masks, an image whose mask is none, or of another size, counts as one that cannot be decoded.
    """
    if not source.encoded:
        return

    def decoded(example) -> tf.Tensor:
        image = source.pixels(example["image"], channels)
        return of_one_size(image, source.mask(example["mask"])) if with_masks else image

    indices = np.unique(np.linspace(0, source.num_images - 1, _LOOKED_AT).astype(int))
    try:
        for index in indices:
            decoded(source.read(tf.constant(index, tf.int64)))
        return
    except tf.errors.OpError:
        pass  # the stream below finds out which images fail, and why

    def make(position, example):
        return {"size": tf.size(decoded(example))}

    rows = guarded_rows(RowMaker(source, lambda p: tf.gather(indices, p), make), 0, len(indices), len(indices), False)
    with storage_errors():
        faults = [fault for batch in untuned(rows).as_numpy_iterator() for fault in corrupt.faults_in(batch["fault"])]
    if len(faults) == len(indices):
        none = f"none of the {len(faults)} images looked at, of {source.num_images}, can be decoded"
        failed = faults[0][0]
        why = source.remedy(failed) if with_masks else ""
        raise ValueError(
            f"{none}, such as {f'{source.name_of(failed)} ({why})' if why else with_reason(source, failed, channels)}"
        )
    for fault in faults:
        corrupt.report(*fault)
    corrupt.check()


def with_reason(source: Source, index: int, channels: int) -> str:
    """Returns an image's name and, on one line, TensorFlow's error, or an assertion's text."""
    name = source.name_of(index)
    try:
        source.image(tf.constant(index, tf.int64), channels)
        return f"{name} (now it can be)"
    except tf.errors.OpError as error:
        return f"{name} ({_reason(error.message)})"


def why_no_pair(source: Source, index: int, mask_name: str) -> str:
    """Returns why an image's mask is none, such as that it is of another size; an empty text if the mask is fine."""
    try:
        example = source.read(tf.constant(index, tf.int64))
        mask = source.mask(example["mask"])
    except tf.errors.OpError as error:
        return f"{mask_name}: {_reason(error.message)}"
    with contextlib.suppress(tf.errors.OpError, ValueError):
        height, width = source.pixels(example["image"], 3).shape[:2]
        if mask.shape != (height, width):
            return f"{mask_name} has {mask.shape[0]} x {mask.shape[1]} pixels, and the image {height} x {width}"
    return ""


def _reason(message: str) -> str:
    """Returns TensorFlow's error, or an assertion's text, on one line."""
    text = " ".join(re.sub(r"\{\{.*?\}\}", "", message).split()).replace("\\'", "'")  # without names of nodes
    text = text.partition(" [[")[0]  # and without their places in the graph
    said = re.search(r"assertion failed: ((?:\[.*?\] ?)+)", text)
    text = " ".join(re.findall(r"\[(?!Op:)(.*?)\]", said[1])) if said else text
    return text[:200]
