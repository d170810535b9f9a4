"""Accuracies, precision, recall, AUC, calibration and confusions of predicted classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from keras_mae.registry import listed
from keras_mae.trainers.calibration import Calibration
from keras_mae.trainers.confusion_picture import confusion_picture
from keras_mae.trainers.curves import area_under_curve, curve_of
from keras_mae.trainers.evaluation import majority_share
from keras_mae.trainers.report_pictures import calibration_picture, curves_picture

_ROOM = 2**31  # bytes of probabilities that are kept for the AUC
_NAMED = 5  # classes in a sentence


class ClassificationReport:
    """Measures a classifier on labelled images, which come in batches.

    The confusion matrix has a row for each true class and a column for each predicted one, `M[i, j]`. The precision of
    class k is `M[k, k] / sum_i M[i, k]`, or 0 if k was never predicted; its recall is `M[k, k] / sum_j M[k, j]`; F1 is
    their harmonic mean, `2 M[k, k] / (sum_i M[i, k] + sum_j M[k, j])`. Macro averages are the means over the classes
    that have images. The AUC of class k is the probability that an image of k gets a higher probability of k than an
    image of another class, where equal ones count half: the area under the ROC curve. That of two classes is the AUC
    of class 1; of more it is the mean over the classes, each against all others. All are as in
    scikit-learn, where `labels=` are the classes that have images for the macro averages. `ece` is the expected
    calibration error, see `Calibration`.

    Args:
        class_names: the names of the `K` classes in order.
        most_images: the largest number of images that may come.

    Attributes:
        confusions: int64 `(K, K)`.
        num_images: the number of images that have come.
        keeps_scores: whether there will be an AUC and curves, for which all probabilities are kept: up to 2 GiB.
        calibration: of the predicted classes.
    """

    def __init__(self, class_names: Sequence[str], most_images: int) -> None:
        self.class_names, self.num_images = list(class_names), 0
        classes = len(self.class_names)
        self.confusions = np.zeros((classes, classes), "int64")
        self.keeps_scores = 4 * classes * most_images <= _ROOM
        self._scores = np.zeros((classes, most_images if self.keeps_scores else 0), "float32")
        self._labels = np.zeros(most_images, "int64")
        self._among_five, self.calibration = 0, Calibration()

    def add(self, labels: np.ndarray, probabilities: np.ndarray, ranked: np.ndarray) -> None:
        """Adds a batch.

        Args:
            labels: int64 `(n,)`.
            probabilities: float32 `(n, K)`.
            ranked: the classes from the most likely one on, int `(n, 5)` at least, or `(n, K)`.
        """
        stop = self.num_images + len(labels)
        self._labels[self.num_images : stop] = labels
        if self.keeps_scores:
            self._scores[:, self.num_images : stop] = probabilities.T
        np.add.at(self.confusions, (labels, ranked[:, 0]), 1)
        self.calibration.add(np.take_along_axis(probabilities, ranked[:, :1], 1)[:, 0], ranked[:, 0] == labels)
        self._among_five += int((ranked[:, :5] == labels[:, None]).any(axis=1).sum())
        self.num_images = stop

    def results(self) -> dict[str, Any]:
        """The measures, for a JSON file, with six decimals; None stands for a measure that the images do not determine.

        Raises:
            ValueError: if no image came.
        """
        if not self.num_images:
            raise ValueError("a report needs at least one labelled image, and none came")
        labels, right = self._labels[: self.num_images], np.diag(self.confusions)
        images, predicted = self.confusions.sum(axis=1), self.confusions.sum(axis=0)
        present = images > 0
        precision, recall = right / np.maximum(predicted, 1), right / np.maximum(images, 1)
        f1 = 2 * right / np.maximum(images + predicted, 1)
        areas: list[float | None] = [None] * len(images)
        if self.keeps_scores:
            areas = [area_under_curve(self._scores[k, : self.num_images], labels == k) for k in range(len(images))]
        known = [area for area in areas if area is not None]
        of_five = len(images) > 5
        return {
            "images": self.num_images,
            "classes": len(images),
            "top1": _rounded(right.sum() / self.num_images),
            **({"top5": _rounded(self._among_five / self.num_images)} if of_five else {}),
            "majority_share": majority_share(labels),
            **({"majority_share_top5": majority_share(labels, 5)} if of_five else {}),
            "precision": _rounded(precision[present].mean()),
            "recall": _rounded(recall[present].mean()),
            "f1": _rounded(f1[present].mean()),
            "auc": _rounded(areas[1] if len(areas) == 2 else np.mean(known)) if known else None,
            "ece": _rounded(self.calibration.error),
            "notes": self._notes(images, predicted),
            "per_class": [
                {
                    "class": name,
                    "images": int(images[k]),
                    "predicted": int(predicted[k]),
                    "precision": _rounded(precision[k]) if present[k] else None,
                    "recall": _rounded(recall[k]) if present[k] else None,
                    "f1": _rounded(f1[k]) if present[k] else None,
                    "auc": None if areas[k] is None else _rounded(areas[k]),
                }
                for k, name in enumerate(self.class_names)
            ],
        }

    def tables(self) -> dict[str, list[list[str]]]:
        """Rows of CSV files, by their names."""
        rows = zip(self.class_names, self.confusions.tolist(), strict=True)
        return {"confusions": [["true class", *self.class_names], *([name, *map(str, row)] for name, row in rows)]}

    def pictures(self) -> dict[str, Image.Image]:
        """Pictures, by their names; there are no curves if the probabilities were not kept."""
        drawn = {"confusions": confusion_picture(self.confusions, self.class_names)}
        labels, names = self._labels[: self.num_images], self.class_names
        if self.keeps_scores:
            chosen = [1] if len(names) == 2 else range(len(names))  # the curves of two classes mirror each other
            curves = ((names[k], curve_of(self._scores[k, : self.num_images], labels == k)) for k in chosen)
            known = {name: curve for name, curve in curves if curve is not None}
            if known:
                drawn["curves"] = curves_picture(known)
        drawn["calibration"] = calibration_picture({"predicted class": self.calibration})
        return drawn

    def _notes(self, images: np.ndarray, predicted: np.ndarray) -> list[str]:
        """What a reader of the averages has to know, in sentences."""
        notes = []
        absent, classes = np.flatnonzero(images == 0), len(images)
        if len(absent):
            notes.append(
                f"classes without images, left out of the averages ({len(absent)} of {classes}): {self._some(absent)}"
            )
        never = np.flatnonzero((images > 0) & (predicted == 0))
        if len(never):
            notes.append(
                f"classes that were never predicted, whose precision counts as 0 ({len(never)} of {classes}): "
                f"{self._some(never)}"
            )
        if np.count_nonzero(images) == 1:
            notes.append("all images are of one class, so there is no AUC")
        if not self.keeps_scores:
            notes.append(
                f"there is no AUC: it needs all probabilities at once, {4 * classes * len(self._labels) / 2**30:.1f} "
                f"GiB, and at most {_ROOM / 2**30:.0f} GiB are kept"
            )
        return notes

    def _some(self, classes: np.ndarray) -> str:
        return listed((self.class_names[k] for k in classes), _NAMED)


def _rounded(share: Any) -> float:
    return round(float(share), 6)
