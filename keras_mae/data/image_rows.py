"""The images that the rows of a table name."""

from __future__ import annotations

import logging
import os
import posixpath
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np

from keras_mae.data.source import Source

_log = logging.getLogger("keras_mae")
_SEVERAL = -2


def rows_by_name(
    source: Source, names: Sequence[str], place: Callable[[int], str], table: str, column: str
) -> np.ndarray:
    """The row that names each image.

    A row names an image by its path below the folder, with or without the file's ending, or by the last parts of its
    whole path, such as its file name alone, if no other image's path ends alike. An image without a file is named by
    its number, counted from 0.

    Images without a row are counted in a warning, rows without an image in the log.

    Args:
        source: the images.
        names: of the rows.
        place: of a row by its index, for messages.
        table, column: the table's path and the name of its column, for messages.

    Returns:
        int64 `(num_images,)`, -1 for an image without a row.

    Raises:
        ValueError: if no row names an image, two rows name the same, or a row may mean several.
    """
    found = _Names(source)
    rows = np.full(source.num_images, -1, "int64")
    without: list[int] = []
    for row, name in enumerate(names):
        image = found.image(name)
        if image == _SEVERAL:
            one, other = found.several(name)
            raise ValueError(
                f"{place(row)}: {name!r} may mean {one} or {other}: write more of the path, or leave the row out"
            )
        if image < 0:
            without.append(row)
        elif rows[image] >= 0:
            raise ValueError(f"{place(int(rows[image]))} and {place(row)} both name {found.paths[image]}: keep one")
        else:
            rows[image] = row
    lacking = np.flatnonzero(rows < 0)
    count = source.num_images
    if lacking.tolist() == [0] and [names[row] for row in without] == [str(count)] and found.paths[0] == "0":
        raise ValueError(
            f"{table}: column {column!r} counts the images from 1 to {count}, and they are numbered from 0: subtract 1"
        )
    if len(lacking) == source.num_images:
        raise ValueError(
            f"{table}: no row names one of the {source.num_images} images: column {column!r} says {names[0]!r}, and "
            f"the images are such as {found.paths[0]!r}; names are paths below the folder, with or without ending, and "
            "images in memory are numbered from 0"
        )
    if len(lacking):
        _log.warning(
            "%d of %d images have no row in %s and are left out, such as %s",
            len(lacking), source.num_images, table, source.name_of(int(lacking[0])),
        )  # fmt: skip
    if without:
        _log.info("%d of %d rows of %s name none of these images, such as %r", len(without), len(names), table,
                  names[without[0]])  # fmt: skip
    return rows


class _Names:
    """Finds images by a path below the folder, or by the last parts of the whole path; with or without ending."""

    def __init__(self, source: Source) -> None:
        root, below = source.file_names()
        self.paths = [_plain(name) for name in below]
        self._whole = [f"{_plain(root)}/{path}".lstrip("/") for path in self.paths]
        self._exact = self._table(self.paths)
        self._tails: dict[int, list[dict[str, int]]] = {}

    def image(self, name: str) -> int:
        """The index of the image, -1 for none, or `_SEVERAL`."""
        name = _plain(name)
        if not name:
            return -1
        nearest = next((table[name] for table in self._exact if name in table), None)
        if nearest is not None:
            return nearest
        parts = name.count("/") + 1
        if parts not in self._tails:
            self._tails[parts] = self._table(["/".join(path.split("/")[-parts:]) for path in self._whole])
        return next((table[name] for table in self._tails[parts] if name in table), -1)

    def several(self, name: str) -> list[str]:
        """The first two images that a name may mean."""
        end = f"/{_plain(name)}"
        alike = [path for path in self._whole if f"/{path}".endswith(end)]
        return (alike + [path for path in self._whole if f"/{os.path.splitext(path)[0]}".endswith(end)])[:2]

    def _table(self, paths: list[str]) -> list[dict[str, int]]:
        """The images by their paths, and by their paths without endings."""
        tables: list[dict[str, int]] = [{}, {}]
        for image, path in enumerate(paths):
            for table, key in zip(tables, (path, os.path.splitext(path)[0])):
                table[key] = _SEVERAL if key in table else image
        return tables


def _plain(path: str) -> str:
    """A path in one form: with `/`, without `./`, its letters composed as most programs write them."""
    path = unicodedata.normalize("NFC", path.strip().replace("\\", "/"))
    return posixpath.normpath(path).lstrip("/") if path else ""
