"""k-means: groups of vectors that lie together."""

from __future__ import annotations

import numpy as np

_MOST_ROUNDS = 100
_SAME = 1e-6  # a squared distance of vectors of length 1 that is rounding


def kmeans(vectors: np.ndarray, num_clusters: int, seed: int = 0) -> np.ndarray:
    """Puts each vector, of length 1, into one of `num_clusters` groups, by Lloyd's rounds from a start by k-means++.

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
        distances = _squared_distances(vectors, centres)
        nearest, distances = distances.argmin(axis=0), distances.min(axis=0)
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
    """Draws centres one by one, with chances in proportion to the squared distance to those before.

    The best of some draws is taken, the one that leaves the smallest sum of squared distances.
    """
    draws = 2 + int(np.log(num_clusters))
    chosen = [int(rng.integers(len(vectors)))]
    distances = _squared_distances(vectors, vectors[chosen])[0]
    while len(chosen) < num_clusters and distances.max() > _SAME:
        drawn = rng.choice(len(vectors), draws, p=distances / distances.sum(dtype="float64"))
        left = np.minimum(distances, _squared_distances(vectors, vectors[drawn]))
        best = left.sum(axis=1, dtype="float64").argmin()
        chosen.append(int(drawn[best]))
        distances = left[best]
    return vectors[chosen].astype("float64")


def _squared_distances(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """float32 `(k, N)`, for vectors of length 1."""
    squares = 1 + np.square(centres, dtype="float64").sum(axis=1, keepdims=True)
    products = centres.astype("float32") @ vectors.T
    return np.maximum(squares.astype("float32") - 2 * products, 0)
