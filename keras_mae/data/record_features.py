"""Features of the records beside the image, read from all records at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mae.data.corrupt_images import usable
from keras_mae.data.guarded import guarded_reads, untuned
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.source import Source
from keras_mae.data.subset import Subset

_TOGETHER = 64
_TYPES = {"float_list": "float64", "int64_list": "int64"}
_KINDS = {"bytes_list": tf.string, "float_list": tf.float32, "int64_list": tf.int64}


def lengths_of(features: Mapping[str, Any], without: str | None) -> dict[str, tuple[str, int]]:
    """The kind and the number of values of each feature of a parsed `tf.train.Example`, but for the image."""
    found = {}
    for name, feature in features.items():
        kind = feature.WhichOneof("kind")
        if kind is not None and name != without:
            found[name] = (kind, len(getattr(feature, kind).value))
    return found


def read_features(
    source: Source, record: Callable, features: Mapping[str, tuple[str, int]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Some features of all records; it reads them all, once.

    Args:
        source: the images, in records.
        record: a function from an index, an int64 tensor, to the record's bytes.
        features: kind, `"bytes_list"`, `"float_list"` or `"int64_list"`, and number `T` of values of each.

    Returns:
        For each feature, values `(N, T)`, str, float64 or int64, and whether a record lacks them, bool `(N,)`: because
        it cannot be read, has no such feature, or another number or kind of values.
    """

    class _Features(Subset):
        def read(self, index) -> dict[str, tf.Tensor]:
            return {name: _values_in(record(index), name, *kind) for name, kind in features.items()}

    everything = _Features(source, np.arange(source.num_images))
    reads = untuned(guarded_reads(everything, lambda position: position, 0, source.num_images, _TOGETHER))
    with storage_errors():
        batches = list(reads.as_numpy_iterator())
    lost = np.concatenate([~np.asarray(usable(batch["fault"])) for batch in batches])
    found = {}
    for name, (kind, length) in features.items():
        values, counts = (np.concatenate(part) for part in zip(*(batch[name] for batch in batches)))
        missing = lost | (counts != length)
        if kind == "bytes_list":
            texts = [[text.decode("utf-8", "replace").strip() for text in row] for row in values]
            values = np.array(texts, dtype=object).reshape(len(texts), length)
            missing |= (values == "").any(axis=1)
        found[name] = values if kind == "bytes_list" else values.astype(_TYPES[kind]), missing
    return found


def _values_in(record, name: str, kind: str, length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The values of a feature, `(length,)`, and how many there are: none if they are of another kind."""
    spec = {name: tf.io.VarLenFeature(_KINDS[kind])}
    values = tf.io.parse_single_example(record, spec)[name].values
    whole = tf.concat([values, tf.fill([length], tf.zeros((), values.dtype))], axis=0)[:length]
    return tf.ensure_shape(whole, [length]), tf.size(values)
