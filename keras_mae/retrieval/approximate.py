"""Nearest neighbours by an index of faiss, for many queries in more than a million vectors."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import numpy as np

from keras_mae.retrieval.blocks import unit_blocks
from keras_mae.retrieval.cosine import similarities
from keras_mae.retrieval.vectors import Vectors

# With fewer of either, the exact search ends before an index is built
VECTORS, QUERIES = 1_000_000, 10_000
_PER_CELL = 64  # vectors of the sample that the cells' centres are found with
_VISITED = 32  # one cell of so many is searched
_TOGETHER = 1024  # queries


def kind_of_search(count: int, queries: int) -> str:
    """How `nearest` finds the neighbours of so many queries among `count` vectors: `"exact"`, or by which index."""
    if count <= VECTORS or queries < QUERIES or find_spec("faiss") is None:
        return "exact"
    cells = cells_of(count)
    return f"approximate: faiss IVF{cells},Flat, {visited(cells)} of {cells} cells searched"


def cells_of(count: int) -> int:
    """The number of cells for `count` vectors: `4 sqrt(count)`, as faiss' guide to its indices recommends."""
    return round(4 * math.sqrt(count))


def visited(cells: int) -> int:
    """How many cells are searched for a query."""
    return min(cells, max(8, cells // _VISITED))


def indexed(
    vectors: Vectors | np.ndarray, queries: np.ndarray, k: int, exclude: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """`nearest` by an inverted file of faiss: the vectors of some cells near each query are compared exactly.

    Args:
        vectors: `(N, D)`.
        queries: `(M, D)`, of length 1.
        k, exclude, rows: as `nearest` takes them.

    Returns:
        Similarities, float64 `(M, k)`, and indices, int64 `(M, k)`; an index is -1, and its similarity -infinity, if
        the cells hold fewer than `k` vectors.
    """
    import faiss

    count, cells = len(vectors), cells_of(len(vectors))
    index: Any = faiss.index_factory(queries.shape[1], f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    index.nprobe = visited(cells)
    sample = np.sort(np.random.default_rng(0).permutation(count)[: _PER_CELL * cells])
    parts = []
    for start, block in unit_blocks(vectors, rows):
        first, last = np.searchsorted(sample, (start, start + len(block)))
        parts.append(block[sample[first:last] - start])
    index.train(np.concatenate(parts))
    for _, block in unit_blocks(vectors, rows):
        index.add(block)
    index.make_direct_map()
    scores, indices = np.full((len(queries), k), -np.inf), np.full((len(queries), k), -1)
    for begin in range(0, len(queries), _TOGETHER):
        part = slice(begin, begin + _TOGETHER)
        found = index.search(queries[part], min(k + 1, count))[1]
        found[found == exclude[part, None]] = -1
        row, place = np.nonzero(found >= 0)
        values = np.full(found.shape, -np.inf)
        values[row, place] = similarities(
            queries[part], index.reconstruct_batch(found[row, place]), row, np.arange(len(row))
        )
        order = np.lexsort((found, -values), axis=1)[:, :k]
        scores[part], indices[part] = np.take_along_axis(values, order, 1), np.take_along_axis(found, order, 1)
    return scores, indices
