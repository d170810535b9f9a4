"""Position embeddings of one image size for a model of another."""

from __future__ import annotations

import dataclasses
import logging
import math

import numpy as np

from keras_mae.layers import (
    PositionEmbedding,
    RelativePositionBias,
    resize_position_embedding,
    resize_relative_position_bias,
    sincos_position_embedding,
)
from keras_mae.layers.relative_position_bias import relative_position_rows

Grid = tuple[int, int]
PlacedLayer = PositionEmbedding | RelativePositionBias

_log = logging.getLogger("keras_mae")
# float32 rounding of sines, and of tables computed in float32; another formula differs by 0.01 and more
_SINCOS_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class FileGrid:
    """What is known of the grid of a table in a file.

    Attributes:
        grid: (rows, columns), or None if it is not known.
        lacking: how many rows of prefix tokens the table lacks: one, where the class token has no position.
        trouble: why the table cannot be used, or "".
    """

    grid: Grid | None
    lacking: int = 0
    trouble: str = ""


def grid_in_file(
    layer: PlacedLayer, table: np.ndarray, said: Grid | None, asked: bool | Grid, allow_lacking: bool
) -> FileGrid:
    """The grid that a file's table is for; the number of rows alone does not say it.

    It is what the caller says, else what the file says, else that of the sin-cos table which it is, else a square one.

    Args:
        layer: of the model.
        table: `(rows, D)`, or `(offsets, heads)` for relative positions.
        said: the grid as the file says it.
        asked: the grid as the caller knows it, or whether a table of another grid may be changed.
        allow_lacking: whether the prefix tokens' rows may be left out.
    """
    ours = "{} x {}".format(*layer.grid)
    lacks = (0, layer.num_prefix_tokens) if allow_lacking and layer.num_prefix_tokens else (0,)
    if not isinstance(asked, bool):
        known = (asked[0], asked[1])
        if said is not None and said != known:
            return FileGrid(None, 0, f"the file says that its grid is {_text(said)}, not {_text(known)}")
        for lacking in lacks:
            if num_rows(layer, known) == len(table) + lacking:
                return FileGrid(known, lacking)
        return FileGrid(None, 0, f"the file has {len(table)} position embeddings, which are no grid of {_text(known)}")
    known_by, found = "the file is for", FileGrid(None)
    for lacking in lacks:
        if said is not None and num_rows(layer, said) == len(table) + lacking:
            found = FileGrid(said, lacking)
    if found.grid is None and isinstance(layer, PositionEmbedding):
        found = FileGrid(_grid_of_sincos(layer, table))
    if found.grid is None:
        known_by = "the file does not say its grid, and as a square one it is"
        for lacking in lacks:
            found = found if found.grid is not None else FileGrid(_square(layer, len(table) + lacking), lacking)
    if found.grid is None:
        return FileGrid(
            None, 0,
            f"the file does not say the grid of its {len(table)} positions, and it is not square: name it, "
            f"resize_positions=(rows, columns); the model's is {ours}",
        )  # fmt: skip
    if found.grid != layer.grid and not asked:
        own = ""
        if known_by.startswith("the file does") and num_rows(layer, layer.grid) == len(table) + found.lacking:
            own = f", or resize_positions={layer.grid} if the file's grid is the model's"
        return FileGrid(
            found.grid, found.lacking,
            f"{known_by} {_text(found.grid)} patches, and the model has {ours}: allow their resizing with "
            f"resize_positions=True{own}",
        )  # fmt: skip
    return found


def num_rows(layer: PlacedLayer, grid: Grid) -> int:
    """How many rows the layer's table has on a grid."""
    if isinstance(layer, PositionEmbedding):
        return layer.num_prefix_tokens + grid[0] * grid[1]
    return relative_position_rows(grid, layer.num_prefix_tokens)


def _square(layer: PlacedLayer, rows: int) -> Grid | None:
    return next(
        ((side, side) for side in range(1, math.isqrt(rows) + 2) if num_rows(layer, (side, side)) == rows), None
    )


def _grid_of_sincos(layer: PositionEmbedding, table: np.ndarray) -> Grid | None:
    """The grid of a sin-cos table, which is in its numbers; None for another table."""
    count = len(table) - layer.num_prefix_tokens
    if count < 1 or table.shape[1] % 4:
        return None
    grids = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    grids.sort(key=lambda grid: (grid != layer.grid, abs(grid[0] - grid[1])))
    return next((grid for grid in grids if _is_sincos(table, grid, layer)), None)


def _text(grid: Grid) -> str:
    return "{} x {}".format(*grid)


def table_for(layer: PlacedLayer, table: np.ndarray, old_grid: Grid) -> tuple[np.ndarray, str]:
    """A file's position embeddings for the grid of `layer`, and a sentence on what was done.

    A sin-cos table is computed anew if the layer is of that kind; everything else is resized.

    Args:
        layer: of the model.
        table: `(P + old rows * old columns, D)`, or that of relative positions.
        old_grid: (rows, columns) of the file.
    """
    grids = "{} x {} to {} x {}".format(*old_grid, *layer.grid)
    if isinstance(layer, RelativePositionBias):
        new = resize_relative_position_bias(table, old_grid, layer.grid)
        return new, f"relative positions resized from a grid of {grids} (bicubic)"
    if layer.kind == "sincos" and _is_sincos(table, old_grid, layer):
        _log.info("sin-cos position embeddings computed anew, from a grid of %s", grids)
        return _sincos(layer, layer.grid, table.shape[1]), (
            f"sin-cos position embeddings computed anew, from a grid of {grids}"
        )
    new = resize_position_embedding(table, old_grid, layer.grid, layer.num_prefix_tokens)
    return new, f"position embeddings resized from a grid of {grids} (bicubic)"


def note_on_kind(layer: PlacedLayer, table: np.ndarray) -> str | None:
    """A sentence if the table is not what the layer's kind says, else None."""
    if not isinstance(layer, PositionEmbedding) or layer.kind != "sincos" or _is_sincos(table, layer.grid, layer):
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
