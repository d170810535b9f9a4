"""Vectors block by block, and the progress of work on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from keras_mae.progress import PlainLines, draws_bars
from keras_mae.retrieval.cosine import unit_vectors
from keras_mae.retrieval.vectors import Vectors


def blocks_of(vectors: Vectors | np.ndarray, rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields `(start, vectors)`, float32 `(n, D)`, of a file or an array."""
    if isinstance(vectors, Vectors):
        yield from vectors.blocks(rows)
        return
    for start in range(0, len(vectors), rows):
        yield start, np.asarray(vectors[start : start + rows], "float32")


def progress(pairs: int) -> tqdm | PlainLines:
    """A bar that counts pairs of vectors, and disappears at its end; none appears for work of some seconds."""
    if not draws_bars():
        return PlainLines(pairs, description="compared", unit="pairs", leave=False)
    return tqdm(total=pairs, unit="pair", unit_scale=True, delay=5, leave=False)


def unit_blocks(vectors: Vectors | np.ndarray, rows: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yields `(start, vectors)` as `blocks_of`, of length 1."""
    for start, block in blocks_of(vectors, rows):
        yield start, unit_vectors(block, start=start)


def rows_at(vectors: Vectors | np.ndarray, index: np.ndarray, rows: int = 8192) -> np.ndarray:
    """The vectors at some indices, float32 `(n, D)`."""
    order = np.argsort(index, kind="stable")
    parts = []
    for start, block in blocks_of(vectors, rows):
        first, last = np.searchsorted(index[order], (start, start + len(block)))
        parts.append(block[index[order[first:last]] - start])
    found = np.concatenate(parts)
    found[order] = found.copy()
    return found
