"""Two coordinates for each vector: the places on a map."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np

from keras_mae import _compat

METHODS = ("pca", "umap")
UMAP_NEIGHBOURS = 15  # umap-learn's default; each vector itself is among them
_FEWEST_FOR_UMAP = 4
_ROWS = 8192  # so many vectors are in memory as float64 at once


def check_method(method: str) -> None:
    """Raises an `ImportError` if the package that a method of projection needs is not installed."""
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise ImportError("a map by UMAP needs umap-learn: pip install 'keras-mae[umap]', or take --method=pca")


def pca(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Projects vectors on their two principal components.

    The eigen-decomposition leaves the sign of a component open: here its largest entry is positive.

    Args:
        vectors: float `(N, D)`.

    Returns:
        float64 `(N, 2)`, and the shares of the variance that the two have, float64 `(2,)`. What does not exist, the
        second component of vectors of length 1 for instance, is 0.
    """
    mean = vectors.mean(axis=0, dtype="float64")
    blocks = [vectors[start : start + _ROWS] for start in range(0, len(vectors), _ROWS)]
    covariance = sum((block - mean).T @ (block - mean) for block in blocks) / len(vectors)
    variances, components = np.linalg.eigh(covariance)
    axes = components[:, ::-1][:, :2]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    axes = axes * np.sign(largest)
    total = variances.sum()
    shares = np.maximum(variances[::-1][:2], 0) / total if total > 0 else np.zeros(axes.shape[1])
    points = np.concatenate([(block - mean) @ axes for block in blocks])
    missing = 2 - axes.shape[1]
    return np.pad(points, ((0, 0), (0, missing))), np.pad(shares, (0, missing))


def umap(vectors: np.ndarray, indices: np.ndarray, similarities: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Projects vectors by UMAP, which keeps neighbours together; distances between groups say little.

    Two runs on one machine give the same map.

    Args:
        vectors: float32 `(N, D)`.
        indices: of the nearest other vectors of each, integers `(N, k)`; 14 of them are used.
        similarities: cosine similarities of these, `(N, k)`.
        start: `(N, 2)`, a map by PCA to begin with.

    Returns:
        float32 `(N, 2)`.

    Raises:
        ValueError: for fewer than 4 vectors, or if UMAP fails.

    Reference:
        McInnes, Healy and Melville, arXiv 1802.03426, by its authors' package umap-learn.
    """
    if len(vectors) < _FEWEST_FOR_UMAP:
        raise ValueError(f"UMAP needs {_FEWEST_FOR_UMAP} images or more, got {len(vectors)}: take --method=pca")
    nearest = np.concatenate([np.arange(len(vectors))[:, None], indices], axis=1)
    distances = np.concatenate([np.zeros((len(vectors), 1)), np.maximum(1 - similarities, 0)], axis=1)
    spread = np.abs(start).max()
    if spread == 0:  # all vectors are equal
        return start.astype("float32")
    reducer = _compat.umap_class()(
        n_neighbors=min(UMAP_NEIGHBOURS, nearest.shape[1]),
        metric="cosine",
        precomputed_knn=(nearest, distances.astype("float32")),
        init=(10 * start / spread).astype("float32"),  # umap-learn's own starts have this size
        random_state=0,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that new vectors cannot be projected, and that one thread is slower
        points = reducer.fit_transform(vectors)
    if not np.isfinite(points).all():
        raise ValueError("UMAP finds no place for some of these vectors (NaN): take --method=pca")
    return points
