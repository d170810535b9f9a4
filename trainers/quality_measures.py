"""Measures of features without labels: effective rank, alignment and consistency."""

from __future__ import annotations

import numpy as np

_EPSILON = 1e-7  # of RankMe, in float32 and float64 alike
_QUERIES = 512  # at a time: their cosines with 100,000 features take 200 MB


def rankme(features: np.ndarray) -> float:
    """The effective rank of features, from 1 to the smaller of their number and their width.

    `exp(-sum_k p_k log p_k)` with `p_k = sigma_k / sum_j sigma_j + 1e-7`, of the singular values of the features as
    they are, neither centred nor normalised.

    Args:
        features: `(N, D)`.

    Reference: arXiv 2210.02885, equations 1 and 2.
    """
    values = np.linalg.svd(np.asarray(features, "float64"), compute_uv=False)
    if not values.any():
        return 1.0
    shares = values / values.sum() + _EPSILON
    return float(np.exp(-np.sum(shares * np.log(shares))))


def alignment(first: np.ndarray, second: np.ndarray) -> float:
    """The mean squared distance between two views of an image, of features scaled to length 1: 0 to 4.

    The lower, the more alike. It is also 0 if all features are the same, and so says nothing by itself.

    Args:
        first, second: features `(N, D)` of the views; row by row of the same images.

    Reference: arXiv 2005.10242, section 4.1.1, alpha = 2.
    """
    return float(np.mean(np.sum((_unit(first) - _unit(second)) ** 2, axis=1)))


def consistency(first: np.ndarray, second: np.ndarray) -> float:
    """The share of images whose second view has, among the first views of all images, that of the same image nearest.

    Nearest is the highest cosine; where others are as near, the image counts by its share among them. Chance is one in
    N.

    Args:
        first, second: as for `alignment`.
    """
    first, second, hits = _unit(first), _unit(second), 0.0
    for begin in range(0, len(second), _QUERIES):
        cosines = second[begin : begin + _QUERIES] @ first.T
        own = np.diagonal(cosines, offset=begin)[:, None]
        nearer, equal = np.sum(cosines > own, axis=1), np.sum(cosines == own, axis=1)
        hits += float(np.sum((nearer == 0) / equal))
    return hits / len(second)


def _unit(features: np.ndarray) -> np.ndarray:
    """Features of length 1; zeros stay zeros."""
    features = np.asarray(features, "float64")
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
