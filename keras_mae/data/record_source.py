"""Encoded images in TFRecord files."""

from __future__ import annotations

import functools
import io
import logging
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_mae.data.columns import Column
from keras_mae.data.corrupt_images import usable
from keras_mae.data.decoding import bits_of
from keras_mae.data.guarded import guarded_reads, untuned
from keras_mae.data.patient_reading import is_there, passing, patiently, storage_errors
from keras_mae.data.record_features import lengths_of, read_features
from keras_mae.data.record_index import HEADER, RecordIndex, RecordReader, size_of
from keras_mae.data.source import NO_LABEL, Source

_log = logging.getLogger("keras_mae")
# the names of an image file and its class in files of `keras-mae tfrecords` and TFDS, and of older scripts
IMAGE_KEYS, LABEL_KEYS = ("image", "image/encoded"), ("label", "image/class/label")
_NAME_KEYS = ("name", "image/filename", "filename", "file_name")
_LOOKED_AT, _LABELS_TOGETHER = 16, 64
INDEX = "index.npz"  # beside the files that `keras-mae tfrecords` writes


class RecordSource(Source):
    """Records `tf.train.Example`, each an encoded image and perhaps its label, in uncompressed TFRecord files.

    Args:
        paths: of the files.
        index: the records in order; all by default.
        name: of the whole in messages.
        image_key, label_key: the features' names; by default the known ones that the first record has.
        labels: the labels if they are known without reading the records, int64 `(num_images,)`.
        class_names: of the labels, if they have any.
        dtype: of the pixels; by default `uint16` if a file in any of 16 records has 16 bits a channel.
        names_of: names of the classes that features number from 0, by the features' names.
    """

    encoded = True

    def __init__(
        self,
        paths: list[str],
        index: RecordIndex | None = None,
        name: str = "tfrecord",
        image_key: str | None = None,
        label_key: str | None = None,
        labels: np.ndarray | None = None,
        class_names: list[str] | None = None,
        dtype: str | None = None,
        names_of: Mapping[str, list[str]] | None = None,
    ) -> None:
        self.paths, self.name = paths, name
        self.index = RecordIndex.of(paths) if index is None else index
        self.num_images = len(self.index.file)
        if not self.num_images:
            raise ValueError(f"{name}: holds no image")
        self._reader = RecordReader(paths, self.index)
        self.class_names = class_names or []
        self._labels, self._read = labels, dict[str, tuple[np.ndarray, np.ndarray]]()
        image_keys = (image_key,) if image_key else IMAGE_KEYS
        self._bits: list[int] = []
        first = patiently(lambda: self._features_of_one(image_keys, dtype is not None), name)
        self._image_key = image_key or _known(IMAGE_KEYS, first)
        self._label_key = label_key or _known(LABEL_KEYS, first)
        self._features, self._names_of = lengths_of(first, self._image_key), names_of or {}
        self._no_labels: list = []  # what stands in place of a label, which is refused if labels are needed
        if self._label_key in first:
            label = first[self._label_key]
            found = [*label.bytes_list.value, *label.float_list.value, *label.int64_list.value]
            if len(found) > 1 or found and not label.int64_list.value:
                self._no_labels, self._label_key = found[:3], None
        self.dtype = dtype or f"uint{max(self._bits)}"
        self.storage_order = np.lexsort((self.index.offset, self.index.file))

    def read(self, index) -> dict[str, tf.Tensor]:
        features = {self._image_key: tf.io.FixedLenFeature((), tf.string)}
        if self._label_key:
            features[self._label_key] = tf.io.FixedLenFeature((), tf.int64, NO_LABEL)
        example = tf.io.parse_single_example(self._reader(index), features)
        label = example.get(self._label_key, tf.constant(NO_LABEL, tf.int64))
        return {"image": example[self._image_key], "label": label}

    @property
    def labelled(self) -> bool:
        return self._label_key is not None or self._labels is not None

    @functools.cached_property
    def labels(self) -> np.ndarray | None:
        """The labels, int64 `(num_images,)`, or None; unless they came with the index, this reads every record."""
        if self._labels is not None or self._label_key is None:
            return self._labels
        reads = guarded_reads(self, lambda position: position, 0, self.num_images, _LABELS_TOGETHER)
        labels = reads.map(lambda batch: tf.where(usable(batch["fault"]), batch["label"], NO_LABEL))
        with storage_errors():
            return np.concatenate(list(untuned(labels).as_numpy_iterator()))

    def file_names(self) -> tuple[str, list[str]]:
        name = next((one for one in _NAME_KEYS if self._features.get(one) == ("bytes_list", 1)), None)
        if name is None:
            return super().file_names()
        (column,) = self.columns([name])
        paths = column.texts_or_blanks()
        root = os.path.commonprefix([path.rpartition("/")[0] + "/" for path in paths if path]).rpartition("/")[0]
        return root, [path[len(root) :].lstrip("/") if path else str(index) for index, path in enumerate(paths)]

    @property
    def column_names(self) -> list[str]:
        numbered = ((name, range(count)) for name, (_, count) in self._features.items())
        return [
            one for name, each in numbered for one in ([name] if len(each) == 1 else [f"{name}[{n}]" for n in each])
        ]

    def _columns_called(self, names: Sequence[str]) -> list[Column]:
        places = [(name, 0) if name in self._features else _feature_and_place(name) for name in names]
        unread = {feature: self._features[feature] for feature, _ in places if feature not in self._read}
        if unread:  # all at once, as each time takes every record
            self._read |= read_features(self, self._reader, unread)
        return [self._column(name, *place) for name, place in zip(names, places)]

    def _column(self, name: str, feature: str, place: int) -> Column:
        values, missing = self._read[feature]
        if values.dtype == object:
            return Column.of_texts(name, values[:, place].tolist(), missing, self.name_of)
        return Column(name, values[:, place], missing, self.name_of, self._names_of.get(feature, ()))

    def name_of(self, index: int) -> str:
        return f"{self.paths[self.index.file[index]]}, record at byte {self.index.offset[index] - HEADER}"

    def name_inside(self, index: int) -> str:
        file = os.path.basename(self.paths[self.index.file[index]])
        return f"{file}, record at byte {self.index.offset[index] - HEADER}"

    def required_labels(self) -> np.ndarray:
        if self._no_labels and not self.labelled:
            wrong = f"{self.name}: a label is one integer, counted from 0; got {self._no_labels}"
            raise ValueError(f"{wrong}: write them as numbers, or name their feature with --label_columns")
        return super().required_labels()

    def path_at(self, index) -> tf.Tensor:
        return self._reader.path(index)

    def damaged(self, index) -> tf.Tensor:
        return self._reader.there(index)

    def _features_of_one(self, image_keys: tuple[str, ...], only: bool):
        """Returns the features of the first of 16 records with an image; notes its bits, and unless `only` it, all."""
        error, found = "", None
        failed: tf.errors.OpError | None = None
        for index in np.unique(np.linspace(0, self.num_images - 1, _LOOKED_AT).astype(int)):
            try:
                record = self._reader(tf.constant(index, tf.int64)).numpy()
            except tf.errors.OpError as reason:
                failed = failed or reason
                error = error or f"{self.name}: cannot read {self.name_of(index)} ({reason.message.splitlines()[0]})"
                continue
            try:
                features = dict(tf.train.Example.FromString(record).features.feature)
            except Exception as reason:  # protobuf's own, which is in no public module
                error = error or f"{self.name}: the first record is not a tf.train.Example ({reason})"
                continue
            images = [features[key].bytes_list.value for key in image_keys if key in features]
            if any(images):
                self._bits.append(bits_of(io.BytesIO(next(filter(None, images))[0])))
                found = found or features
                if only:
                    break
                continue
            error = error or (
                f"{self.name}: records hold an encoded image called {' or '.join(image_keys)}, these hold "
                f"{', '.join(sorted(features)) or 'nothing'}"
            )
        if found is not None:
            return found
        if failed is not None and passing(failed):
            raise failed
        raise ValueError(error)


