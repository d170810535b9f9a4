"""The files of a report: tables and pictures."""

from __future__ import annotations

import csv
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence

from keras_mae.trainers.tasks import AnyReport


def write_files(report: AnyReport, path_of: Callable[[str], str]) -> None:
    """Writes each table and picture of a report.

    Args:
        report: with at least one image.
        path_of: the path of a file's name, such as `confusions.csv`.
    """
    for name, rows in report.tables().items():
        write_rows(path_of(f"{name}.csv"), rows)
    for name, picture in report.pictures().items():
        picture.save(path_of(f"{name}.png"), optimize=True)


def write_folder(report: AnyReport, path: str) -> None:
    """Writes the files of a report into a folder, which replaces the one that is there once all are written."""
    aside, before = (f"{path}.{what}-{uuid.uuid4().hex[:8]}" for what in ("writing", "before"))
    os.makedirs(aside)
    try:
        write_files(report, lambda name: os.path.join(aside, name))
        if os.path.exists(path):
            os.rename(path, before)
        os.rename(aside, path)
    finally:
        for left in (aside, before):
            shutil.rmtree(left, ignore_errors=True)


def write_rows(path: str, rows: Iterable[Sequence[str]]) -> None:
    """Writes a CSV file."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
