"""The files that `keras-mae predict` writes: predictions, and beside them a report."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

# of the reports of any task
_PARTS = (
    "labels.csv", "outputs.csv", "confusions.csv", "scatter.png", "calibration.png", "curves.png", "confusions.png",
)  # fmt: skip


class PredictionFiles:
    """The names of the output files, all with the stem of the first.

    Args:
        output: the CSV of the predictions, such as `predictions.csv`.

    Attributes:
        predictions: `predictions.csv`.
        skipped: `predictions_skipped.csv`, images that cannot be used, if there are any.
        report: `predictions_report.json`, the measures, if there are labels.
        parts: tables and pictures of the report, likewise: `predictions_confusions.csv` and so on.

    Raises:
        ValueError: if the output is not the name of a CSV file.
    """

    def __init__(self, output: str) -> None:
        stem, ending = os.path.splitext(output)
        if os.path.isdir(output) or ending.lower() != ".csv":
            name = os.path.join(output, "predictions.csv") if os.path.isdir(output) else f"{output}.csv"
            raise ValueError(f"--output={output} is not the name of a CSV file; type --output={name}")
        self.predictions = output
        self.skipped, self.report = f"{stem}_skipped.csv", f"{stem}_report.json"
        self.parts = [f"{stem}_{name}" for name in _PARTS]
        self._stem, self._all = stem, (self.skipped, self.report, *self.parts, self.predictions)

    def path_of(self, name: str) -> str:
        """The path of a table or picture of the report, such as `confusions.csv`."""
        return f"{self._stem}_{name}"

    def check(self, overwrite: bool) -> None:
        """Refuses, with a ValueError, to overwrite files that are there."""
        there = [path for path in self._all if os.path.lexists(path)]
        folders = [path for path in there if os.path.isdir(path)]
        if folders:
            raise ValueError(f"{folders[-1]} is a folder, and predictions would be a file there: name another --output")
        if there and not overwrite:
            raise ValueError(f"{there[-1]} is there already: name another --output, or replace it with --overwrite")

    def there(self) -> list[str]:
        """The paths of the files that are there, the predictions first."""
        return [path for path in self._all[::-1] if os.path.exists(path)]

    @contextlib.contextmanager
    def written(self, overwrite: bool) -> Iterator[PredictionFiles]:
        """Files in a hidden folder to write to, which get their names afterwards; an error leaves nothing behind.

        Files of earlier predictions that are not written anew are removed, so that all files belong together. The
        predictions get their name last.
        """
        folder, name = os.path.split(os.path.abspath(self.predictions))
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".predict-", dir=folder) as aside:
            yield (files := PredictionFiles(os.path.join(aside, name)))
            self.check(overwrite)  # once more: another process may have written them
            if os.path.lexists(self.predictions):
                os.remove(self.predictions)
            for made, final in zip(files._all, self._all, strict=True):
                if os.path.exists(made):
                    os.replace(made, final)
                elif os.path.lexists(final):
                    os.remove(final)
