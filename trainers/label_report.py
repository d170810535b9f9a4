"""AUC, average precision, F1 and calibration of several labels at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from keras_mae.registry import listed
from keras_mae.trainers.calibration import Calibration
from keras_mae.trainers.curves import area_under_curve, curve_of
from keras_mae.trainers.report_pictures import calibration_picture, curves_picture

THRESHOLD = 0.5  # of a label's probability, above which it is predicted
_MEANS = ("auc", "average_precision", "precision", "recall", "f1", "brier", "ece")
_NAMED = 5  # labels in a sentence


class LabelReport:
    """Measures the probabilities of several labels, each of which an image has or has not; images come in batches.

    AUC and average precision are those of scikit-learn, `roc_auc_score` and `average_precision_score`. Precision,
    recall and F1 are those of probabilities above 0.5. The Brier score is the mean of `(probability - label)^2`; the
    expected calibration error is that of `Calibration`, where a probability comes true if the image has the label.
    Averages are the means over the labels that have the measure: all but Brier score and calibration error need images
    with the label and images without it. Precision counts as 0 if a label was never predicted.

    Args:
        label_names: the names of the `T` labels in order.

    Attributes:
        num_images: the number of images that have come.
    """

    def __init__(self, label_names: Sequence[str]) -> None:
        self.label_names, self.num_images = list(label_names), 0
        self._labels: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []

    def add(self, labels: np.ndarray, probabilities: np.ndarray) -> None:
        """Adds a batch: labels, 1 where an image has them, and probabilities, both `(n, T)`."""
        self._labels.append(np.asarray(labels) > THRESHOLD)
        self._scores.append(np.asarray(probabilities, "float32"))
        self.num_images += len(labels)

    def results(self) -> dict[str, Any]:
        """The measures, for a JSON file, with six decimals; None stands for a measure that the images do not determine.

        Raises:
            ValueError: if no image came.
        """
        labels, scores = self._all()
        each = [self._of(k, labels[:, k], scores[:, k]) for k in range(len(self.label_names))]
        means = {}
        for name in _MEANS:
            known = [one[name] for one in each if one[name] is not None]
            means[name] = round(float(np.mean(known)), 6) if known else None
        rounded = [
            {key: round(value, 6) if isinstance(value, float) else value for key, value in one.items()} for one in each
        ]
        return {
            "images": self.num_images,
            "labels": len(each),
            **means,
            "notes": self._notes(labels),
            "per_label": rounded,
        }

    def tables(self) -> dict[str, list[list[str]]]:
        """Rows of CSV files, by their names."""
        each = self.results()["per_label"]
        return {"labels": [list(each[0]), *(["" if v is None else str(v) for v in one.values()] for one in each)]}

    def pictures(self) -> dict[str, Image.Image]:
        """Pictures, by their names; there are no curves if every label lacks images with it, or without it."""
        labels, scores = self._all()
        curves = ((name, curve_of(scores[:, k], labels[:, k])) for k, name in enumerate(self.label_names))
        known = {name: curve for name, curve in curves if curve is not None}
        calibrations = {name: _calibration(labels[:, k], scores[:, k]) for k, name in enumerate(self.label_names)}
        drawn = {"curves": curves_picture(known)} if known else {}
        return {**drawn, "calibration": calibration_picture(calibrations)}

    def _all(self) -> tuple[np.ndarray, np.ndarray]:
        if not self.num_images:
            raise ValueError("a report needs at least one labelled image, and none came")
        return np.concatenate(self._labels), np.concatenate(self._scores)

    def _of(self, k: int, positive: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
        predicted, positives = scores > THRESHOLD, int(positive.sum())
        found, right = int(predicted.sum()), int((predicted & positive).sum())
        curve = curve_of(scores, positive)  # None without images with the label, or without it
        measured = curve is not None
        return {
            "label": self.label_names[k],
            "images": len(positive),
            "positives": positives,
            "predicted": found,
            "auc": area_under_curve(scores, positive),
            "average_precision": None if curve is None else curve.average_precision,
            "precision": right / max(1, found) if measured else None,
            "recall": right / positives if measured else None,
            "f1": 2 * right / (positives + found) if measured else None,
            "brier": float(np.mean((scores.astype("float64") - positive) ** 2)),
            "ece": _calibration(positive, scores).error,
        }

    def _notes(self, labels: np.ndarray) -> list[str]:
        """What a reader of the averages has to know, in sentences."""
        notes, shares = [], labels.mean(axis=0)
        for share, what in ((0, "that no image has"), (1, "that all images have")):
            found = np.flatnonzero(shares == share)
            if len(found):
                notes.append(
                    f"labels {what}, left out of the averages of AUC, average precision, precision, recall and F1 "
                    f"({len(found)} of {len(shares)}): {self._some(found)}"
                )
        return notes

    def _some(self, labels: np.ndarray) -> str:
        return listed((self.label_names[k] for k in labels), _NAMED)


def _calibration(positive: np.ndarray, scores: np.ndarray) -> Calibration:
    made = Calibration()
    made.add(scores, positive)
    return made
