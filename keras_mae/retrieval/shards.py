"""The shards of vectors that are being written, beside the output, which appears when all of them are there."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from keras_mae.data.corrupt_images import Fault
from keras_mae.one_writer import lock_folder
from keras_mae.retrieval.vectors import (
    UNFINISHED,
    header_of,
    is_shard,
    open_vectors,
    shard_name,
    table_of,
    write_parquet,
    write_vectors,
)
from keras_mae.whole_file import replace_file

_log = logging.getLogger("keras_mae")
_MADE = "keras_mae_made"  # in a shard's metadata: how it was made, and the images that are left out
_CORRUPT = ".corrupt.txt"


@dataclasses.dataclass(frozen=True)
class Shards:
    """The shards of a set of vectors, each for a fixed range of images.

    Attributes:
        output: a `.parquet` or `.npz` file, or a folder of shards.
        header: of the vectors.
        num_images: in the source.
        batch_size: images that are encoded together; vectors may differ by round-off between sizes.
        size: images of a shard; the last one has the rest.
    """

    output: str
    header: dict[str, Any]
    num_images: int
    batch_size: int
    size: int

    @property
    def folder(self) -> str:
        """Where shards are until all of them are there."""
        return self.output + UNFINISHED

    @property
    def corrupt_list(self) -> str:
        """The file that names the images that are left out."""
        return self.output + _CORRUPT

    @property
    def count(self) -> int:
        """The number of shards."""
        return -(-self.num_images // self.size)

    def images_in(self, number: int) -> int:
        """The number of images of a shard."""
        return min(self.size, self.num_images - number * self.size)

    def path(self, number: int) -> str:
        """The path of a shard."""
        return os.path.join(self.folder, shard_name(number, self.count))

    def is_finished(self) -> bool:
        """Whether the output is there.

        Raises:
            ValueError: if there is something else, or vectors that were made otherwise.
        """
        if not os.path.exists(self.output) or os.path.isdir(self.output) and not os.listdir(self.output):
            return False
        self._check_same(self.output, open_vectors(self.output).header)
        return True

    def is_begun(self) -> bool:
        """Whether there are shards, which may be those of a command that replaces the output."""
        return os.path.isdir(self.folder) and bool(_shards_of(self.folder))

    def claim(self) -> None:
        """Makes and locks the folder; a `ValueError` says that another process writes there."""
        os.makedirs(self.folder, exist_ok=True)
        lock_folder(self.folder)

    def found(self) -> dict[int, list[tuple[int, Fault]]]:
        """The shards that are there, and the images that each leaves out, by index, with their faults.

        Raises:
            ValueError: if they were made otherwise.
        """
        found = {}
        for name in _shards_of(self.folder):
            path = os.path.join(self.folder, name)
            try:
                header = header_of(path)
                made = json.loads(parquet.read_schema(path).metadata[_MADE.encode()])
            except (ValueError, KeyError) as error:  # after a power cut, for instance
                _log.warning("%s; this shard is written anew", error)
                os.remove(path)
                continue
            self._check_same(self.folder, {"batch_size": made["batch_size"], "shard_size": made["size"], **header})
            found[made["number"]] = [(index, Fault(fault)) for index, fault in made["corrupt"]]
        return found

    def write(
        self,
        number: int,
        names: Sequence[str],
        index: np.ndarray,
        labels: np.ndarray | None,
        array: np.ndarray,
        corrupt: list[tuple[int, Fault]],
    ) -> None:
        """Writes a shard, whole or not at all."""
        left_out = [(index, int(fault)) for index, fault in corrupt]
        made = {"number": number, "size": self.size, "batch_size": self.batch_size, "corrupt": left_out}
        table = table_of(names, index, labels, array, self.header, {_MADE: json.dumps(made, sort_keys=True)})
        replace_file(self.path(number), lambda aside: write_parquet(aside, table.schema, [table]))

    def finish(self, corrupt: list[tuple[str, Fault]]) -> None:
        """Makes the output of all shards, and the list of the images that are left out, if there are any."""
        if corrupt:
            lines = "".join(f"{name}\t{fault.of(1)}\n" for name, fault in corrupt)
            replace_file(self.corrupt_list, lambda aside: _write_text(aside, lines))
        elif os.path.exists(self.corrupt_list):
            os.remove(self.corrupt_list)
        if self.output.endswith(".npz"):
            vectors = open_vectors(self.folder)
            columns = (vectors.names, vectors.index, vectors.labels, vectors.array())
            write_vectors(self.output, *columns, vectors.header)
        elif self.output.endswith(".parquet"):
            schema = _plain(parquet.read_table(self.path(0))).schema
            replace_file(self.output, lambda aside: write_parquet(aside, schema, self._tables()))
        else:
            _remove_asides(self.folder)
            if os.path.isdir(self.output):
                _remove_shards(self.output)
            os.rename(self.folder, self.output)
            return
        _remove_shards(self.folder)

    def _tables(self) -> Iterator[pyarrow.Table]:
        return (_plain(parquet.read_table(self.path(number))) for number in range(self.count))

    def start_afresh(self) -> None:
        """Removes the shards; the output stays until it is replaced. A `ValueError` refuses another kind of output."""
        _remove_shards(self.folder)
        if os.path.isdir(self.output):
            _shards_of(self.output)
        elif os.path.exists(self.output):
            open_vectors(self.output)

    def tidy(self) -> None:
        """Removes the folder of shards if it is empty."""
        if os.path.isdir(self.folder) and not os.listdir(self.folder):
            os.rmdir(self.folder)

    def _check_same(self, place: str, there: dict[str, Any]) -> None:
        before, now = _flat(there), _flat({**self.header, "batch_size": self.batch_size, "shard_size": self.size})
        own = [key for key in now if key in before or key in _flat(self.header)]  # an output has no shards any more
        changed = [key for key in dict.fromkeys([*own, *before]) if before.get(key) != now.get(key)]
        if changed:
            shown = "; ".join(f"{key}: {before.get(key)!r} there, {now.get(key)!r} now" for key in changed)
            raise ValueError(
                f"{place} holds vectors that were made otherwise: {shown}. Name another --output, or discard them with "
                "--overwrite"
            )


def _shards_of(folder: str) -> list[str]:
    """The names of the shards in a folder that holds nothing else, but for files that were being written."""
    names = sorted(os.listdir(folder))
    others = [name for name in names if not is_shard(name) and not _is_aside(name)]
    if others:
        raise ValueError(f"{folder} holds something that is no vectors, such as {others[0]}: name another output")
    return [name for name in names if is_shard(name)]


def _is_aside(name: str) -> bool:
    return name.startswith("vectors-") and ".writing-" in name


def _remove_shards(folder: str) -> None:
    """Removes shards; a `ValueError` refuses a folder with anything else."""
    for name in _shards_of(folder):
        os.remove(os.path.join(folder, name))
    _remove_asides(folder)


def _remove_asides(folder: str) -> None:
    """Removes what a process that was killed has left half-written."""
    for name in filter(_is_aside, os.listdir(folder)):
        os.remove(os.path.join(folder, name))


def _plain(table: pyarrow.Table) -> pyarrow.Table:
    """A shard's table without what concerns that shard."""
    metadata = {key: value for key, value in table.schema.metadata.items() if key != _MADE.encode()}
    return table.replace_schema_metadata(metadata)


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _write_text(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
