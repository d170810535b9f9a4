"""Where the records lie in TFRecord files, so that any of them can be read at once.

A TFRecord file is a row of records: length (8 bytes), its checksum (4), the data, its checksum (4).
"""

from __future__ import annotations

import dataclasses
import os
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

HEADER, FOOTER = 12, 4
_THREADS = 16


@dataclasses.dataclass(frozen=True)
class RecordIndex:
    """The places of records, each an int64 array `(num_records,)`.

    Attributes:
        file: the number of the file in a list of files.
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
        """Reads the lengths of all records of some files, and nothing else of them.

        Raises:
            ValueError: if a file was cut off, or is not an uncompressed TFRecord file.
        """
        with ThreadPoolExecutor(_THREADS) as threads:
            found = list(threads.map(_scan, paths))
        lengths = np.concatenate([lengths for _, lengths in found])
        numbers = np.repeat(np.arange(len(paths)), [len(lengths) for _, lengths in found])
        return cls(numbers, np.concatenate([offsets for offsets, _ in found]), lengths)


class RecordReader:
    """Reads records by their place; safe for any number of threads.

    Args:
        paths: the files.
    """

    def __init__(self, paths: list[str]) -> None:
        self._paths = paths
        self._descriptors: dict[int, int] = {}

    def __call__(self, file: int, offset: int, length: int) -> bytes:
        """The data of a record."""
        path = self._paths[file]
        if "://" in path:
            with tf.io.gfile.GFile(path, "rb") as remote:
                remote.seek(offset)
                return remote.read(length)
        descriptor = self._descriptors.get(file)
        if descriptor is None:
            opened = os.open(path, os.O_RDONLY)
            descriptor = self._descriptors.setdefault(file, opened)
            if descriptor != opened:
                os.close(opened)  # another thread was faster
        return os.pread(descriptor, length, offset)

    def __del__(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


def _scan(path: str) -> tuple[np.ndarray, np.ndarray]:
    offsets: list[int] = []
    lengths: list[int] = []
    size, place = tf.io.gfile.stat(path).length, 0
    with tf.io.gfile.GFile(path, "rb") if "://" in path else open(path, "rb", buffering=0) as file:
        while place < size:
            file.seek(place)
            header = file.read(8)
            length = struct.unpack("<Q", header)[0] if len(header) == 8 else size
            if place + HEADER + length + FOOTER > size:
                raise ValueError(
                    f"{path}: record {len(offsets)} does not end within the file: it was cut off, or it is not an "
                    "uncompressed TFRecord file"
                )
            offsets.append(place + HEADER)
            lengths.append(length)
            place += HEADER + length + FOOTER
    return np.array(offsets, "int64"), np.array(lengths, "int64")
