"""Whether probabilities are those with which something comes true."""

from __future__ import annotations

import numpy as np

BINS = 15


class Calibration:
    """Compares probabilities with what came true, in 15 bins of equal width.

    Bin b holds the probabilities in `((b - 1) / 15, b / 15]`, and 0 lies in the first. The expected calibration error
    is `sum_b n_b / N |came true_b - mean probability_b|`, where `came true_b` is the share of a bin's `n_b` examples.
    The probability of a classifier is that of the predicted class, and it comes true if the class is right.

    Attributes:
        count: examples in each bin, int64 `(15,)`.

    Reference: arXiv 1706.04599, equation 3.
    """

    def __init__(self) -> None:
        self.count = np.zeros(BINS, "int64")
        self._probability, self._true = np.zeros(BINS), np.zeros(BINS, "int64")

    def add(self, probabilities: np.ndarray, true: np.ndarray) -> None:
        """Adds examples: probabilities in [0, 1], `(n,)`, and whether each came true, bool `(n,)`."""
        values = np.asarray(probabilities, "float64")
        bins = np.clip(np.ceil(values * BINS).astype("int64") - 1, 0, BINS - 1)
        self.count += np.bincount(bins, minlength=BINS)
        self._true += np.bincount(bins[true], minlength=BINS)
        self._probability += np.bincount(bins, values, BINS)

    @property
    def mean_probability(self) -> np.ndarray:
        """Of each bin, float64 `(15,)`; NaN in empty ones."""
        return np.divide(self._probability, self.count, out=np.full(BINS, np.nan), where=self.count > 0)

    @property
    def true_share(self) -> np.ndarray:
        """The share of each bin's examples that came true, float64 `(15,)`; NaN in empty bins."""
        return np.divide(self._true, self.count, out=np.full(BINS, np.nan), where=self.count > 0)

    @property
    def error(self) -> float:
        """The expected calibration error, in [0, 1]; 0 of no example."""
        return float(np.abs(self._true - self._probability).sum() / max(1, self.count.sum()))
