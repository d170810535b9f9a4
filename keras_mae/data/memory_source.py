"""Encoded images kept in memory."""

from __future__ import annotations

import logging

import tensorflow as tf

from keras_mae.data.corrupt_images import CorruptImages, note_faults
from keras_mae.data.guarded import guarded_reads
from keras_mae.data.options import untuned
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.source import EncodedSource, Source
from keras_mae.data.subset import Subset

_log = logging.getLogger("keras_mae")


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

        reads = guarded_reads(source, lambda position: position, 0, self.num_images, self.num_images)
        corrupt = CorruptImages(self.num_images, source.name_of)
        with storage_errors():
            self._contents = tf.concat([contents for contents, _ in untuned(note_faults(reads, corrupt))], axis=0)
        if corrupt.names:
            _log.warning(corrupt.summary())

    def read(self, index) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(self._contents, index), self.label(index)

    def name_of(self, index: int) -> str:
        return self.source.name_of(index)
