"""Two coordinates for each vector: the axes of a map."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

import numpy as np

METHODS = ("pca", "umap")
UMAP_NEIGHBOURS = 15  # umap-learn's default, each vector itself among them
_FEWEST_FOR_UMAP = 4


def check_method(method: str) -> None:
    """Raises an `ImportError` if what a method of projection needs is not installed."""
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise ImportError("a map by UMAP needs umap-learn: pip install 'keras-mae[umap]', or take --method=pca")


def unit(block: np.ndarray) -> np.ndarray:
    """Divides vectors `(n, D)` by their lengths, so that Euclidean distances have the order of cosine similarities.

    Raises:
        ValueError: for a vector of zeros, NaN or infinities, which has no direction.
    """
    lengths = np.linalg.norm(block.astype("float64"), axis=1, keepdims=True)
    wrong = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} of {len(block)} vectors looked at are all zeros, or hold NaN or an infinity, and have no "
            "direction: what has made them does not work, or is not trained"
        )
    return block / lengths


def pca(blocks: Iterable[np.ndarray], again: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Projects vectors of length 1 on their two principal components.

    The vectors are divided by their lengths first, as nearest neighbours are by cosine similarity. The sign of a
    component, which the eigen-decomposition leaves open, makes its largest entry positive.

    Args:
        blocks: of vectors, float32 `(n, D)`, for the covariance.
        again: the same blocks once more, for the projection.

    Returns:
        float64 `(N, 2)`, and the share of the variance of each of the two, float64 `(2,)`. With D = 1 the second
        component is 0.
    """
    count, total, products = 0, np.float64(0), np.float64(0)
    for block in map(unit, blocks):
        count += len(block)
        total = total + block.sum(axis=0)
        products = products + block.T @ block
    mean = total / count
    variances, components = np.linalg.eigh(products / count - np.outer(mean, mean))
    axes = components[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    shares = np.maximum(variances[::-1][:2], 0) / max(np.maximum(variances, 0).sum(), np.finfo("float64").tiny)
    pad = 2 - axes.shape[1]
    points = np.concatenate([(unit(block) - mean) @ axes for block in again])
    return np.pad(points, ((0, 0), (0, pad))), np.pad(shares, (0, pad))


def umap(vectors: np.ndarray, neighbours: np.ndarray, similarities: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Projects vectors by UMAP, which keeps neighbours together and says little about distances between groups.

    Args:
        vectors: float32 `(N, D)` of length 1.
        neighbours: integers `(N, 14)`, or fewer if N is smaller: the nearest other vectors of each.
        similarities: their cosine similarities, alike in shape.
        start: `(N, 2)`, the projection to begin with, by PCA, so that two runs give the same map.

    Returns:
        float32 `(N, 2)`.

    Raises:
        ValueError: for fewer than 4 vectors.

    Reference:
        McInnes, Healy, Melville, arXiv 1802.03426; the package umap-learn.
    """
    if len(vectors) < _FEWEST_FOR_UMAP:
        raise ValueError(f"UMAP needs {_FEWEST_FOR_UMAP} vectors or more, got {len(vectors)}: take --method=pca")
    import umap as umap_learn

    own = np.arange(len(vectors))[:, None]
    indices = np.concatenate([own, neighbours], axis=1)
    distances = np.concatenate([np.zeros_like(own, "float32"), np.maximum(1 - similarities, 0)], axis=1)
    spread = np.abs(start).max() or 1.0
    reducer = umap_learn.UMAP(
        n_neighbors=indices.shape[1],
        metric="cosine",
        init=(10 * start / spread).astype("float32"),
        precomputed_knn=(indices, distances.astype("float32")),
        random_state=0,
        n_jobs=1,
    )
    return reducer.fit_transform(vectors)
