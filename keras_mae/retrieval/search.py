"""Nearest neighbours by cosine similarity: exact, by blocks of matrix products."""

from __future__ import annotations

import logging

import numpy as np

from keras_mae.retrieval.approximate import indexed, kind_of_search
from keras_mae.retrieval.blocks import progress, unit_blocks
from keras_mae.retrieval.cosine import rounding, similarities, unit_vectors
from keras_mae.retrieval.vectors import Vectors

_log = logging.getLogger("keras_mae")
ROWS, QUERIES = 8192, 1024  # vectors and queries of a matrix product: 32 MiB of similarities


def nearest(
    vectors: Vectors | np.ndarray, queries: np.ndarray, k: int, exclude: np.ndarray | None = None, rows: int = ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` vectors with the largest cosine similarity to each query, the most similar first.

    Both are divided by their lengths on the way. Products of float32 matrices choose the candidates; the similarity of
    a candidate is computed again in float64, so that the result depends neither on the blocks nor on the other
    queries. Of equal similarities the smaller index comes first. Above a million vectors and some ten thousand queries
    an index of faiss is used if it is installed, see `keras_mae.retrieval.approximate`; it says so.

    Args:
        vectors: `(N, D)`, or a file of vectors, which is read block by block.
        queries: `(M, D)`.
        k: how many; all there are if they are fewer.
        exclude: None, or the index of a vector that is left out for each query, -1 for none: int64 `(M,)`. A vector
            that is its own query is left out so.
        rows: vectors in a block.

    Returns:
        Similarities, float32 `(M, k)`, and indices of the vectors, int64 `(M, k)`.

    Raises:
        ValueError: for vectors that are zero or not finite, another length of the queries, or no neighbour at all.

    Example:

    >>> nearest(np.eye(3), np.array([[1.0, 0.1, 0.0]]), k=2)[1]
    array([[0, 1]])
    """
    count, dim = len(vectors), vectors.dim if isinstance(vectors, Vectors) else np.shape(vectors)[1]
    kind = "vector" if queries is vectors else "query"
    queries = np.asarray(queries, "float32")
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f"queries are {dim} wide as the vectors, (M, {dim}); got {queries.shape}")
    if k < 1:
        raise ValueError(f"k is 1 or more, got {k}")
    queries = unit_vectors(queries, kind)
    exclude = np.full(len(queries), -1) if exclude is None else np.asarray(exclude, "int64")
    k = min(k, count - bool((exclude >= 0).any()))
    if k < 1:
        raise ValueError("one vector has no neighbours; embed two images or more")
    how = kind_of_search(count, len(queries))
    if how == "exact":
        scores, indices = _exact(vectors, queries, k, exclude, rows)
    else:
        _log.warning("%s", how)
        scores, indices = indexed(vectors, queries, k, exclude, rows)
        few = np.flatnonzero(indices[:, -1] < 0)
        scores[few], indices[few] = _exact(vectors, queries[few], k, exclude[few], rows)
    return scores.clip(-1, 1).astype("float32"), indices


def _exact(
    vectors: Vectors | np.ndarray, queries: np.ndarray, k: int, exclude: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities, float64 `(M, k)`, and indices for queries of length 1."""
    scores, indices = np.full((len(queries), k), -np.inf), np.full((len(queries), k), -1)
    with progress(len(vectors) * len(queries)) as done:
        for start, block in unit_blocks(vectors, rows) if len(queries) else ():
            for begin in range(0, len(queries), QUERIES):
                part = slice(begin, begin + QUERIES)
                scores[part], indices[part] = _merged(
                    scores[part], indices[part], queries[part], block, start, exclude[part]
                )
                done.update(len(block) * len(queries[part]))
    return scores, indices


def _merged(
    scores: np.ndarray, indices: np.ndarray, queries: np.ndarray, block: np.ndarray, start: int, exclude: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best `(M, k)` of those so far and those of a block."""
    found = queries @ block.T
    own = np.flatnonzero((exclude >= start) & (exclude < start + len(block)))
    found[own, exclude[own] - start] = -np.inf
    k, error = scores.shape[1], rounding(block.shape[1])
    floor = scores[:, -1] - error
    if len(block) > k and np.isneginf(floor).any():  # the first block: without a bound all of it would be candidates
        floor = np.maximum(floor, np.partition(found, -k, axis=1)[:, -k] - 2 * error)
    row, column = np.nonzero(found > floor[:, None].astype("float32"))
    old_row, place = np.nonzero(indices >= 0)
    rows = np.concatenate([old_row, row])
    values = np.concatenate([scores[old_row, place], similarities(queries, block, row, column)])
    places = np.concatenate([indices[old_row, place], column + start])
    order = np.lexsort((places, -values, rows))
    rows = rows[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = rank < k
    scores, indices = np.full_like(scores, -np.inf), np.full_like(indices, -1)
    scores[rows[kept], rank[kept]], indices[rows[kept], rank[kept]] = values[order][kept], places[order][kept]
    return scores, indices
