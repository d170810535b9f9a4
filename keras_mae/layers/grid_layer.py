"""What layers with a table for a grid of patches have in common."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

_GRID = "grid"


class GridLayer(keras.layers.Layer):
    """A layer whose weights are for one grid of patches, which Keras' files (`.keras`, `.weights.h5`) then say, too.

    The number of rows alone does not: 4 x 4 and 2 x 8 patches are as many.

    Attributes:
        grid: number of patch rows and columns.
    """

    grid: tuple[int, int]
    _refusal = ""

    def save_own_variables(self, store: Any) -> None:
        """As Keras', and the grid."""
        super().save_own_variables(store)
        if self.weights:
            store[_GRID] = np.asarray(self.grid, "int32")

    def load_own_variables(self, store: Any) -> None:
        """As Keras'.

        Raises:
            ValueError: if the file says another grid.
        """
        values = {key: store[key] for key in store.keys()}
        of_file = tuple(int(size) for size in values.pop(_GRID, self.grid))
        if of_file != self.grid:
            theirs, ours = ("{} x {}".format(*grid) for grid in (of_file, self.grid))
            self._refusal = (
                f"the file's position embeddings are for {theirs} patches, and the model has {ours}: load it into a "
                "model for the file's grid, and take encoder.with_image_shape(...) of that"
            )
            raise ValueError(self._refusal)
        if self._refusal and not values:
            # Keras 3.15 tries what failed again under another name, finds nothing there, and would tell of that
            raise ValueError(self._refusal)
        self._refusal = ""
        super().load_own_variables(values)
