"""LayerScale: a learned gain on a residual branch."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="keras_mae")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel of a residual branch with a learned number that starts small.

    Args:
        initial_value: of every number; 0.1 in BEiT and SimMIM.

    Call arguments:
        branch: tensor `(..., D)`.

    Returns:
        Tensor of the same shape and dtype.

    Reference: arXiv 2103.17239 (CaiT), section 2; arXiv 2106.08254 (BEiT), section 2.5.
    """

    def __init__(self, initial_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape) -> None:
        self.gamma = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.Constant(self.initial_value), name="gamma"
        )

    def call(self, branch):
        return branch * self.gamma

    def compute_output_shape(self, input_shape) -> tuple:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial_value": self.initial_value}