def open_records(pattern: str) -> RecordSource:
    """Opens all TFRecord files that match a pattern; raises ValueError if there is none, or none that is whole."""
    paths = [path for path in patiently(lambda: _matching(pattern), pattern) if os.path.basename(path) != INDEX]
    if not paths:
        raise ValueError(f"tfrecord:{pattern}: there is no such file; a pattern has *, such as DIR/*.tfrecord")
    folders = {os.path.dirname(path) for path in paths}
    name = f"tfrecord:{pattern}"
    if len(folders) == 1:
        beside = tf.io.gfile.join(*folders, INDEX) if all(folders) else INDEX
        if is_there(beside):
            return _with_index(paths, beside, name)
    index, damages = RecordIndex.of_some(paths)
    if len(damages) == len(paths):
        raise ValueError(damages[0])
    for damage in damages:
        _log.warning("%s; what comes before is used", damage)
    return RecordSource(paths, index, name=name)


def _with_index(paths: list[str], beside: str, name: str) -> RecordSource:
    """Opens records of some of the files that an index describes, in the order of the source of the files."""
    contents = patiently(lambda: tf.io.read_file(beside).numpy(), beside)
    table = dict(np.load(io.BytesIO(contents), allow_pickle=False).items())
    names = [str(one) for one in table["files"]]
    sizes = dict(zip(names, table["sizes"].tolist()))
    for path in paths:
        if sizes.get(os.path.basename(path)) != size_of(path):
            wrong = f"{path}: does not belong to {beside}, or was cut off"
            raise ValueError(f"{wrong}; write both anew, or remove the index")
    given = {os.path.basename(path): number for number, path in enumerate(paths)}
    numbers = np.array([given.get(one, -1) for one in names])[table["file_number"]]
    chosen = np.flatnonzero(numbers >= 0)
    index = RecordIndex(numbers[chosen], table["offset"][chosen], table["length"][chosen])
    labels = table["labels"][chosen] if "labels" in table else None
    class_names = [str(one) for one in table.get("class_names", [])]
    dtype = str(table["dtype"]) if "dtype" in table else None
    return RecordSource(paths, index, name, labels=labels, class_names=class_names, dtype=dtype)


def _matching(pattern: str) -> list[str]:
    """Returns the files that match; if there are none, looks for the folder, as a failing storage shows none."""
    found = sorted(tf.io.gfile.glob(pattern))
    folder = os.path.dirname(re.split(r"[*?\[]", pattern)[0])
    if not found and folder and tf.io.gfile.exists(folder):
        tf.io.gfile.stat(folder)
    return found


def _feature_and_place(name: str) -> tuple[str, int]:
    feature, _, place = name.removesuffix("]").rpartition("[")
    return feature, int(place)


def _known(keys: tuple[str, ...], features) -> str | None:
    return next((key for key in keys if key in features), None)
