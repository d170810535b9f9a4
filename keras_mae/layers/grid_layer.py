"""The base of layers with a table for a grid of patches."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_GRID = "grid"


class GridLayer(keras.layers.Layer):
    """A layer whose weights are for one grid of patches, which its saved states hold and loading checks.

    The number of rows does not tell the grid: 4 x 4 and 2 x 8 patches have the same. The grid is in Keras' files
    (`.keras`, `.weights.h5`) and in TensorFlow's checkpoints; `set_weights` takes bare arrays, and cannot check it.

    Attributes:
        grid: number of patch rows and columns.
    """

    grid: tuple[int, int]
    _refusal = ""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._grid_in_checkpoint = _GridInCheckpoint(self)

    def check_grid(self, grid: tuple[int, ...]) -> None:
        """Raises a ValueError if the table of a file or checkpoint is for another grid."""
        if grid == self.grid:
            return
        theirs, ours = ("{} x {}".format(*each) for each in (grid, self.grid))
        self._refusal = (
            f"the file's position embeddings are for {theirs} patches, and the model has {ours}: load it into a model "
            "for the file's grid, and then take its encoder.with_image_shape(...)"
        )
        raise ValueError(self._refusal)

    def save_own_variables(self, store: Any) -> None:
        """As Keras', with the grid."""
        super().save_own_variables(store)
        if self.weights:
            store[_GRID] = np.asarray(self.grid, "int32")

    def load_own_variables(self, store: Any) -> None:
        """As Keras'; a ValueError if the file states another grid."""
        values = {key: store[key] for key in store.keys()}
        if self._refusal and not values:
            # Keras 3.15 retries under another name, finds nothing there, and would report that instead
            raise ValueError(self._refusal)
        self.check_grid(tuple(int(size) for size in values.pop(_GRID, self.grid)))
        self._refusal = ""
        super().load_own_variables(values)


@dataclasses.dataclass(eq=False)  # TensorFlow needs hashes
class _GridInCheckpoint(tf.train.experimental.PythonState):
    """The grid in TensorFlow's checkpoints, which restore it before any variable; empty without a table."""

    layer: GridLayer

    def serialize(self) -> str:
        return "{} {}".format(*self.layer.grid) if self.layer.weights else ""

    def deserialize(self, string_value: bytes) -> None:
        if string_value and self.layer.weights:
            self.layer.check_grid(tuple(map(int, string_value.split())))
