"""Groups of images that are nearly the same."""

from __future__ import annotations

import numpy as np

from keras_mae.retrieval.blocks import progress
from keras_mae.retrieval.cosine import rounding, similarities, unit_vectors
from keras_mae.retrieval.search import QUERIES, ROWS

# Of copies that are planted among 2,000 crops of photographs, 99.0 % are found, and 94.9 % of the pairs that are in one
# group are copies; the others show neighbouring parts of one surface (benchmarks/planted_duplicates.py, --mirrored)
THRESHOLD = 0.97
_SHRINKAGE = 0.01
_CONSTANT = 1e-3  # of the root of D


def whitened(vectors: np.ndarray, rows: int = ROWS) -> np.ndarray:
    """Vectors in coordinates that are uncorrelated and equally wide over all images, divided by their lengths.

    `y = (x - mean) V (w + s)^(-1/2)`, where `V` and `w` are the eigenvectors and eigenvalues of the covariance of all
    N vectors, and `s = 0.01 (1 + 4 D / N)` of the mean eigenvalue keeps directions that are mostly noise from growing.
    Vectors of one encoder have a large part in common, the cosines of any two are near 1, and most of their differences
    lie in few directions: no threshold would fit two encoders. After whitening the cosines of different images are
    spread around 0, and those of copies are near 1. A small constant is a further coordinate, so that a vector that
    equals the mean has a direction.

    Args:
        vectors: `(N, D)`.
        rows: vectors in a block.

    Returns:
        float32 `(N, D + 1)`.

    Raises:
        ValueError: for a vector that is zero or not finite.

    Reference: H. Jegou and O. Chum, Negative evidences and co-occurrences in image retrieval: the benefit of PCA and
        whitening, ECCV 2012. Shrinkage and threshold are measured by `benchmarks/planted_duplicates.py`.
    """
    count, dim = vectors.shape
    for start in range(0, count, rows):
        unit_vectors(vectors[start : start + rows], start=start)
    mean = vectors.mean(axis=0, dtype="float64")
    covariance = np.zeros((dim, dim))
    for start in range(0, count, rows):
        centred = vectors[start : start + rows] - mean
        covariance += centred.T @ centred / count
    values, directions = np.linalg.eigh(covariance)
    least = 1e-12 * max(float(np.square(mean).mean()), 1e-30)  # of rounding, if all vectors are equal
    shift = _SHRINKAGE * (1 + 4 * dim / count) * max(values.mean(), least)
    scaled = directions / np.sqrt(values.clip(min=0) + shift)
    found = np.full((count, dim + 1), _CONSTANT * np.sqrt(dim), "float32")
    for start in range(0, count, rows):
        found[start : start + rows, :dim] = (vectors[start : start + rows] - mean) @ scaled
    return unit_vectors(found)


def duplicate_groups(units: np.ndarray, threshold: float, rows: int = ROWS) -> list[np.ndarray]:
    """The connected components of all pairs whose cosine similarity is `threshold` or more.

    Args:
        units: vectors of length 1, `(N, D)`. All pairs are compared, some rows with some rows at a time.
        threshold: in (-1, 1].
        rows: vectors in a block.

    Returns:
        For each group of two or more the indices, int64, ascending; the largest group first, equal ones by their first
        index.
    """
    count = len(units)
    parent = np.arange(count)
    with progress(count * (count - 1) // 2) as done:
        for top in range(0, count, QUERIES):
            part = units[top : top + QUERIES]
            for left in range(top, count, rows):
                block = units[left : left + rows]
                _join(parent, *_pairs(part, block, threshold, top, left))
                done.update(int(np.clip(left + len(block) - top - 1 - np.arange(len(part)), 0, len(block)).sum()))
    roots = _roots(parent, np.arange(count))
    order = np.argsort(roots, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(roots[order])) + 1)
    return sorted((group for group in groups if len(group) > 1), key=lambda group: (-len(group), group[0]))


def _pairs(a: np.ndarray, b: np.ndarray, threshold: float, top: int, left: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices of all pairs of `a` and `b` that are alike, the smaller one first; `top` and `left` are the first."""
    found, error = a @ b.T, rounding(a.shape[1])
    row, column = np.nonzero(found > np.float32(threshold - error))
    later = column + left > row + top
    row, column = row[later], column[later]
    unsure = np.flatnonzero(found[row, column] < threshold + error)
    alike = np.ones(len(row), bool)
    alike[unsure] = similarities(a, b, row[unsure], column[unsure]) >= threshold
    return row[alike] + top, column[alike] + left


def _join(parent: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Joins the trees of `a[i]` and `b[i]` for all i; the root of a tree is its smallest index."""
    a, b = _roots(parent, a), _roots(parent, b)
    while (differ := a != b).any():
        low, high = np.minimum(a, b)[differ], np.maximum(a, b)[differ]
        np.minimum.at(parent, high, low)
        a, b = _roots(parent, low), _roots(parent, high)


def _roots(parent: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    while (up := parent[nodes] != nodes).any():
        nodes = np.where(up, parent[nodes], nodes)
    return nodes
