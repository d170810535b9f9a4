"""Encoded images kept in memory."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data.options import untuned
from keras_mae.data.source import EncodedSource, Source
from keras_mae.data.subset import Subset


class MemorySource(EncodedSource):
    """All files of an encoded source, read once and kept in memory as they are, so that only decoding is left to do.

    Args:
        source: the source, such as a folder. A file that cannot be read is kept as an empty, hence corrupt, one.

    Raises:
        ValueError: if the source is not encoded.
    """

    def __init__(self, source: Source) -> None:
        if not isinstance(source, (EncodedSource, Subset)) or not source.encoded:
            raise ValueError(f"image files are kept in memory, and {source.name_of(0)} is there already")
        self.source, self.num_images = source, source.num_images
        self.dtype, self.class_names, self._labels = source.dtype, source.class_names, source.labels

        def read(index):
            found = tf.data.Dataset.from_tensors(index).map(lambda index: source.read(index)[0]).ignore_errors()
            return found.concatenate(tf.data.Dataset.from_tensors("")).take(1).get_single_element()

        dataset = tf.data.Dataset.range(self.num_images).map(read, num_parallel_calls=tf.data.AUTOTUNE)
        self._contents = untuned(dataset.batch(self.num_images)).get_single_element()

    def read(self, index) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(self._contents, index), self.label(index)

    def name_of(self, index: int) -> str:
        return self.source.name_of(index)
