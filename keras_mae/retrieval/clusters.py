"""k-means: groups of vectors that lie together."""

from __future__ import annotations

import numpy as np

_ROWS = 8192  # distances of so many vectors are in memory at once
_MOST_ROUNDS = 100
_SAME = 1e-6  # a squared distance of vectors of length 1 that is rounding


def kmeans(vectors: np.ndarray, num_clusters: int, seed: int = 0) -> np.ndarray:
    """Puts each vector, of length 1, into one of `num_clusters` groups, by Lloyd's rounds from k-means++'s start.

    It ends when no vector changes its group, or after 100 rounds. Groups are numbered by their size, the largest is
    0. There are fewer than `num_clusters` if fewer vectors differ.

    Args:
        vectors: float32 `(N, D)`.
        num_clusters: of groups, at least 1.
        seed: of the start.

    Returns:
        int64 `(N,)`.

    Reference:
        Arthur and Vassilvitskii, k-means++, SODA 2007.
    """
    centres = _start(vectors, num_clusters, np.random.default_rng(seed))
    groups = np.full(len(vectors), -1)
    for _ in range(_MOST_ROUNDS):
        nearest, distances = _nearest(vectors, centres)
        if np.array_equal(nearest, groups):
            break
        groups = nearest
        sizes = np.bincount(groups, minlength=len(centres))
        for group in range(len(centres)):
            if sizes[group]:
                centres[group] = vectors[groups == group].mean(axis=0, dtype="float64")
            else:  # it begins anew at the vector that is farthest from its centre
                farthest = int(distances.argmax())
                centres[group], distances[farthest] = vectors[farthest], 0
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    rank = np.empty(len(sizes), "int64")
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return rank[groups]


def _start(vectors: np.ndarray, num_clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Draws centres one by one, each with a chance in proportion to the squared distance to those before."""
    chosen = [int(rng.integers(len(vectors)))]
    _, distances = _nearest(vectors, vectors[chosen])
    while len(chosen) < num_clusters and distances.max() > _SAME:
        chosen.append(int(rng.choice(len(vectors), p=distances / distances.sum(dtype="float64"))))
        distances = np.minimum(distances, _nearest(vectors, vectors[chosen[-1:]])[1])
    return vectors[chosen].astype("float64")


def _nearest(vectors: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centre of each vector, the first of equally near ones, and its squared distance."""
    doubled = (2 * centres).astype(vectors.dtype)
    squares = 1 + (centres**2).sum(axis=1, dtype="float64")[:, None].astype(vectors.dtype)  # a vector's own is 1
    found = []
    for start in range(0, len(vectors), _ROWS):
        distances = squares - doubled @ vectors[start : start + _ROWS].T
        found.append((distances.argmin(axis=0), np.maximum(distances.min(axis=0), 0)))
    nearest, least = zip(*found)
    return np.concatenate(nearest), np.concatenate(least)
