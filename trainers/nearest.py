"""Nearest neighbours by cosine, with their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

_QUERIES = 100  # at a time: their cosines with a million features take 400 MB


def nearest(
    train_x: np.ndarray, test_x: np.ndarray, ks: Sequence[int], temperature: float
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Yields the nearest neighbours of some queries at a time, in order, as many as the largest k.

    Args:
        train_x: features `(N, D)` of the neighbours.
        test_x: features `(M, D)` of the queries.
        ks: numbers of neighbours.
        temperature: the smaller it is, the more the nearest ones count.

    Returns:
        Batches of `n` queries: indices of their neighbours from the nearest on, int32 `(n, k)`, and weights
        `exp(cosine / temperature)`, up to a factor for each query, float32 `(n, k)`.

    Raises:
        ValueError: for a k that is not between 1 and N, or a temperature that is not positive.
    """
    if not ks or min(ks) < 1 or max(ks) > len(train_x):
        raise ValueError(f"k lies between 1 and the {len(train_x)} images that may be neighbours; got {list(ks)}")
    if not temperature > 0:
        raise ValueError(f"a temperature is positive, got {temperature!r}")
    train, test = (tf.math.l2_normalize(tf.cast(x, tf.float32), axis=1) for x in (train_x, test_x))
    for begin in range(0, len(test_x), _QUERIES):
        cosines = tf.matmul(test[begin : begin + _QUERIES], train, transpose_b=True)  # (n, N)
        near = tf.math.top_k(cosines, max(ks))
        # relative to the nearest: far neighbours and a small temperature would make all weights 0 in float32
        yield near.indices, tf.exp((near.values - near.values[:, :1]) / temperature)


def neighbour_means(
    train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, ks: Sequence[int], temperature: float = 0.07
) -> dict[int, np.ndarray]:
    """The weighted mean of the labels of each query's nearest neighbours: of numbers, or of labels their vote shares.

    Args:
        train_x, test_x, ks, temperature: as for `nearest`, also for the errors.
        train_y: several labels or numbers `(N, T)`.

    Returns:
        For each k, float64 `(M, T)`.
    """
    rows = np.asarray(train_y, "float64")
    parts: dict[int, list[np.ndarray]] = {k: [] for k in ks}
    for indices, weights in nearest(train_x, test_x, ks, temperature):
        weight, near = weights.numpy().astype("float64"), rows[indices.numpy()]  # (n, k), (n, k, T)
        for k in ks:
            part = weight[:, :k]
            parts[k].append(np.einsum("nk,nkt->nt", part / part.sum(axis=1, keepdims=True), near[:, :k]))
    return {k: np.concatenate(part) for k, part in parts.items()}
