"""Files of vectors: one vector an image, with its name and its label, and a header that says what made them.

| file | holds |
|---|---|
| `NAME.parquet` | columns `index` int64, `name` string, `label` int64 (absent without labels), `vector` a list of `dim` float or halffloat; the header as JSON in the schema's metadata, under `keras_mae` |
| `NAME.npz` | arrays `index`, `name`s as `names`, `labels` (absent without labels), `vectors` `(N, dim)`, and `header`, a JSON string |
| a folder | shards `vectors-00000-of-00003.parquet`, ..., for more vectors than fit into memory |
"""  # noqa: E501

from __future__ import annotations

import functools
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

from keras_mae.whole_file import replace_file

HEADER = "keras_mae"
DTYPES = ("float32", "float16")
ENDINGS = (".parquet", ".npz")
UNFINISHED = ".shards"  # the end of the name of a folder of which shards are missing
_SHARD = re.compile(r"vectors-(\d{5,})-of-(\d{5,})\.parquet")
_COLUMNS = ("index", "name", "vector")
_ARRAYS = ("vectors", "names", "index", "header")
_READ_TOGETHER = 8192  # vectors


class Vectors:
    """The vectors in a file, or in a folder of shards, see `open_vectors`. They are read when they are asked for.

    Args:
        source: the path, for messages.
        header: what made the vectors: `weights` (`source`, `digest`), `pooling`, `layer`, `normalize`, `dtype`,
            `dim`, `image_shape`, `crop_ratio`, `decoding`, `pixel_dtype`, `data`, `num_images`, `class_names`.
        columns: reads the columns besides the vectors, by name.
        read: reads the vectors in order, in blocks of at most so many rows, `(n, D)` of the file's dtype.

    Attributes:
        dim: `D`, the length of a vector.
        class_names: the names of the labels 0, 1, ...; empty if they have none.
    """

    def __init__(
        self,
        source: str,
        header: dict[str, Any],
        columns: Callable[[], dict[str, Any]],
        read: Callable[[int], Iterator[np.ndarray]],
    ) -> None:
        self.source, self.header = source, header
        self.dim = int(header["dim"])
        self.class_names = tuple(header.get("class_names") or ())
        self._read_columns, self._read = columns, read

    @functools.cached_property
    def _columns(self) -> dict[str, Any]:
        return self._read_columns()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def names(self) -> list[str]:
        """The names of the images in their source, such as paths below its folder; equal names are possible."""
        return self._columns["name"]

    @property
    def index(self) -> np.ndarray:
        """The index of each image in the source that the header's `data` names, int64 `(N,)`."""
        return self._columns["index"]

    @property
    def labels(self) -> np.ndarray | None:
        """The labels, int64 `(N,)`, -1 for an image without; None if the source has none."""
        return self._columns.get("label")

    def blocks(self, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields `(start, vectors)`, float32 `(n, D)`, of 1 to `rows` vectors; less than two shards are in memory."""
        if rows < 1:
            raise ValueError(f"a block has at least 1 vector, got rows={rows}")
        start = 0
        for block in self._read(rows):
            yield start, block.astype("float32", copy=False)
            start += len(block)

    def array(self) -> np.ndarray:
        """All vectors, float32 `(N, D)`."""
        found = np.empty((len(self), self.dim), "float32")
        for start, block in self.blocks(_READ_TOGETHER):
            found[start : start + len(block)] = block
        return found


def open_vectors(path: str) -> Vectors:
    """Opens the vectors that `keras-mae embed` or `write_vectors` has written.

    Args:
        path: a `.parquet` or `.npz` file, or a folder of shards.

    Raises:
        ValueError: if there is no such file, it holds no vectors, is damaged, or shards are missing.
    """
    if os.path.isdir(path):
        return _of_parquet(path, shards_in(path))
    if not os.path.exists(path):
        raise ValueError(f"there is no file or folder {path}; vectors are written by keras-mae embed")
    if path.endswith(".npz"):
        return _of_npz(path)
    if path.endswith(".parquet"):
        return _of_parquet(path, [path])
    raise ValueError(f"vectors lie in a .parquet file, a .npz file or a folder of shards; got {path}")


def write_vectors(
    path: str,
    names: Sequence[str],
    index: np.ndarray,
    labels: np.ndarray | None,
    array: np.ndarray,
    header: dict[str, Any],
) -> None:
    """Writes a file of vectors, whole or not at all.

    Args:
        path: ends in `.parquet` or `.npz`; a file that is there is replaced.
        names: of the images, N.
        index: of the images in their source, N integers.
        labels: N integers, or None.
        array: `(N, D)`.
        header: see `Vectors`; `dim` is set here, and `dtype` is float32 if it is not given.

    Raises:
        ValueError: for another ending or dtype, or for lengths that differ.
    """
    array = np.asarray(array)
    if array.ndim != 2 or not len(array) == len(names) == len(index) == len(array if labels is None else labels):
        shown = f"{len(names)} names, {len(index)} indices, {len(array if labels is None else labels)} labels"
        raise ValueError(f"{path}: a vector (N, D), a name, an index and a label each; got {array.shape}, {shown}")
    header = {"dtype": "float32", **header, "dim": array.shape[1]}
    if header["dtype"] not in DTYPES:
        raise ValueError(f"{path}: vectors are {' or '.join(DTYPES)}, got {header['dtype']!r}")
    array = array.astype(header["dtype"], copy=False)
    if path.endswith(".npz"):
        columns = {"names": np.array(names, dtype=str), "index": np.asarray(index, "int64")}
        if labels is not None:
            columns["labels"] = np.asarray(labels, "int64")
        columns["header"] = np.array(json.dumps(header, sort_keys=True))
        replace_file(path, lambda aside: np.savez(aside, allow_pickle=False, vectors=array, **columns))
    elif path.endswith(".parquet"):
        table = table_of(names, index, labels, array, header)
        replace_file(path, lambda aside: write_parquet(aside, table.schema, [table]))
    else:
        raise ValueError(f"a file of vectors ends in {' or '.join(ENDINGS)}; got {path}")


def table_of(
    names: Sequence[str],
    index: np.ndarray,
    labels: np.ndarray | None,
    array: np.ndarray,
    header: dict[str, Any],
    more: dict[str, str] | None = None,
) -> pyarrow.Table:
    """The Arrow table of vectors `(N, D)`, with the header, and perhaps more, in its metadata."""
    columns = {"index": pyarrow.array(np.asarray(index, "int64")), "name": pyarrow.array(names, pyarrow.string())}
    if labels is not None:
        columns["label"] = pyarrow.array(np.asarray(labels, "int64"))
    flat = pyarrow.array(np.ascontiguousarray(array).reshape(-1))
    columns["vector"] = pyarrow.FixedSizeListArray.from_arrays(flat, array.shape[1])
    metadata = {HEADER: json.dumps(header, sort_keys=True), **(more or {})}
    return pyarrow.table(columns).replace_schema_metadata(metadata)


def write_parquet(path: str, schema: pyarrow.Schema, tables: Iterable[pyarrow.Table]) -> None:
    """Writes a parquet file of vectors, a row group for each table. Vectors are stored as they are, uncompressed."""
    kinds = {name: "none" if name == "vector" else "zstd" for name in schema.names}
    settings: dict[str, Any] = {"compression": kinds, "use_dictionary": False, "write_statistics": False}
    with parquet.ParquetWriter(path, schema, **settings) as writer:
        for table in tables:
            writer.write_table(table)


def shard_name(number: int, count: int) -> str:
    """The file name of a shard, counted from 0, of `count`."""
    return f"vectors-{number:05}-of-{count:05}.parquet"


def is_shard(name: str) -> bool:
    """Whether a file has the name of a shard."""
    return _SHARD.fullmatch(name) is not None


def shards_in(folder: str) -> list[str]:
    """The paths of all shards in a folder.

    Raises:
        ValueError: if there is none, some are missing, or they belong to several sets.
    """
    found = sorted(filter(is_shard, os.listdir(folder)))
    if not found:
        raise ValueError(f"{folder} holds no vectors: a folder of vectors has files such as {shard_name(0, 1)}")
    counts = {int(_SHARD.fullmatch(name)[2]) for name in found}  # type: ignore[index]
    if len(counts) > 1:
        raise ValueError(f"{folder} holds shards of several sets, such as {found[0]} and {found[-1]}")
    (count,) = counts
    if len(found) < count:
        remedy = "embed the images anew with --overwrite"
        if folder.rstrip("/").endswith(UNFINISHED):
            remedy = "type the keras-mae embed that has begun them once more, and it continues"
        raise ValueError(f"{folder} holds {len(found)} of {count} shards: {remedy}")
    return [os.path.join(folder, name) for name in found]


def _of_parquet(source: str, paths: list[str]) -> Vectors:
    headers = [header_of(path) for path in paths]
    for path, header in zip(paths, headers):
        if header != headers[0]:
            raise ValueError(f"{path} holds vectors of another set than {paths[0]}: their headers differ")
    schema = _opened(paths[0]).schema_arrow
    others = [name for name in ("index", "name", "label") if name in schema.names]

    def columns() -> dict[str, Any]:
        table = pyarrow.concat_tables(_checked(path, lambda one: one.read(others)) for path in paths)
        return {name: table[name].to_pylist() if name == "name" else table[name].to_numpy() for name in others}

    def read(rows: int) -> Iterator[np.ndarray]:
        for path in paths:
            try:
                for batch in _opened(path).iter_batches(rows, columns=["vector"], use_threads=False):
                    yield batch["vector"].flatten().to_numpy().reshape(-1, headers[0]["dim"])
            except (pyarrow.ArrowException, OSError) as error:
                raise _damaged(path, error) from error

    return Vectors(source, headers[0], columns, read)


def header_of(path: str) -> dict[str, Any]:
    """The header of a parquet file of vectors; a `ValueError` if it is another file."""
    schema = _opened(path).schema_arrow
    try:
        header = json.loads((schema.metadata or {})[HEADER.encode()])
        kind = schema.field("vector").type
        if kind.list_size != header["dim"] or set(_COLUMNS) - set(schema.names):
            raise KeyError("dim")
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} holds no vectors of keras-mae embed: it lacks their header or a column") from error
    return header


def _opened(path: str) -> parquet.ParquetFile:
    return _checked(path, lambda one: one)


def _checked(path: str, use: Callable[[parquet.ParquetFile], Any]) -> Any:
    try:
        return use(parquet.ParquetFile(path))
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> ValueError:
    said = " ".join(str(error).split())[:120]
    return ValueError(
        f"{path} is damaged, or no file of vectors ({said}): remove it, and write it anew with keras-mae embed"
    )


def _of_npz(path: str) -> Vectors:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file.items())
        missing = [name for name in _ARRAYS if name not in arrays]
        header = {} if missing else json.loads(arrays["header"].item())
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error
    if missing:
        raise ValueError(f"{path} holds no vectors of keras-mae embed: it lacks the array {missing[0]!r}")
    vectors = arrays["vectors"]
    lengths = {len(arrays[name]) for name in ("vectors", "names", "index", "labels") if name in arrays}
    if len(lengths) > 1 or not isinstance(header, dict) or vectors.shape[1:] != (header.get("dim"),):
        raise ValueError(f"{path} is no file of vectors: its arrays have different lengths, or its header another dim")
    columns = {"name": arrays["names"].tolist(), "index": arrays["index"]}
    if "labels" in arrays:
        columns["label"] = arrays["labels"]

    def read(rows: int) -> Iterator[np.ndarray]:
        return (vectors[start : start + rows] for start in range(0, len(vectors), rows))

    return Vectors(path, header, lambda: columns, read)
