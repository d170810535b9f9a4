"""The places of the records in TFRecord files, at which any of them can be read.

A TFRecord file is a row of records: length (8 bytes), its checksum (4), the data, its checksum (4).
"""

from __future__ import annotations

import dataclasses
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from keras_mae.data.patient_reading import patiently

HEADER, FOOTER = 12, 4
_THREADS = 16


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """The places of records, each an int64 array `(num_records,)`.

    Attributes:
        file: the file's number in a list of files.
        offset: of the data, in bytes from the beginning of the file.
        length: of the data in bytes.
    """

    file: np.ndarray
    offset: np.ndarray
    length: np.ndarray

    def __getitem__(self, chosen) -> RecordIndex:
        return RecordIndex(self.file[chosen], self.offset[chosen], self.length[chosen])

    @classmethod
    def of(cls, paths: list[str]) -> RecordIndex:
        """Reads the lengths of all records of some files; raises ValueError if a file is damaged, see `of_some`."""
        index, damages = cls.of_some(paths)
        if damages:
            raise ValueError(damages[0])
        return index

    @classmethod
    def of_some(cls, paths: list[str]) -> tuple[RecordIndex, list[str]]:
        """Reads the records of some files up to where each is damaged.

        Returns:
            The index, and a message for each file that was cut off, or is not an uncompressed TFRecord file.
        """
        with ThreadPoolExecutor(_THREADS) as threads:
            scanned = threads.map(lambda path: patiently(lambda: _scan(path), path), paths)
            offsets, lengths, damages = zip(*scanned)
        numbers = np.repeat(np.arange(len(paths)), [len(one) for one in lengths])
        index = cls(numbers, np.concatenate(offsets), np.concatenate(lengths))
        return index, [damage for damage in damages if damage]


class RecordReader:
    """Reads records of the files `paths` by their places, in a graph or not."""

    def __init__(self, paths: list[str], index: RecordIndex) -> None:
        self._paths = tf.constant(paths)
        self._sizes = tf.constant([size_of(path) for path in paths], tf.int64)
        self._columns = tuple(map(tf.constant, (index.file, index.offset, index.length)))

    def path(self, index) -> tf.Tensor:
        """Returns the path of the file that holds a record."""
        return tf.gather(self._paths, tf.gather(self._columns[0], index))

    def __call__(self, index) -> tf.Tensor:
        """Reads the data of a record, a string scalar; fails if their checksum is wrong."""
        _, offset, length = (tf.gather(column, index) for column in self._columns)
        file = tf.raw_ops.TFRecordDatasetV2(
            filenames=self.path(index)[None],
            compression_type="",
            buffer_size=HEADER + length + FOOTER,
            byte_offsets=(offset - HEADER)[None],
        )
        return _first_of(file)

    def there(self, index) -> tf.Tensor:
        """Returns whether a record's bytes can be read, even if their checksum is wrong."""
        number, offset, length = (tf.gather(column, index) for column in self._columns)
        length = tf.maximum(length, 1)
        footer = tf.gather(self._sizes, number) - offset - length

        def read(path):
            file = tf.raw_ops.FixedLengthRecordDatasetV2(
                filenames=path[None],
                header_bytes=offset,
                record_bytes=length,
                footer_bytes=footer,
                buffer_size=length,
                compression_type="",
            )
            return tf.strings.length(_first_of(file))

        found = tf.data.Dataset.from_tensors(self.path(index)).map(read).ignore_errors()
        return found.reduce(False, lambda *_: True)


def size_of(path: str) -> int:
    """Returns a file's size in bytes."""
    return patiently(lambda: tf.io.gfile.stat(path).length, path)


def _first_of(variant) -> tf.Tensor:
    records = tf.data.experimental.from_variant(variant, tf.TensorSpec((), tf.string))
    return records.take(1).get_single_element()


def _scan(path: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Returns offsets, lengths, and a message if the file is damaged."""
    offsets: list[int] = []
    lengths: list[int] = []
    damage = ""
    size, place = tf.io.gfile.stat(path).length, 0
    with tf.io.gfile.GFile(path, "rb") if "://" in path else open(path, "rb", buffering=0) as file:
        while place < size:
            file.seek(place)
            header = file.read(8)
            length = struct.unpack("<Q", header)[0] if len(header) == 8 else size
            if place + HEADER + length + FOOTER > size:
                damage = f"{path}: record {len(offsets)} does not end within the file: it was cut off, or it is not an"
                damage += " uncompressed TFRecord file"
                break
            offsets.append(place + HEADER)
            lengths.append(length)
            place += HEADER + length + FOOTER
    return np.array(offsets, "int64"), np.array(lengths, "int64"), damage
