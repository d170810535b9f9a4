"""Errors and correlations of predicted numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from keras_mae.trainers.report_pictures import scatter_picture

_NAMED = 5  # outputs in a sentence


class NumberReport:
    """Measures predicted numbers, several outputs at once; images come in batches.

    For each output, with labels y and predictions p in the labels' units: MAE, the mean of `|p - y|`; RMSE, the root
    of the mean of `(p - y)^2`; `R^2 = 1 - sum (p - y)^2 / sum (y - mean y)^2`, that of scikit-learn's `r2_score`;
    Pearson's correlation. `mae_of_mean` and `rmse_of_mean` are those of always answering the mean of the labels that
    the model was trained on, to compare with.

    Args:
        names: of the `T` outputs, in order.
        means: of the labels that the model was trained on, `T` numbers; None for those of the images here.

    Attributes:
        num_images: the number of images that have come.
    """

    def __init__(self, names: Sequence[str], means: Sequence[float] | None = None) -> None:
        self.names, self._means = list(names), None if means is None else np.asarray(means, "float64")
        self._labels: list[np.ndarray] = []
        self._predictions: list[np.ndarray] = []
        self.num_images = 0

    def add(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Adds a batch of labels and predictions, both `(n, T)`."""
        self._labels.append(np.asarray(labels, "float64"))
        self._predictions.append(np.asarray(predictions, "float64"))
        self.num_images += len(labels)

    def results(self) -> dict[str, Any]:
        """The measures, for a JSON file, with six digits; None stands for a measure that the images do not determine.

        Raises:
            ValueError: if no image came.
        """
        labels, predictions = self._all()
        means = labels.mean(axis=0) if self._means is None else self._means
        each: list[dict[str, Any]] = [
            {"output": name, "images": self.num_images, **_measures(labels[:, k], predictions[:, k], means[k])}
            for k, name in enumerate(self.names)
        ]
        known = [one["r2"] for one in each if one["r2"] is not None]
        constant = [one["output"] for one in each if one["r2"] is None]
        notes = []
        if constant:
            more = f" and {len(constant) - _NAMED} more" if len(constant) > _NAMED else ""
            notes.append(
                f"outputs whose labels are all alike here, without R^2 and correlation ({len(constant)} of "
                f"{len(each)}): {', '.join(constant[:_NAMED])}{more}"
            )
        return {
            "images": self.num_images,
            "outputs": len(each),
            "r2": _short(np.mean(known)) if known else None,
            "notes": notes,
            "per_output": each,
        }

    def tables(self) -> dict[str, list[list[str]]]:
        """Rows of CSV files, by their names."""
        each = self.results()["per_output"]
        return {"outputs": [list(each[0]), *(["" if v is None else str(v) for v in one.values()] for one in each)]}

    def pictures(self) -> dict[str, Image.Image]:
        """Pictures, by their names."""
        return {"scatter": scatter_picture(self.names, *self._all())}

    def _all(self) -> tuple[np.ndarray, np.ndarray]:
        if not self.num_images:
            raise ValueError("a report needs at least one labelled image, and none came")
        return np.concatenate(self._labels), np.concatenate(self._predictions)


def _measures(labels: np.ndarray, predictions: np.ndarray, mean: float) -> dict[str, float | None]:
    errors, around = predictions - labels, labels - labels.mean()
    spread, varies = np.sum(around**2), np.ptp(labels) > 0
    correlation = None
    if varies and np.ptp(predictions) > 0:
        others = predictions - predictions.mean()
        correlation = _short(np.sum(around * others) / np.sqrt(spread * np.sum(others**2)))
    return {
        "mae": _short(np.mean(np.abs(errors))),
        "rmse": _short(np.sqrt(np.mean(errors**2))),
        "r2": _short(1 - np.sum(errors**2) / spread) if varies else None,
        "correlation": correlation,
        "mae_of_mean": _short(np.mean(np.abs(labels - mean))),
        "rmse_of_mean": _short(np.sqrt(np.mean((labels - mean) ** 2))),
    }


def _short(value: Any) -> float:
    """A number in units that may be tiny or huge, with seven digits."""
    return float(f"{float(value):.7g}")
