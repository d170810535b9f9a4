"""Vectors that are far from all others."""

from __future__ import annotations

import numpy as np

from keras_mae.retrieval.search import nearest


def outlier_scores(vectors: np.ndarray, k: int = 10) -> np.ndarray:
    """The distance of each vector to its `k`-th nearest other vector, `1 - cosine`: the larger, the farther out.

    The k-th, as a mistake that is in a set twice has a near neighbour: up to `k` copies of it are still far out.

    Args:
        vectors: `(N, D)`; they, and another copy, are in memory.
        k: which neighbour; the farthest if there are fewer.

    Returns:
        float32 `(N,)`, in [0, 2].

    Raises:
        ValueError: for vectors that are zero or not finite, or a single one.

    Reference: S. Ramaswamy, R. Rastogi and K. Shim, Efficient algorithms for mining outliers from large data sets,
        SIGMOD 2000; for features of networks, of length 1 as here, arXiv 2204.06507, section 3.
    """
    scores, _ = nearest(vectors, vectors, k, exclude=np.arange(len(vectors)))
    return 1 - scores[:, -1]
