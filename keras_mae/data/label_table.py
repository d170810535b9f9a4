"""Tables of labels: CSV or Parquet files with a row for each image."""

from __future__ import annotations

import csv
import io
import os
import re

import numpy as np
import pyarrow
import tensorflow as tf
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from keras_mae.data.columns import Column
from keras_mae.data.image_rows import rows_by_name
from keras_mae.data.patient_reading import is_there, patiently
from keras_mae.data.source import Source
from keras_mae.registry import did_you_mean, listed

# names of the column with the images' names, in the order in which they are looked for
IMAGE_COLUMNS = (
    *("image", "images", "img", "file", "filename", "file_name", "path", "filepath", "file_path"),
    *("image_path", "image_name", "image_file", "image_id", "name", "id", "index"),
)
_SEPARATORS = ",;\t|"
_HEAD = 1 << 16  # bytes in which the header ends
_INDEX_OF_PANDAS = re.compile(r"|__index_level_0__|Unnamed: \d+")  # columns without a name of their own


class LabelTable:
    """A table with a row for each image.

    A text file has a header; its values are separated by commas, semicolons, tabs or bars, whichever the header has
    most of, and may be quoted. Blanks around values, empty lines and the index that pandas writes are left out.

    Args:
        path: a file `.parquet`, or a text file `.csv`, `.tsv` or `.txt` in UTF-8; anything that `tf.io.gfile` reads.
        image_column: the name of the column with the images' names; None looks for a usual one, see `IMAGE_COLUMNS`.

    Raises:
        ValueError: if the file is missing, is no such table, has no rows, or no column with the images' names.
    """

    def __init__(self, path: str, image_column: str | None = None) -> None:
        if not is_there(path):
            raise ValueError(f"{path}: there is no such file; a table of labels is a CSV or Parquet file")
        contents = patiently(lambda: tf.io.read_file(path).numpy(), path)
        self.path, self._shown = path, os.path.basename(path)
        try:
            table = _of_parquet(contents) if path.lower().endswith((".parquet", ".pq")) else _of_text(contents)
        except (pyarrow.ArrowException, csv.Error, UnicodeError) as error:
            raise ValueError(f"{path}: is no table: {' '.join(str(error).split())[:200]}{_remedy(contents)}") from None
        self._first_row = 1 if path.lower().endswith((".parquet", ".pq")) else 2  # a text file's header is row 1
        self._columns = {name: column for name, column in table if not _INDEX_OF_PANDAS.fullmatch(name)}
        doubled = sorted({name for name, _ in table if name and sum(name == other for other, _ in table) > 1})
        if doubled:
            raise ValueError(f"{path}: has two columns called {doubled[0]!r}: name them differently")
        self.num_rows = len(table[0][1]) if table else 0
        if not self.num_rows:
            raise ValueError(f"{path}: has no row below its header")
        self.image_column = self._image_column(image_column)

    @property
    def column_names(self) -> list[str]:
        """The names of the columns, but for that of the images' names."""
        return [name for name in self._columns if name != self.image_column]

    def column(self, name: str) -> Column:
        """A column by its name; raises ValueError if there is none, or its values are no texts, numbers or truths."""
        if name not in self._columns:
            raise ValueError(
                f"{self.path}: has no column {name!r}{did_you_mean(name, self._columns)} {listed(self._columns)}"
            )
        values, missing = _values(self._columns[name], f"{self.path}: column {name!r}")

        def place(row: int) -> str:
            return f"row {row + self._first_row} of {self._shown}"

        if values.dtype == object:
            return Column.of_texts(name, values.tolist(), missing, place)
        return Column(name, values, missing, place)

    def rows_of(self, source: Source) -> np.ndarray:
        """The row of each image of a source, int64 `(num_images,)`, -1 for an image without.

        See `rows_by_name` for how a row names an image.

        Raises:
            ValueError: if no row names an image, two rows name the same, or a row may mean several.
        """
        images = self.column(self.image_column)
        return rows_by_name(source, images.texts_or_blanks(), images.place, self.path, self.image_column)

    def _image_column(self, given: str | None) -> str:
        if given is not None:
            self.column(given)
            return given
        lowered = {name.lower().replace(" ", "_"): name for name in reversed(self._columns)}
        found = next((lowered[name] for name in IMAGE_COLUMNS if name in lowered), None)
        if found is None:
            raise ValueError(
                f"{self.path}: no column of {listed(self._columns)} is called image, file, path, name or the like: "
                "name the one with the images' names, --set image_column=...; a CSV file begins with a row of names of "
                "columns"
            )
        return found


def _of_parquet(contents: bytes) -> list[tuple[str, pyarrow.ChunkedArray]]:
    table = parquet.read_table(pyarrow.BufferReader(contents))
    return list(zip(table.column_names, table.columns))


def _of_text(contents: bytes) -> list[tuple[str, pyarrow.ChunkedArray]]:
    """The columns of a text file, all of them texts."""
    head = contents[:_HEAD].decode("utf-8-sig", errors="replace")
    line = next((one for one in head.splitlines() if one.strip()), "")
    unquoted = "".join(line.split('"')[::2])
    separator = max(_SEPARATORS, key=unquoted.count)
    header = next((row for row in csv.reader(io.StringIO(head, newline=""), delimiter=separator) if row), [])
    names = [f"f{number}" for number in range(len(header))]
    if not header:
        return []
    table = arrow_csv.read_csv(
        pyarrow.BufferReader(contents),
        arrow_csv.ReadOptions(autogenerate_column_names=True, use_threads=False),
        arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string()), strings_can_be_null=False),
    )
    return [(name.strip(), column.slice(1)) for name, column in zip(header, table.columns)]


def _values(column: pyarrow.ChunkedArray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """The values of a column, `(N,)`, and which are missing."""
    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    missing = np.asarray(column.is_null().to_numpy())
    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
        texts = np.array([(text or "").strip() for text in column.to_pylist()], dtype=object)
        return texts, missing | (texts == "")
    if pyarrow.types.is_integer(kind) or pyarrow.types.is_boolean(kind):
        values = np.asarray(column.fill_null(False if pyarrow.types.is_boolean(kind) else 0).to_numpy())
        return values.astype(bool if values.dtype == bool else "int64"), missing
    if pyarrow.types.is_floating(kind):
        values = np.asarray(column.fill_null(float("nan")).to_numpy()).astype("float64")
        return values, missing
    raise ValueError(f"{what} holds {kind}: a column of labels holds texts, numbers or truth values")


def _remedy(contents: bytes) -> str:
    if contents[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "; it is in UTF-16: save it as CSV in UTF-8"
    try:
        contents.decode("utf-8")
    except UnicodeError:
        return "; it is not in UTF-8: save it so"
    return ""
