"""Relative positions: a learned number for each offset between two patches, added to the attention's logits."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.layers.grid_layer import GridLayer
from keras_mae.layers.position_embedding import resize_position_embedding

_OF_PREFIX = 3  # rows for prefix to patch, patch to prefix, and prefix to prefix


def relative_position_index(grid: tuple[int, int], num_prefix_tokens: int = 0) -> np.ndarray:
    """The row in a table of relative positions for each pair of tokens.

    The query of a patch in row `r` and column `c` and the key of one in `r'` and `c'` have the row
    `(r - r' + R - 1) (2 C - 1) + (c - c' + C - 1)` on a grid of `R` rows and `C` columns. With prefix tokens three rows
    follow: for a prefix token's query and a patch's key, a patch's query and a prefix token's key, and both of prefix
    tokens.

    Args:
        grid: number of patch rows and columns, `(R, C)`.
        num_prefix_tokens: tokens before those of the patches, `P`.

    Returns:
        int32 array `(P + R C, P + R C)`, queries along the first axis.

    Reference: arXiv 2103.14030 (Swin), equation 4; arXiv 2106.08254 (BEiT), whose order of rows this is.
    """
    rows, columns = grid
    row, column = (axis.reshape(-1) for axis in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    down, across = (axis[:, None] - axis[None, :] for axis in (row, column))
    offsets = (down + rows - 1) * (2 * columns - 1) + across + columns - 1
    first = _num_offsets(grid)
    index = np.full((num_prefix_tokens + rows * columns,) * 2, first + 2)
    index[:num_prefix_tokens, num_prefix_tokens:] = first
    index[num_prefix_tokens:, :num_prefix_tokens] = first + 1
    index[num_prefix_tokens:, num_prefix_tokens:] = offsets
    return index.astype("int32")


def resize_relative_position_bias(
    table: np.ndarray, old_grid: tuple[int, int], new_grid: tuple[int, int]
) -> np.ndarray:
    """Resizes a table of relative positions to another grid, bicubic over the offsets.

    It is `resize_position_embedding` on the `(2 R - 1, 2 C - 1)` offsets, as Swin resizes its tables; the rows of
    prefix tokens do not change. (BEiT's code interpolates between offsets in geometric progression instead, for square
    grids.)

    Args:
        table: float array `((2 R - 1)(2 C - 1) + 0 or 3, heads)`.
        old_grid, new_grid: (rows, columns).

    Returns:
        float32 array of the same width.
    """
    extra = len(table) - _num_offsets(old_grid)
    old, new = ((2 * grid[0] - 1, 2 * grid[1] - 1) for grid in (old_grid, new_grid))
    return np.roll(resize_position_embedding(np.roll(table, extra, axis=0), old, new, extra), -extra, axis=0)


def relative_position_rows(grid: tuple[int, int], num_prefix_tokens: int = 0) -> int:
    """The number of rows of a table of relative positions."""
    return _num_offsets(grid) + (_OF_PREFIX if num_prefix_tokens else 0)


def _num_offsets(grid: tuple[int, int]) -> int:
    return (2 * grid[0] - 1) * (2 * grid[1] - 1)


@keras.saving.register_keras_serializable(package="keras_mae")
class RelativePositionBias(GridLayer):
    """A bias on the attention's logits for each head and each offset between two patches.

    `softmax(q k^T / sqrt(head_dim) + bias) v`; initially zeros.

    Args:
        grid: number of patch rows and columns, `(R, C)`.
        num_heads: attention heads.
        num_prefix_tokens: tokens before those of the patches, which have three more rows in the table.

    Call arguments:
        ids: None for all patches, or int `(B, K)`, the patches of the sequence, in order.

    Returns:
        `(heads, N, N)` for all patches, or `(B, heads, N, N)`; `N` counts the prefix tokens.

    Reference: arXiv 2103.14030, section 3.2; arXiv 2111.09886, appendix A ("relative position bias").
    """

    def __init__(self, grid: tuple[int, int], num_heads: int, num_prefix_tokens: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.grid, self.num_heads, self.num_prefix_tokens = (grid[0], grid[1]), num_heads, num_prefix_tokens
        self._index = relative_position_index(self.grid, num_prefix_tokens)

    def build(self, input_shape=None) -> None:
        rows = relative_position_rows(self.grid, self.num_prefix_tokens)
        self.table = self.add_weight(shape=(rows, self.num_heads), initializer="zeros", name="table")

    def call(self, ids=None):
        table = tf.convert_to_tensor(self.table)
        if ids is None:
            return tf.transpose(tf.gather(table, self._index), [2, 0, 1])
        prefix = tf.zeros_like(ids[:, :1]) + tf.range(self.num_prefix_tokens, dtype=ids.dtype)  # (B, P)
        tokens = tf.concat([prefix, ids + self.num_prefix_tokens], axis=1)  # (B, N)
        index = tf.gather(tf.gather(self._index, tokens), tokens, axis=2, batch_dims=1)  # (B, N, N)
        return tf.transpose(tf.gather(table, index), [0, 3, 1, 2])

    def compute_output_shape(self, input_shape=None) -> tuple:
        return (self.num_heads, *self._index.shape)

    def get_config(self) -> dict[str, Any]:
        own = ("grid", "num_heads", "num_prefix_tokens")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def relative_positions(
    kind: str | None, num_layers: int, grid: tuple[int, int], num_heads: int, num_prefix_tokens: int, dtype: Any
) -> list[RelativePositionBias]:
    """The layers of an encoder: none for None, one for all of its blocks for `"shared"`, or one `"per_block"`."""
    counts = {None: 0, "shared": 1, "per_block": num_layers}
    if kind not in counts:
        raise ValueError(f"relative_position_bias is one of {', '.join(map(repr, counts))}; got {kind!r}")
    return [
        RelativePositionBias(grid, num_heads, num_prefix_tokens, name=f"relative_positions_{index}", dtype=dtype)
        for index in range(counts[kind])
    ]
