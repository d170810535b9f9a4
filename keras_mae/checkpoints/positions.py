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
    """The grid of a table in a file.

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
    """The grid of a file's table, which the number of rows alone does not tell.

    The first of these counts: the caller's grid, the grid that the file states, the grid of a sin-cos table (by its
    numbers), a square grid.

    Args:
        layer: of the model.
        table: `(rows, D)`, or `(offsets, heads)` for relative positions.
        said: the grid that the file states, or None.
        asked: the grid that the caller gives, or whether a table of another grid may be changed.
        allow_lacking: whether the rows of the prefix tokens may be missing.
    """
    rows = len(table)
    lacks = (0, layer.num_prefix_tokens) if allow_lacking else (0,)

    def lacking_of(grid: Grid | None) -> int | None:
        """How many rows the table lacks of those for this grid; None if it is for another one."""
        missing = None if grid is None else num_rows(layer, grid) - rows
        return missing if missing in lacks else None

    if not isinstance(asked, bool):
        known = (asked[0], asked[1])
        if said not in (None, known):
            return FileGrid(None, 0, f"the file states the grid {_text(said)}, not {_text(known)}")
        lacking = lacking_of(known)
        if lacking is None:
            return FileGrid(None, 0, f"the file has {rows} position embeddings, which are no grid of {_text(known)}")
        return FileGrid(known, lacking)
    grid = said if lacking_of(said) is not None else None
    if grid is None and isinstance(layer, PositionEmbedding):
        grid = sincos_grid(table, layer.num_prefix_tokens, layer.temperature, layer.grid)
    guessed = grid is None
    if guessed:
        squares = [(side, side) for side in range(1, math.isqrt(rows) + 2)]
        fitting = [square for square in squares if lacking_of(square) is not None]
        grid = min(fitting, key=lambda square: lacking_of(square) or 0, default=None)
    if grid is None:
        return FileGrid(
            None, 0,
            f"the file does not state the grid of its {rows} positions, and it is not square: name it, "
            f"resize_positions=(rows, columns); the model's is {_text(layer.grid)}",
        )  # fmt: skip
    lacking = lacking_of(grid) or 0
    if grid == layer.grid or asked:
        return FileGrid(grid, lacking)
    how = "the file does not state its grid, and as a square one it is" if guessed else "the file is for"
    or_ours = f", or resize_positions={layer.grid} if the file's grid is the model's"
    same_count = guessed and num_rows(layer, layer.grid) == rows + lacking
    return FileGrid(
        grid, lacking,
        f"{how} {_text(grid)} patches, and the model has {_text(layer.grid)}: allow resizing with "
        f"resize_positions=True{or_ours if same_count else ''}",
    )  # fmt: skip


def num_rows(layer: PlacedLayer, grid: Grid) -> int:
    """The number of rows of the layer's table on a grid."""
    if isinstance(layer, PositionEmbedding):
        return layer.num_prefix_tokens + grid[0] * grid[1]
    return relative_position_rows(grid, layer.num_prefix_tokens)


def sincos_grid(
    table: np.ndarray, num_prefix_tokens: int, temperature: float = 10000.0, first: Grid | None = None
) -> Grid | None:
    """The grid of a sin-cos table, `first` if that is one; None for any other table."""
    count = len(table) - num_prefix_tokens
    if count < 1 or table.shape[1] % 4:
        return None
    grids = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    grids.sort(key=lambda grid: (grid != first, abs(grid[0] - grid[1])))
    return next((grid for grid in grids if is_sincos(table, grid, num_prefix_tokens, temperature)), None)


def _text(grid: Grid) -> str:
    return "{} x {}".format(*grid)


def table_for(layer: PlacedLayer, table: np.ndarray, old_grid: Grid) -> tuple[np.ndarray, str]:
    """A file's position embeddings for the grid of `layer`, and a sentence for the report.

    If the table and the layer are sin-cos, the table is computed anew; every other table is resized.

    Args:
        layer: of the model.
        table: `(P + old rows * old columns, D)`, or that of relative positions.
        old_grid: (rows, columns) of the file.
    """
    grids = f"{_text(old_grid)} to {_text(layer.grid)}"
    if isinstance(layer, RelativePositionBias):
        new = resize_relative_position_bias(table, old_grid, layer.grid)
        return new, f"relative positions resized from a grid of {grids} (bicubic)"
    if layer.kind == "sincos" and _is_of(layer, table, old_grid):
        note = f"sin-cos position embeddings computed anew, from a grid of {grids}"
        _log.info(note)
        new = sincos_position_embedding(layer.grid, table.shape[1], layer.num_prefix_tokens, layer.temperature)
        return new, note
    new = resize_position_embedding(table, old_grid, layer.grid, layer.num_prefix_tokens)
    return new, f"position embeddings resized from a grid of {grids} (bicubic)"


def note_on_kind(layer: PlacedLayer, table: np.ndarray) -> str | None:
    """A sentence for the report if the layer is sin-cos and the table is not, else None."""
    if not isinstance(layer, PositionEmbedding) or layer.kind != "sincos" or _is_of(layer, table, layer.grid):
        return None
    return (
        "the file's position embeddings are not the sin-cos table of this model: they are used as they are, and not "
        "trained; build the model with position_embedding='learned' to train them, or to resize them with the model"
    )


def is_sincos(table: np.ndarray, grid: Grid, num_prefix_tokens: int, temperature: float = 10000.0) -> bool:
    """Whether a table `(rows, D)` is the sin-cos one of a grid."""
    if table.shape[1] % 4 or len(table) != num_prefix_tokens + grid[0] * grid[1]:
        return False
    expected = sincos_position_embedding(grid, table.shape[1], num_prefix_tokens, temperature)
    return bool(np.abs(np.asarray(table, "float32") - expected).max() < _SINCOS_TOLERANCE)


def _is_of(layer: PositionEmbedding, table: np.ndarray, grid: Grid) -> bool:
    return is_sincos(table, grid, layer.num_prefix_tokens, layer.temperature)
