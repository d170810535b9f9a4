"""Encoded images in TFRecord files."""

from __future__ import annotations

import functools
import io
import os

import numpy as np
import tensorflow as tf

from keras_mae.data.decoding import bits_of
from keras_mae.data.options import untuned
from keras_mae.data.record_index import RecordIndex, RecordReader
from keras_mae.data.source import NO_LABEL, EncodedSource

# what an image file and its class are called by `keras-mae tfrecords` and TFDS, and by older scripts
IMAGE_KEYS, LABEL_KEYS = ("image", "image/encoded"), ("label", "image/class/label")
INDEX = "index.npz"  # beside the files that `keras-mae tfrecords` writes


class RecordSource(EncodedSource):
    """Records `tf.train.Example`, each an encoded image and perhaps its label, in uncompressed TFRecord files.

    Args:
        paths: the files.
        index: which of their records, in which order; all by default.
        name: what to call the whole in messages.
        image_key, label_key: the features' names; by default the known ones that the first record has.
        labels: the labels if they are known without reading the records, int64 `(num_images,)`.
        class_names: the names of the labels, if they have any.
        dtype: of the pixels; by default what the first record's file tells.
    """

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
    ) -> None:
        self.paths, self.name = paths, name
        self.index = RecordIndex.of(paths) if index is None else index
        self.num_images = len(self.index.file)
        if not self.num_images:
            raise ValueError(f"{name}: holds no image")
        self._reader = RecordReader(paths)
        self.class_names = class_names or []
        self._labels = labels
        first = self._first_features()
        self._image_key = image_key or _known(IMAGE_KEYS, first)
        self._label_key = label_key or _known(LABEL_KEYS, first)
        if self._image_key not in first:
            raise ValueError(
                f"{name}: records hold an encoded image called {' or '.join(IMAGE_KEYS)}, these hold "
                f"{', '.join(sorted(first)) or 'nothing'}"
            )
        self.dtype = dtype or (
            "uint16" if bits_of(io.BytesIO(first[self._image_key].bytes_list.value[0])) == 16 else "uint8"
        )
        self.storage_order = np.lexsort((self.index.offset, self.index.file))

    def read(self, index) -> tuple[tf.Tensor, tf.Tensor]:
        features = {self._image_key: tf.io.FixedLenFeature((), tf.string)}
        if self._label_key:
            features[self._label_key] = tf.io.FixedLenFeature((), tf.int64, NO_LABEL)
        example = tf.io.parse_single_example(self._record(index), features)
        return example[self._image_key], example.get(self._label_key, tf.constant(NO_LABEL, tf.int64))

    def label(self, index) -> tf.Tensor:
        return self.read(index)[1] if self._labels is None else tf.gather(self._labels, index)

    @property
    def labelled(self) -> bool:
        return self._label_key is not None or self._labels is not None

    @functools.cached_property
    def labels(self) -> np.ndarray | None:
        """The labels, int64 `(num_images,)`, or None; unless they came with the index, this reads every record."""
        if self._labels is not None or self._label_key is None:
            return self._labels
        dataset = tf.data.Dataset.range(self.num_images).map(
            lambda index: self.read(index)[1], num_parallel_calls=tf.data.AUTOTUNE
        )
        return np.fromiter(untuned(dataset).as_numpy_iterator(), "int64", self.num_images)

    def name_of(self, index: int) -> str:
        return f"{self.paths[self.index.file[index]]}, record at byte {self.index.offset[index] - 12}"

    def _record(self, index) -> tf.Tensor:
        place = [tf.gather(column, index) for column in (self.index.file, self.index.offset, self.index.length)]
        record = tf.numpy_function(lambda *place: self._reader(*map(int, place)), place, tf.string, stateful=False)
        record.set_shape(())
        return record

    def _first_features(self):
        record = self._reader(*(int(column[0]) for column in (self.index.file, self.index.offset, self.index.length)))
        try:
            return dict(tf.train.Example.FromString(record).features.feature)
        except Exception as error:  # protobuf's own, which is in no public module
            raise ValueError(f"{self.name}: the first record is not a tf.train.Example ({error})") from error


def open_records(pattern: str) -> RecordSource:
    """The images in all TFRecord files whose path matches a pattern, such as `gs://bucket/train-*.tfrecord`.

    Raises:
        ValueError: if there is no such file, or one of them is damaged.
    """
    paths = sorted(tf.io.gfile.glob(pattern))
    if not paths:
        raise ValueError(f"tfrecord:{pattern}: there is no such file; a pattern has *, such as DIR/*.tfrecord")
    folders = {os.path.dirname(path) for path in paths}
    name = f"tfrecord:{pattern}"
    if len(folders) == 1:
        beside = tf.io.gfile.join(*folders, INDEX) if all(folders) else INDEX
        if tf.io.gfile.exists(beside):
            return _with_index(paths, beside, name)
    return RecordSource(paths, name=name)


def _with_index(paths: list[str], beside: str, name: str) -> RecordSource:
    """The records of some of the files that an index describes, in the order of the images that they were made of."""
    with tf.io.gfile.GFile(beside, "rb") as file:
        table = dict(np.load(file, allow_pickle=False).items())
    names = [str(one) for one in table["files"]]
    sizes = dict(zip(names, table["sizes"].tolist()))
    for path in paths:
        base = os.path.basename(path)
        if sizes.get(base) != tf.io.gfile.stat(path).length:
            raise ValueError(
                f"{path}: does not belong to {beside}, or was cut off; write both anew, or remove the index"
            )
    given = {os.path.basename(path): number for number, path in enumerate(paths)}
    numbers = np.array([given.get(one, -1) for one in names])[table["file_number"]]
    chosen = np.flatnonzero(numbers >= 0)
    index = RecordIndex(numbers[chosen], table["offset"][chosen], table["length"][chosen])
    labels = table["labels"][chosen] if "labels" in table else None
    return RecordSource(
        paths, index, name, labels=labels, class_names=[str(one) for one in table.get("class_names", [])]
    )


def _known(keys: tuple[str, ...], features) -> str | None:
    return next((key for key in keys if key in features), None)
