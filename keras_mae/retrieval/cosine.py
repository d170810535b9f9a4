"""Cosine similarities of single pairs, and vectors of length 1."""

from __future__ import annotations

import numpy as np

_PAIRS = 8192  # at a time
_SAFE = (1e-30, 1e30)  # squared lengths between these are exact enough in float32


def unit_vectors(vectors: np.ndarray, kind: str = "vector", start: int = 0) -> np.ndarray:
    """Vectors divided by their lengths, float32 `(n, D)`.

    Args:
        vectors: `(n, D)`.
        kind: the word for one of them in an error's message.
        start: the index of the first one, for the message.

    Raises:
        ValueError: for a vector that is zero or not finite, which has no direction.
    """
    vectors = np.asarray(vectors, "float32")
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(vectors).sum(axis=1)
    odd = np.flatnonzero(~((squares > _SAFE[0]) & (squares < _SAFE[1])))
    for index in odd:
        if not np.isfinite(vectors[index]).all():
            raise ValueError(f"{kind} {start + index} is not finite: the weights, or the image's values, are damaged")
        if not vectors[index].any():
            raise ValueError(f"{kind} {start + index} is all zeros, and has no direction: leave it out")
    squares[odd] = 1
    units = vectors / np.sqrt(squares)[:, None]
    for index in odd:
        wide = vectors[index].astype("float64")
        units[index] = wide / np.linalg.norm(wide)
    return units


def rounding(dim: int) -> float:
    """Bounds the difference of a float32 product of two `unit_vectors` and their cosine, however its sum is grouped.

    The product's error is at most `D u / (1 - D u)` with `u = 2^-24`, and that of the two lengths as large again.

    Reference: N. Higham, Accuracy and Stability of Numerical Algorithms (2002), section 3.1.
    """
    return 2.02 * (dim + 8) * 2.0**-24


def similarities(a: np.ndarray, b: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The cosines of `a[row]` and `b[column]`, float64 `(n,)`: each depends on its two vectors only."""
    found = np.empty(len(row))
    for begin in range(0, len(row), _PAIRS):
        part = slice(begin, begin + _PAIRS)
        x, y = a[row[part]].astype("float64"), b[column[part]].astype("float64")
        found[part] = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return found
