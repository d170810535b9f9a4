"""Encoded images kept in memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import tensorflow as tf

from keras_mae.data.columns import Column
from keras_mae.data.corrupt_images import CorruptImages, without_faults
from keras_mae.data.guarded import guarded_reads, untuned
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.source import Source

_log = logging.getLogger("keras_mae")


class MemorySource(Source):
    """The files of an encoded source, read once and kept in memory undecoded.

    Args:
        source: encoded images, such as a folder; others are a ValueError. A file that cannot be read becomes an empty,
            hence corrupt, one.
    """

    encoded = True

    def __init__(self, source: Source) -> None:
        if not source.encoded:
            raise ValueError(f"image files are kept in memory, and {source.name_of(0)} is there already")
        self.source, self.num_images = source, source.num_images
        self.dtype, self.class_names, self._labels = source.dtype, source.class_names, source.labels
        self.decoding, self.task, self.label_names = source.decoding, source.task, source.label_names
        self.decoding, self.masked, self.masks = source.decoding, source.masked, source.masks
        reads = guarded_reads(source, lambda position: position, 0, self.num_images, self.num_images)
        corrupt = CorruptImages(source)
        reads = untuned(reads.map(lambda batch: without_faults(batch, corrupt)))
        names = ("image", "mask") if source.masked else ("image",)
        with storage_errors():
            parts = [[batch[name] for name in names] for batch in reads]
        self._contents = {name: tf.concat(column, axis=0) for name, column in zip(names, zip(*parts, strict=True))}
        if corrupt.names:
            _log.warning(corrupt.summary())

    def read(self, index) -> dict[str, tf.Tensor]:
        files = {name: tf.gather(contents, index) for name, contents in self._contents.items()}
        return {**files, "label": self.label_at(index)}

    def name_of(self, index: int) -> str:
        return self.source.name_of(index)

    def name_inside(self, index: int) -> str:
        return self.source.name_inside(index)

    def file_names(self) -> tuple[str, list[str]]:
        return self.source.file_names()

    @property
    def column_names(self) -> list[str]:
        return self.source.column_names

    def _columns_called(self, names: Sequence[str]) -> list[Column]:
        return self.source.columns(names)

    def remedy(self, index: int) -> str:
        return self.source.remedy(index)
