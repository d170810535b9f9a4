"""ROC and precision-recall curves, and the areas under them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
    """What a threshold on scores finds, from the highest threshold to the lowest, one point for each score.

    The first point stands for a threshold above all scores: nothing is found, and precision counts as 1 there.

    Attributes:
        false_positive_rate: found negatives, as a share of all negatives, `(n,)`.
        recall: found positives, as a share of all positives, the true positive rate, `(n,)`.
        precision: found positives, as a share of what is found, `(n,)`.
    """

    false_positive_rate: np.ndarray
    recall: np.ndarray
    precision: np.ndarray

    @property
    def average_precision(self) -> float:
        """`sum_n (recall_n - recall_(n-1)) precision_n`, the area under the steps of the precision-recall curve."""
        return float(np.sum(np.diff(self.recall) * self.precision[1:]))


def curve_of(scores: np.ndarray, positive: np.ndarray) -> Curve | None:
    """The points of both curves, as in scikit-learn, which lists those of the second from the lowest threshold on.

    Args:
        scores: `(n,)`.
        positive: bool `(n,)`.

    Returns:
        A point for each different score, and the first one; None without positives or without negatives.
    """
    positives, negatives = np.count_nonzero(positive), np.count_nonzero(~positive)
    if not positives or not negatives:
        return None
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of equal scores
    found, right = 1 + last, np.cumsum(positive[order])[last]
    return Curve(
        np.append(0.0, (found - right) / negatives),
        np.append(0.0, right / positives),
        np.append(1.0, right / found),
    )


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """The area under the ROC curve, by Mann and Whitney's statistic.

    `AUC = (pairs with the positive above + pairs of equal scores / 2) / (P N)`, over all pairs of one of P positives
    and one of N negatives.

    Args:
        scores: `(n,)`.
        positive: bool `(n,)`.

    Returns:
        A number in [0, 1]; None without positives or without negatives.
    """
    positives, negatives = scores[positive], np.sort(scores[~positive])
    if not len(positives) or not len(negatives):
        return None
    below = np.searchsorted(negatives, positives, "left") + np.searchsorted(negatives, positives, "right")
    return int(below.sum()) / (2 * len(positives) * len(negatives))


def mean_area(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """The mean of the areas under the ROC curves of several labels; labels without positives or negatives have none.

    Args:
        scores: `(N, T)`.
        positive: bool `(N, T)`.

    Returns:
        A number in [0, 1]; None if no label has an area.
    """
    areas = [area_under_curve(scores[:, label], positive[:, label]) for label in range(scores.shape[1])]
    known = [area for area in areas if area is not None]
    return float(np.mean(known)) if known else None
