"""What all decoders have in common."""

from __future__ import annotations

from typing import Any

import keras

from keras_mae.masking import Mask
from keras_mae.models.freezing import freeze_inside


class AttachedDecoder(keras.layers.Layer):
    """From the encoder's tokens to a prediction for each patch.

    The model that owns a decoder calls `attach` once, which tells it the sizes around it and makes its weights.
    """

    _surroundings: tuple[int, tuple[int, int], int, int] | None = None

    @property
    def surroundings(self) -> tuple[int, tuple[int, int], int, int]:
        """Width of the encoder's tokens, grid, number of prefix tokens, width of the prediction for one patch.

        Raises:
            ValueError: if the decoder was not attached to a model yet.
        """
        if self._surroundings is None:
            raise ValueError("a decoder needs to know its surroundings: pass it to a model, or call attach")
        return self._surroundings

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before those of the patches."""
        return self.surroundings[2]

    def attach(self, input_dim: int, grid: tuple[int, int], num_prefix_tokens: int, output_dim: int) -> None:
        """Makes the weights for these surroundings.

        Args:
            input_dim: width `D` of the encoder's tokens.
            grid: number of patch rows and columns.
            num_prefix_tokens: tokens before those of the patches.
            output_dim: width of the prediction for one patch, `target.dim`.

        Raises:
            ValueError: if it was attached to other surroundings before.
        """
        surroundings = (input_dim, (grid[0], grid[1]), num_prefix_tokens, output_dim)
        if self._surroundings not in (None, surroundings):
            raise ValueError(
                "this decoder belongs to a model with (encoder width, grid, prefix tokens, target width) = "
                f"{self._surroundings}, and cannot serve one with {surroundings}; make another decoder"
            )
        if self._surroundings is None:
            self._surroundings = surroundings
            self.build((None, None, input_dim))
            freeze_inside(self)

    def compute_output_shape(self, input_shape) -> tuple:
        _, (rows, columns), _, output_dim = self.surroundings
        return (input_shape[0], rows * columns, output_dim)

    def call(self, tokens, mask: Mask, masked_only=False):
        """Tokens `(B, N, D)` to predictions `(B, L, dim)`, or of the masked patches alone `(B, L - K, dim)`."""
        raise NotImplementedError

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables that are not decayed."""
        return [variable for variable in self.weights if variable.trainable and len(variable.shape) <= 1]

    def get_build_config(self) -> dict[str, Any] | None:
        return {"surroundings": self._surroundings} if self.built else None

    def build_from_config(self, config: dict[str, Any]) -> None:
        input_dim, grid, num_prefix_tokens, output_dim = config["surroundings"]
        self.attach(input_dim, tuple(grid), num_prefix_tokens, output_dim)
