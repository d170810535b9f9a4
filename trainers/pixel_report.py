"""Intersection over union and accuracies of the pixels of segmented images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_mae.registry import listed

_NAMED = 5  # classes in a sentence
_COUNTED_AT_ONCE = 512  # classes of which a table for each image is fast


class PixelReport:
    """Counts the pixels of every true and every predicted class, over all images of a set.

    The confusion matrix has a row for each true class and a column for each predicted one, `M[i, j]`, of pixels that
    have a label. The intersection over union of class k is `M[k, k] / (sum_j M[k, j] + sum_i M[i, k] - M[k, k])`, its
    accuracy `M[k, k] / sum_j M[k, j]`. Means are over the classes that have a pixel: the mean IoU leaves out those that
    are neither in the masks nor in the predictions, the mean accuracy those that are not in the masks. As in
    scikit-learn's `jaccard_score` and `recall_score`, with `labels=` these classes.

    Args:
        class_names: the names of the `K` classes in order.

    Attributes:
        confusions: int64 `(K, K)`.
        num_images: the number of images that have come.

    Reference: arXiv 1411.4038, section 5 (there `n_ij` is `M[i, j]`).
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names, self.num_images = list(class_names), 0
        self.confusions = np.zeros((len(self.class_names),) * 2, "int64")

    def add(self, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Adds an image: true classes, negative without label, and predicted ones, both integers `(H, W)`."""
        labelled, classes = truth >= 0, len(self.class_names)
        pairs = truth[labelled].astype("int64") * classes + predicted[labelled]
        if classes <= _COUNTED_AT_ONCE:
            self.confusions += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        else:
            numbers, counts = np.unique(pairs, return_counts=True)
            self.confusions[np.divmod(numbers, classes)] += counts
        self.num_images += 1

    def results(self) -> dict[str, Any]:
        """The measures, for a JSON file, with six decimals; None stands for a measure that no pixel determines.

        Raises:
            ValueError: if no pixel with a label came.
        """
        right, total = np.diag(self.confusions), self.confusions.sum()
        if not total:
            raise ValueError(f"a report needs pixels with a label, and there are none in {self.num_images} images")
        true, predicted = self.confusions.sum(axis=1), self.confusions.sum(axis=0)
        union = true + predicted - right
        iou, accuracy = right / np.maximum(union, 1), right / np.maximum(true, 1)
        return {
            "images": self.num_images,
            "pixels": int(total),
            "mean_iou": _rounded(iou[union > 0].mean()),
            "pixel_accuracy": _rounded(right.sum() / total),
            "mean_accuracy": _rounded(accuracy[true > 0].mean()),
            "majority_share": _rounded(true.max() / total),
            "notes": self._notes(true, predicted),
            "per_class": [
                {
                    "class": name,
                    "pixels": int(true[k]),
                    "predicted": int(predicted[k]),
                    "iou": _rounded(iou[k]) if union[k] else None,
                    "accuracy": _rounded(accuracy[k]) if true[k] else None,
                }
                for k, name in enumerate(self.class_names)
            ],
        }

    def _notes(self, true: np.ndarray, predicted: np.ndarray) -> list[str]:
        """What a reader of the means has to know, in sentences."""
        absent, invented = np.flatnonzero(true + predicted == 0), np.flatnonzero((true == 0) & (predicted > 0))
        notes = []
        if len(absent):
            notes.append(
                "classes neither in the masks nor in the predictions, left out of the mean IoU "
                f"({len(absent)} of {len(true)}): {self._some(absent)}"
            )
        if len(invented):
            notes.append(
                f"classes that are in no mask but predicted, whose IoU is 0 ({len(invented)} of {len(true)}): "
                f"{self._some(invented)}"
            )
        return notes

    def _some(self, classes: np.ndarray) -> str:
        return listed((self.class_names[k] for k in classes), _NAMED)


def _rounded(share: Any) -> float:
    return round(float(share), 6)
