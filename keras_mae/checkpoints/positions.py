"""Position embeddings of one image size for a model of another."""

from __future__ import annotations

import logging
import math

import numpy as np

from keras_mae.layers import PositionEmbedding, resize_position_embedding, sincos_position_embedding

_log = logging.getLogger("keras_mae")
# float32 rounding of sines, and of tables computed in float32; another formula differs by 0.01 and more
_SINCOS_TOLERANCE = 1e-4


def grid_of_table(num_patches: int, model_grid: tuple[int, int], asked: bool | tuple[int, int]) -> tuple[int, int]:
    """The grid (rows, columns) of a file's position embeddings, which the file itself does not say.

    Args:
        num_patches: number of the embeddings, those of prefix tokens left out.
        model_grid: the model's grid.
        asked: the grid as the caller knows it; or True for a square one (or the model's own, if the number is not a
            square).

    Raises:
        ValueError: if that is not possible.
    """
    if isinstance(asked, bool):
        side = math.isqrt(max(num_patches, 0))
        if side * side == num_patches:
            return side, side
        if num_patches == model_grid[0] * model_grid[1]:
            return model_grid
        raise ValueError(
            f"the file's {num_patches} position embeddings are no square grid: name it, "
            "resize_positions=(rows, columns)"
        )
    rows, columns = asked
    if rows * columns != num_patches:
        raise ValueError(f"the file has {num_patches} position embeddings, which are no grid of {rows} x {columns}")
    return rows, columns


def table_for(layer: PositionEmbedding, table: np.ndarray, old_grid: tuple[int, int]) -> tuple[np.ndarray, str]:
    """A file's position embeddings for the grid of `layer`, and a sentence on what was done.

    A sin-cos table is computed anew if the layer is of that kind; everything else is resized.

    Args:
        layer: of the model.
        table: `(P + old rows * old columns, D)`.
        old_grid: (rows, columns) of the file.
    """
    grids = "{} x {} to {} x {}".format(*old_grid, *layer.grid)
    if layer.kind == "sincos" and _is_sincos(table, old_grid, layer):
        _log.info("sin-cos position embeddings computed anew, from a grid of %s", grids)
        return _sincos(layer, layer.grid, table.shape[1]), (
            f"sin-cos position embeddings computed anew, from a grid of {grids}"
        )
    new = resize_position_embedding(table, old_grid, layer.grid, layer.num_prefix_tokens)
    return new, f"position embeddings resized from a grid of {grids} (bicubic)"


def note_on_kind(layer: PositionEmbedding, table: np.ndarray) -> str | None:
    """A sentence if the table is not what the layer's kind says, else None."""
    if layer.kind != "sincos" or _is_sincos(table, layer.grid, layer):
        return None
    return (
        "the file's position embeddings are not the sin-cos table of this model: they are used as they are, and not "
        "trained; build the model with position_embedding='learned' to train them, or to resize them with the model"
    )


def _sincos(layer: PositionEmbedding, grid: tuple[int, int], dim: int) -> np.ndarray:
    return sincos_position_embedding(grid, dim, layer.num_prefix_tokens, layer.temperature)


def _is_sincos(table: np.ndarray, grid: tuple[int, int], layer: PositionEmbedding) -> bool:
    difference = np.abs(np.asarray(table, "float32") - _sincos(layer, grid, table.shape[1]))
    return bool(difference.max() < _SINCOS_TOLERANCE)
