"""Numbers from images: ages, angles, sizes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.encoders import Encoder
from keras_mae.models.labels import check_numbers, fault_of_numbers, numbers_of
from keras_mae.models.pooled_head import PooledHead


@keras.saving.register_keras_serializable(package="keras_mae")
class ImageRegressor(PooledHead):
    """An encoder, a pooling and a linear layer that gives numbers; see `PooledHead`.

    The linear layer gives normalised numbers, `(y - mean) / std`, of which the loss is; a call gives them in the units
    of the labels. Without normalisation, numbers far from 0, or of different sizes, hardly train.

    Args:
        encoder, pooling, num_trainable_layers, seed, layer, num_queries: see `PooledHead` and `ImageHead`.
        num_outputs: `T`, the numbers of an image.
        mean: of the labels to train on, T numbers; None for zeros.
        std: their standard deviations, T positive numbers; None for ones.

    Attributes:
        attentive: the `AttentivePooling`, if that is the pooling; else None.

    Call arguments:
        inputs, training, seed: as for `ImageClassifier`.

    Returns:
        Numbers `(B, T)` in the units of the labels, float32. In `fit`, labels are finite numbers `(B, T)`, or `(B,)` if
        T is 1. The default loss is the mean squared error of normalised numbers; the default metrics, `mae` and
        `rmse`, are in the units of the labels, means over all outputs. Keras' own losses in `compile` see normalised
        numbers, its metrics those in the units of the labels.

    Raises:
        ValueError: as `ImageClassifier`; for `mean` or `std` of another length, or a `std` that is not positive.

    Example:

    >>> regressor = ImageRegressor(mae.encoder, num_outputs=1, mean=[ages.mean()], std=[ages.std()])
    >>> regressor.compile(optimizer=keras.optimizers.AdamW(1e-3))
    >>> regressor.fit(images, ages)
    """

    def __init__(
        self,
        encoder: Encoder,
        num_outputs: int = 1,
        pooling: str = "mean",
        mean: Any = None,
        std: Any = None,
        num_trainable_layers: float | None = None,
        seed: int = 0,
        name: str = "image_regressor",
        layer: int | None = None,
        num_queries: int = 32,
        **kwargs: Any,
    ) -> None:
        if num_outputs < 1:
            raise ValueError(f"a regressor gives at least 1 number, got num_outputs={num_outputs}")
        self.num_outputs = num_outputs
        mean = np.zeros(num_outputs) if mean is None else np.asarray(mean, "float64").reshape(-1)
        std = np.ones(num_outputs) if std is None else np.asarray(std, "float64").reshape(-1)
        if len(mean) != num_outputs or len(std) != num_outputs:
            raise ValueError(
                f"mean and std hold one number an output, {num_outputs}; got {len(mean)} and {len(std)} numbers"
            )
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ValueError(
                f"mean and std are finite and std is positive; got mean={mean.tolist()} and std={std.tolist()}: leave "
                "out outputs that are the same for all images"
            )
        self.mean, self.std = tuple(mean.tolist()), tuple(std.tolist())
        super().__init__(
            encoder, num_outputs, pooling, num_trainable_layers, seed, layer, num_queries, name=name, **kwargs
        )

    def call(self, inputs, training=False, seed=None):
        return super().call(inputs, training, seed) * tf.constant(self.std, tf.float32) + tf.constant(
            self.mean, tf.float32
        )

    def normalized(self, numbers) -> tf.Tensor:
        """Numbers in the units of the labels, `(B, T)`, as the linear layer gives them."""
        return (tf.cast(numbers, tf.float32) - tf.constant(self.mean, tf.float32)) / tf.constant(self.std, tf.float32)

    def checked_labels(self, labels, outputs) -> tuple[tf.Tensor, tf.Tensor]:
        """Labels as float32 `(B, T)`, and whether they are finite."""
        return numbers_of(labels, self.num_outputs, tf.shape(outputs)[0])

    def check_labels(self, labels) -> None:
        check_numbers(labels, self.num_outputs)

    def label_sentence(self) -> str:
        return fault_of_numbers(self.num_outputs)

    def shaped(self, labels, outputs) -> tf.Tensor:
        """Labels `(B, T)`, float32, also those of one number that are `(B,)`."""
        return tf.cast(tf.reshape(labels, tf.shape(outputs)), tf.float32)

    def for_losses(self, labels, outputs) -> tuple[tf.Tensor, tf.Tensor]:
        """Normalised numbers."""
        return self.normalized(labels), self.normalized(outputs)

    def default_loss(self, labels, outputs, training: bool) -> tf.Tensor:
        """Mean squared error of the normalised numbers of each example."""
        return tf.reduce_mean(tf.square(self.normalized(labels) - self.normalized(outputs)), axis=1)

    def default_metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.MeanAbsoluteError(name="mae"), keras.metrics.RootMeanSquaredError(name="rmse")]

    def get_config(self) -> dict[str, Any]:
        own = ("num_outputs", "mean", "std")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
