"""The linear head of a segmenter."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="keras_mae")
class LinearMasks(keras.layers.Layer):
    """One linear layer from the token of a patch to the logits of its classes, a 1 x 1 convolution.

    It computes in float32 under any policy. The kernel starts from a normal distribution of standard deviation 0.01.

    Args:
        num_classes: number of classes `K`.
        batch_norm: whether a BatchNorm without affine parameters comes before it, over all patches of a batch. A probe
            needs it, as the tokens of a frozen encoder differ much in scale.

    Call arguments:
        features: patch tokens `(B, rows, columns, D)`.
        training: whether BatchNorm uses the batch.

    Returns:
        Logits `(B, rows, columns, K)`, float32.

    Reference: arXiv 2304.07193 (DINOv2), section 7.4, "lin.", and `BNHead` of its code (Apache-2.0), whose BatchNorm
    has affine parameters, which a linear layer after it makes redundant.
    """

    def __init__(self, num_classes: int, batch_norm: bool = False, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.num_classes, self.batch_norm = num_classes, batch_norm
        if batch_norm:
            no_affine = {"center": False, "scale": False, "dtype": "float32"}
            self.norm = keras.layers.BatchNormalization(
                momentum=0.9, epsilon=1e-6, synchronized=True, name="norm", **no_affine
            )  # PyTorch's momentum is 1 minus this one
        initial = keras.initializers.RandomNormal(stddev=0.01)
        self.logits = keras.layers.Dense(num_classes, kernel_initializer=initial, dtype="float32", name="logits")

    def build(self, input_shape) -> None:
        if self.built:
            return
        if self.batch_norm:
            self.norm.build(input_shape)
        self.logits.build(input_shape)

    def call(self, features, training=False):
        return self.logits(self.norm(features, training=training) if self.batch_norm else features)

    def compute_output_shape(self, input_shape) -> tuple:
        return (*input_shape[:-1], self.num_classes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes, "batch_norm": self.batch_norm}
