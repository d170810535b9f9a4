"""Images that a search has found, as a table and as a page of thumbnails."""

from __future__ import annotations

import csv
import functools
import io
import logging
import os
import sys
from collections.abc import Sequence

import numpy as np

from keras_mae.export.folder_aside import folder_aside
from keras_mae.retrieval import Vectors
from keras_mae.retrieval.page import Section, Tile, page
from keras_mae.whole_file import replace_file

_log = logging.getLogger("keras_mae")
_SHOWN = 1000  # images of a page: some 4 MB
_SIDE = 96  # pixels


class Found:
    """Collects images in sections, and writes them.

    Args:
        command: its name, also that of the files.
        vectors: whose images are found.
        columns: of the table; those of the image follow: `name`, `index` in the data, `label` if there are labels.
    """

    def __init__(self, command: str, vectors: Vectors, columns: Sequence[str]) -> None:
        self._command, self._vectors = command, vectors
        labelled = vectors.labels is not None
        self._columns = [*columns, "name", "index", *(["label"] if labelled else [])]
        self._rows: list[list[str]] = []
        self._sections: list[tuple[str, list[tuple[int, str, str, bool]]]] = []

    def section(self, heading: str) -> None:
        """Begins a section."""
        self._sections.append((heading, []))

    def query(self, name: str, index: int) -> None:
        """Adds the image that the others of this section were searched by, to the page only.

        Args:
            name: its name, or the path of its file.
            index: among the vectors, or -1.
        """
        self._sections[-1][1].append((index, name, "the query", True))

    def add(self, index: int, cells: Sequence[str], caption: str) -> None:
        """Adds an image by its index among the vectors, with its first cells of the table and its caption."""
        name, label = self._vectors.names[index], self._label(index)
        self._rows.append([*cells, name, str(self._vectors.index[index]), *([] if label is None else [label])])
        self._sections[-1][1].append((index, name, f"{caption} · {label}" if label else caption, False))

    def _label(self, index: int) -> str | None:
        if self._vectors.labels is None:
            return None
        label, names = int(self._vectors.labels[index]), self._vectors.class_names
        return "" if label < 0 else names[label] if label < len(names) else str(label)

    def write(self, folder: str | None, notes: Sequence[str]) -> None:
        """Writes `COMMAND.csv` and `COMMAND.html` into a folder, each whole; prints the table without a folder.

        Args:
            folder: files of these names that are in it are replaced.
            notes: sentences of the page.
        """
        table = self._table()
        if folder is None:
            sys.stdout.write(table)
            return
        texts = {f"{self._command}.csv": table, f"{self._command}.html": self._page(notes)}
        if os.path.isdir(folder) and os.listdir(folder):
            for name, text in texts.items():
                replace_file(os.path.join(folder, name), functools.partial(_write, text=text))
        else:
            with folder_aside(folder) as aside:
                for name, text in texts.items():
                    _write(os.path.join(aside, name), text)
        print(f"wrote {' and '.join(os.path.join(folder, name) for name in texts)}")
        print(notes[0])

    def _table(self) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self._columns, *self._rows])
        return text.getvalue()

    def _page(self, notes: Sequence[str]) -> str:
        notes, room, sections = list(notes), _SHOWN, []
        pictures: dict[int | str, bytes | None]
        for heading, tiles in self._sections:
            sections.append((heading, tiles[:room]))
            room -= len(sections[-1][1])
            if room <= 0:
                total = sum(len(tiles) for _, tiles in self._sections)
                notes += [f"Shown are the first {_SHOWN} of {total}; {self._command}.csv has all."] * (total > _SHOWN)
                break
        at = sorted({tile[0] for _, tiles in sections for tile in tiles if tile[0] >= 0})
        pictures = dict(zip(at, self._thumbnails(np.array(at, "int64"), notes), strict=True))
        pictures |= {name: _of_file(name) for _, tiles in sections for index, name, _, _ in tiles if index < 0}
        shown = [
            Section(heading, [Tile(pictures[t[0] if t[0] >= 0 else t[1]], *t[1:]) for t in tiles])
            for heading, tiles in sections
        ]
        weights = self._vectors.header.get("weights")
        source = weights.get("source") if isinstance(weights, dict) else None
        notes += [f"Vectors: {self._vectors.source}" + (f", of {source}" if source else "")]
        return page(f"keras-mae {self._command}", notes, shown)

    def _thumbnails(self, at: np.ndarray, notes: list[str]) -> list[bytes | None]:
        from keras_mae.retrieval.thumbnails import thumbnails

        try:
            return thumbnails(self._vectors.header, self._vectors.index[at], side=_SIDE)
        except (ValueError, OSError) as error:
            said = " ".join(str(error).split())
            _log.warning("the page has no pictures: %s", said)
            notes.append(f"There are no pictures: {said}")
            return [None] * len(at)


def _of_file(path: str) -> bytes | None:
    """A thumbnail of an image file; None if Pillow cannot read it."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode[0] in "IF":  # more than 8 bits, which Pillow would cut at 255
                levels = np.asarray(upright, "float64")
                levels -= levels.min()
                upright = Image.fromarray((levels * (255 / max(levels.max(), 1e-9))).astype("uint8"))
            small = ImageOps.fit(upright.convert("RGB"), (_SIDE, _SIDE))
    except (OSError, ValueError):
        return None
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return file.getvalue()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.write(text)
