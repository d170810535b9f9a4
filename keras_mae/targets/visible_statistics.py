"""What the visible patches tell of the hidden ones: interpolation on the grid of patches."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def interpolate_visible(values, mask, grid: tuple[int, int]) -> tf.Tensor:
    """Numbers of patches, those of hidden patches replaced by a mean over all visible ones.

    A visible patch at a distance of d patches has the weight `1 / d**4`: near ones count, and there is always one.

    Args:
        values: float32 `(B, L, 1)`, a number a patch.
        mask: `(B, L)`, 1 = hidden; a row has at least one 0.
        grid: rows and columns of patches, `L` in all.

    Returns:
        float32 `(B, L, 1)`; it does not depend on the numbers of hidden patches.

    Reference: "A two-dimensional interpolation function for irregularly-spaced data", 1968 (inverse distances).
    """
    places = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), axis=-1).reshape(-1, 2)
    squared = np.square(places[:, None] - places).sum(axis=-1).astype("float32")  # (L, L)
    weights = 1 / np.square(squared + np.eye(len(places), dtype="float32"))  # a patch itself is visible, or counts 0
    visible = tf.cast(mask[..., None] == 0, tf.float32)  # (B, L, 1)
    seen = tf.where(visible > 0, values, 0.0)
    mean = tf.math.divide_no_nan(tf.matmul(weights, seen), tf.matmul(weights, visible))
    return tf.where(visible > 0, values, mean)
