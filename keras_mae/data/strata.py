"""Groups of images with like labels, of which a split takes equal shares."""

from __future__ import annotations

import numpy as np

from keras_mae.data.source import CLASSES, LABELS, Source

_QUANTILES = 10


def strata_of(source: Source, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """The stratum of each image.

    - Of classes, a stratum is a class; images without labels are one, as are images with a label each.
    - Of several labels at once, a stratum is a combination of labels that `fewest` images or more have; rarer ones
      are put together by the rarest label in them.
    - Of numbers, strata are equal parts of the images in the order of their number, or of the mean rank of their
      numbers: 10, or fewer so that each has `fewest` images.

    Args:
        source: images, with or without labels.
        fewest: images in a stratum of which a split can take its share.

    Returns:
        The number of each image's stratum, int64 `(N,)`, and the sizes of the strata, int64 `(S,)`.
    """
    labels = source.labels
    if labels is None:
        return np.zeros(source.num_images, int), np.array([source.num_images])
    if source.task == CLASSES:
        _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        return (classes, sizes) if sizes.max() > 1 else (np.zeros(len(labels), int), np.array([len(labels)]))
    keys = _combinations(labels, fewest) if source.task == LABELS else _quantiles(labels, fewest)
    _, strata, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    return strata, sizes


def _combinations(labels: np.ndarray, fewest: int) -> np.ndarray:
    _, combination, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    combination = combination.reshape(-1)
    positives = np.where(labels > 0, labels.sum(axis=0), np.inf)  # of the labels that an image has
    rarest = np.where((labels > 0).any(axis=1), positives.argmin(axis=1), labels.shape[1])
    return np.where(counts[combination] >= fewest, combination, len(counts) + rarest)


def _quantiles(numbers: np.ndarray, fewest: int) -> np.ndarray:
    ranks = np.mean(
        [np.unique(column, return_inverse=True)[1].reshape(-1) / len(column) for column in numbers.T], axis=0
    )
    bins = min(_QUANTILES, max(1, len(numbers) // fewest))
    place = np.empty(len(numbers), int)
    place[np.argsort(ranks, kind="stable")] = np.arange(len(numbers))
    return place * bins // len(numbers)
