"""The base of layers with a table for a grid of patches."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

_GRID = "grid"


class GridLayer(keras.layers.Layer):
    """A layer whose weights are for one grid of patches. Keras' files of it hold the grid, and loading compares it.

    The number of rows does not tell the grid: 4 x 4 and 2 x 8 patches have the same. `set_weights` and TensorFlow's
    checkpoints know the number alone.

    Attributes:
        grid: number of patch rows and columns.
    """

    grid: tuple[int, int]
    _refusal = ""

    def save_own_variables(self, store: Any) -> None:
        """As Keras', with the grid."""
        super().save_own_variables(store)
        if self.weights:
            store[_GRID] = np.asarray(self.grid, "int32")

    def load_own_variables(self, store: Any) -> None:
        """As Keras'; a ValueError if the file states another grid."""
        values = {key: store[key] for key in store.keys()}
        of_file = tuple(int(size) for size in values.pop(_GRID, self.grid))
        if of_file != self.grid:
            theirs, ours = ("{} x {}".format(*grid) for grid in (of_file, self.grid))
            self._refusal = (
                f"the file's position embeddings are for {theirs} patches, and the model has {ours}: load it into a "
                "model for the file's grid, and then take its encoder.with_image_shape(...)"
            )
            raise ValueError(self._refusal)
        if self._refusal and not values:
            # Keras 3.15 retries under another name, finds nothing there, and would report that instead
            raise ValueError(self._refusal)
        self._refusal = ""
        super().load_own_variables(values)
