"""Weighted votes of the nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_QUERIES = 100  # at a time: their cosines with a million features take 400 MB


def knn_scores(
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    ks: Sequence[int],
    num_classes: int,
    temperature: float = 0.07,
) -> dict[int, np.ndarray]:
    """The votes of each query's nearest neighbours by cosine, each with the weight `exp(cosine / temperature)`.

    Args:
        train_x, train_y: features `(N, D)` and labels `(N,)` of those who vote.
        test_x: features `(M, D)` of the queries.
        ks: numbers of neighbours.
        num_classes: number of classes `K`.
        temperature: the smaller, the more the nearest count.

    Returns:
        For each k, the votes `(M, K)`, float32, up to a factor for each query.

    Raises:
        ValueError: for a k that is not between 1 and N, or a temperature that is not positive.

    Reference: arXiv 1805.01978, section 3.4 (temperature 0.07).
    """
    if not ks or min(ks) < 1 or max(ks) > len(train_x):
        raise ValueError(f"k lies between 1 and the {len(train_x)} images that may be neighbours; got {list(ks)}")
    if not temperature > 0:
        raise ValueError(f"a temperature is positive, got {temperature!r}")
    train, test = (tf.math.l2_normalize(tf.cast(x, tf.float32), axis=1) for x in (train_x, test_x))
    classes = tf.constant(train_y)
    parts: dict[int, list[np.ndarray]] = {k: [] for k in ks}
    for begin in range(0, len(test_x), _QUERIES):
        cosines = tf.matmul(test[begin : begin + _QUERIES], train, transpose_b=True)  # (100, N)
        near = tf.math.top_k(cosines, max(ks))
        # to the nearest one: it would be 0 in float32 for all, were they far and the temperature small
        weights = tf.exp((near.values - near.values[:, :1]) / temperature)[..., None]  # (100, k, 1)
        votes = weights * tf.one_hot(tf.gather(classes, near.indices), num_classes)  # (100, k, K)
        for k in ks:
            parts[k].append(tf.reduce_sum(votes[:, :k], axis=1).numpy())
    return {k: np.concatenate(part) for k, part in parts.items()}
