"""Position embeddings on a grid of patches: fixed sin-cos, or learned, and their resizing."""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.layers.grid_layer import GridLayer

_log = logging.getLogger("keras_mae")
KINDS = ("sincos", "learned", None)


def sincos_position_embedding(
    grid: tuple[int, int], dim: int, num_prefix_tokens: int = 0, temperature: float = 10000.0
) -> np.ndarray:
    """MAE's fixed two-dimensional sin-cos table.

    The first half of the width encodes the column, the second the row; in each half the sines come first.
    With `w_k = temperature^(-k / (dim / 4))`, `k = 0 ... dim/4 - 1`, half of a row is `[sin(p w), cos(p w)]`.
    (big_vision's variant divides by `dim / 4 - 1`; this follows MAE.)

    Args:
        grid: number of patch rows and columns.
        dim: width, divisible by 4.
        num_prefix_tokens: this many rows of zeros come first (the class token's).
        temperature: 10,000 in the papers. On a grid of a few patches most of its waves hardly change from one side
            to the other; small models tell positions apart far sooner with a small one, such as 10.

    Returns:
        float32 array `(num_prefix_tokens + rows * columns, dim)`.

    Raises:
        ValueError: if `dim` is not divisible by 4.

    Reference: arXiv 2111.06377, section "Implementation details"; arXiv 1706.03762, section 3.5.
    """
    if dim % 4:
        raise ValueError(f"sin-cos position embeddings need a width divisible by 4, got {dim}; use kind='learned'")
    rows, columns = grid
    frequencies = temperature ** (-np.arange(dim // 4, dtype="float64") / (dim / 4))
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    angles = [position.reshape(-1, 1) * frequencies for position in (x, y)]  # 2 of (L, dim / 4)
    table = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1)
    return np.concatenate([np.zeros((num_prefix_tokens, dim)), table]).astype("float32")


def _bicubic_matrix(old: int, new: int) -> np.ndarray:
    """The `(new, old)` matrix of a bicubic resize with half-pixel centres, Keys' a = -0.75, edges repeated."""
    centre = (np.arange(new) + 0.5) * old / new - 0.5
    left = np.floor(centre).astype(int)
    matrix = np.zeros((new, old))
    a = -0.75
    for tap in range(-1, 3):
        distance = np.abs(centre - (left + tap))
        near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
        weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
        np.add.at(matrix, (np.arange(new), np.clip(left + tap, 0, old - 1)), weight)
    return matrix


def resize_position_embedding(
    table: np.ndarray, old_grid: tuple[int, int], new_grid: tuple[int, int], num_prefix_tokens: int
) -> np.ndarray:
    """Resizes a table of position embeddings to another grid, bicubic, and logs the resize.

    The rows of the prefix tokens do not change. The numbers are those of PyTorch's
    `interpolate(mode="bicubic", align_corners=False)`, which the field uses (TensorFlow's bicubic has another kernel,
    a = -0.5).

    Args:
        table: float array `(num_prefix_tokens + old rows * old columns, D)`.
        old_grid, new_grid: (rows, columns).
        num_prefix_tokens: rows of `table` that belong to no patch.

    Returns:
        float32 array `(num_prefix_tokens + new rows * new columns, D)`.
    """
    table = np.asarray(table)
    rows = num_prefix_tokens + old_grid[0] * old_grid[1]
    if len(table) != rows:
        raise ValueError(
            f"a table for {num_prefix_tokens} prefix tokens and a grid of {old_grid[0]} x {old_grid[1]} has {rows} "
            f"rows, got {len(table)}"
        )
    if tuple(old_grid) == tuple(new_grid):
        return table.astype("float32")
    _log.info("position embeddings resized from a %d x %d to a %d x %d grid (bicubic)", *old_grid, *new_grid)
    prefix, patches = table[:num_prefix_tokens], table[num_prefix_tokens:].astype("float64")
    patches = patches.reshape(*old_grid, -1)
    down, across = (_bicubic_matrix(old, new) for old, new in zip(old_grid, new_grid, strict=True))
    patches = np.einsum("ri,cj,ijd->rcd", down, across, patches, optimize=True)
    return np.concatenate([prefix, patches.reshape(new_grid[0] * new_grid[1], -1)]).astype("float32")


@keras.saving.register_keras_serializable(package="keras_mae")
class PositionEmbedding(GridLayer):
    """Adds a position embedding to each patch token.

    The table has a row for each prefix token, then one for each patch, row by row. A fixed table is a weight that is
    not trained, not a constant, as published checkpoints hold theirs.

    Args:
        grid: number of patch rows and columns.
        num_prefix_tokens: rows before those of the patches.
        kind: `"sincos"` (fixed, as in MAE; zeros for the prefix), `"learned"` (normal, std 0.02), or None, which adds
            nothing and has no table.
        temperature: of the sin-cos table.

    Call arguments:
        patch_tokens: tensor `(B, N, D)`.
        ids: None if the tokens are all patches in order, else int tensor `(B, N)`, the patch of each token.

    Returns:
        Tensor `(B, N, D)`.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        num_prefix_tokens: int = 0,
        kind: str | None = "sincos",
        temperature: float = 10000.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise ValueError(f"a position embedding is one of {', '.join(map(str, KINDS))}; got {kind!r}")
        if not temperature > 0:
            raise ValueError(f"the temperature of position embeddings is above 0, got {temperature!r}")
        self.grid, self.num_prefix_tokens = (grid[0], grid[1]), num_prefix_tokens
        self.kind, self.temperature = kind, temperature

    def build(self, input_shape) -> None:
        dim, rows = input_shape[-1], self.num_prefix_tokens + self.grid[0] * self.grid[1]
        if self.kind is None:
            return
        if self.kind == "sincos":
            table = sincos_position_embedding(self.grid, dim, self.num_prefix_tokens, self.temperature)

            def initializer(shape, dtype=None):
                return tf.cast(table, dtype)
        else:
            initializer = keras.initializers.RandomNormal(stddev=0.02)
        self.table = self.add_weight(
            shape=(rows, dim), initializer=initializer, trainable=self.kind == "learned", name="table"
        )

    def prefix(self) -> tf.Tensor:
        """The rows of the prefix tokens, `(num_prefix_tokens, D)`; a scalar zero without a table."""
        if self.kind is None:
            return tf.zeros([])
        return tf.convert_to_tensor(self.table)[: self.num_prefix_tokens]

    def call(self, patch_tokens, ids=None):
        if self.kind is None:
            return patch_tokens
        positions = tf.convert_to_tensor(self.table)[self.num_prefix_tokens :]  # (L, D)
        if ids is not None:
            positions = tf.gather(positions, ids)  # (B, N, D)
        return patch_tokens + positions

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        own = ("grid", "num_prefix_tokens", "kind", "temperature")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
