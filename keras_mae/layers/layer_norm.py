"""LayerNorm."""

from __future__ import annotations

from typing import Any

import keras

from keras_mae.layers.kernels import with_kernel


@keras.saving.register_keras_serializable(package="keras_mae")
class LayerNorm(keras.layers.LayerNormalization):
    """Keras' `LayerNormalization` over the last axis, with a gain and an offset.

    Args:
        epsilon: added to the variance.

    Reference: arXiv 1607.06450.
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs: Any) -> None:
        if not epsilon > 0:
            raise ValueError(f"the epsilon of a LayerNorm is above 0, got {epsilon!r}")
        super().__init__(epsilon=epsilon, **kwargs)

    @with_kernel("layer_norm")
    def call(self, inputs):
        return super().call(inputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {key: config[key] for key in ("name", "trainable", "dtype", "epsilon")}
