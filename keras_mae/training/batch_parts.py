"""Division of a batch into equal parts and shares of replicas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

UNEQUAL_SHARES = "the examples of a training batch must be divisible by the number of replicas"
DROP_THE_LAST = "drop the last, smaller one by batch(..., drop_remainder=True)"


def batch_size_of(data):
    """The number of examples on this replica, an int32 scalar."""
    return tf.shape(next(x for x in tf.nest.flatten(data) if x is not None))[0]


def split(data, parts: int) -> tuple[Callable[[Any], Any], Any, Any]:
    """Splits a batch into equal parts.

    The last batch of an epoch may be smaller. If it is not divisible, there are more and smaller parts: the mean of
    their means is still the mean of all examples, and no part is larger than a part of a whole batch.

    Args:
        data: a batch of `B` examples.
        parts: the number of parts, or the least number if `B` is not known when the step is traced.

    Returns:
        A function from a part's index to its data, the number of parts, and the number of examples in each.

    Raises:
        ValueError: if a known `B` is not divisible.
    """
    known = next(x for x in tf.nest.flatten(data) if x is not None).shape[0]
    if tf.executing_eagerly():
        known = None  # it is that of this batch, which may be the last
    if known is not None and known % parts:
        raise ValueError(
            f"the examples of a batch on each replica must be divisible by accumulation_steps={parts}; got {known}"
        )
    size = batch_size_of(data)
    if known is not None:
        count, length = parts, known // parts
    else:
        lengths = tf.range(1, tf.maximum(size // parts, 1) + 1)
        length = tf.reduce_max(tf.where(size % lengths == 0, lengths, 1))
        count = size // length

    def in_parts(x) -> tf.Tensor | None:
        if x is None:
            return None
        x = tf.convert_to_tensor(x)
        rest = [tf.shape(x)[axis] if known is None else known for axis, known in enumerate(x.shape[1:], start=1)]
        return tf.reshape(x, [count, length, *rest])

    stacked = tf.nest.map_structure(in_parts, data)
    return lambda part: tf.nest.map_structure(lambda x: None if x is None else x[part], stacked), count, length


def check_batches(x, batch_size: int | None, validation_split: float, parts: int, replicas: int) -> None:
    """Checks the batches of `fit` before it starts, as the last one would otherwise fail after all others.

    Args:
        x: images, or a dict of arrays; or a data set, if its batches have one known size; anything else passes.
        batch_size: of `fit`, None for Keras' 32.
        validation_split: of `fit`.
        parts: `accumulation_steps`.
        replicas: the number of replicas.

    Raises:
        ValueError: if a whole batch is not divisible by replicas and parts, or the last by the replicas.
    """
    if isinstance(x, tf.data.Dataset):
        known = getattr(tf.nest.flatten(x.element_spec)[0], "shape", None)
        if known is None or not known.rank or not known[0]:
            return
        number = batch_size = known[0]
    else:
        arrays = keras.tree.flatten(x)
        if not arrays or not all(getattr(array, "shape", None) for array in arrays) or batch_size == 0:
            return
        number = math.floor(arrays[0].shape[0] * (1 - validation_split))
        batch_size = 32 if batch_size is None else batch_size
    whole, last = parts * replicas, number % batch_size
    if number >= batch_size and batch_size % whole:
        raise ValueError(
            f"a batch must be divisible by {replicas} replicas x accumulation_steps={parts}: got "
            f"batch_size={batch_size}; the next larger is {-(-batch_size // whole) * whole}"
        )
    if last % replicas:
        raise ValueError(
            f"{UNEQUAL_SHARES}: {number} examples leave a last batch of {last} for {replicas} replicas; remove "
            f"{last % replicas}, or pass a tf.data.Dataset with batch({batch_size}, drop_remainder=True)"
        )
