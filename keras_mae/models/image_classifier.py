"""A classifier on top of the encoder: fine-tuning, partial fine-tuning and linear probing."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from keras_mae.encoders import Encoder, ViTEncoder
from keras_mae.models.example_weights import checked_class_weight, with_class_weights
from keras_mae.models.labels import (
    check_labels,
    check_several,
    class_probabilities,
    fault_of_labels,
    fault_of_several,
    several_probabilities,
)
from keras_mae.models.pooled_head import PooledHead

_BINARY = (keras.losses.BinaryCrossentropy, keras.losses.BinaryFocalCrossentropy)
_BINARY_FUNCTIONS = (keras.losses.binary_crossentropy, keras.losses.binary_focal_crossentropy)
_OF_CLASSES = (
    *(keras.losses.CategoricalCrossentropy, keras.losses.SparseCategoricalCrossentropy),
    keras.losses.CategoricalFocalCrossentropy,
)
_FUNCTIONS_OF_CLASSES = (
    *(keras.losses.categorical_crossentropy, keras.losses.sparse_categorical_crossentropy),
    keras.losses.categorical_focal_crossentropy,
)


@keras.saving.register_keras_serializable(package="keras_mae")
class ImageClassifier(PooledHead):
    """An encoder, a pooling and a linear layer, trained with cross-entropy; see `PooledHead`.

    Args:
        encoder, pooling, num_trainable_layers, seed, layer, num_queries: see `PooledHead` and `ImageHead`.
        num_classes: number of classes `K`.
        label_smoothing: share of a label that is spread over all classes in training, in [0, 1); with several labels,
            each moves to one half by this share.
        multi_label: whether an image has several labels at once: the loss is the binary cross-entropy, and a
            probability the sigmoid of a logit. `compile(loss="binary_crossentropy")` says so, too.

    Attributes:
        attentive: the `AttentivePooling`, if that is the pooling; else None.

    Call arguments:
        inputs: images `(B, H, W, C)`, uint8 or float in [0, 255]; or their `features`, `(B, D)` or `(B, L, D)`, so that
            a probe may compute them once and train on them many times.
        training: whether drop path is active, and BatchNorm uses the batch.
        seed: None or an `ExampleSeed`.

    Returns:
        Logits `(B, K)`, float32. In `fit`, labels are integers `(B,)` or `(B, 1)`, or probabilities `(B, K)`; those of
        several labels `(B, K)` in [0, 1]. The loss is weighted by `sample_weight` or `class_weight`. By default the
        logs have `accuracy` and, with more than five classes, `top5_accuracy`, both without weights; with several
        labels `accuracy`, the share of right ones at a threshold of one half. To Keras' own losses and metrics in
        `compile` the model gives probabilities.

    Raises:
        ValueError: for an unknown pooling, a number of layers that the encoder does not have, a number of queries that
            does not divide its width, a loss in `compile` that does not fit; and from `fit`, `evaluate`,
            `train_on_batch` and `test_on_batch` for invalid labels.

    Example:

    >>> classifier = ImageClassifier(mae.encoder, num_classes=10)
    >>> classifier.compile(optimizer=keras.optimizers.AdamW(1e-3))
    >>> classifier.fit(images, labels)
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        pooling: str = "mean",
        num_trainable_layers: float | None = None,
        label_smoothing: float = 0.0,
        seed: int = 0,
        name: str = "image_classifier",
        layer: int | None = None,
        num_queries: int = 32,
        multi_label: bool = False,
        **kwargs: Any,
    ) -> None:
        least = 1 if multi_label else 2
        if num_classes < least:
            raise ValueError(
                f"a classifier needs at least {least} {'label' if multi_label else 'classes'}, got {num_classes}"
            )
        self.num_classes, self.label_smoothing, self.multi_label = num_classes, label_smoothing, multi_label
        self._made_for_several = multi_label
        super().__init__(
            encoder, num_classes, pooling, num_trainable_layers, seed, layer, num_queries, name=name, **kwargs
        )

    @classmethod
    def from_preset(cls, name: str, num_classes: int, pooling: str = "mean", **overrides: Any) -> ImageClassifier:
        """A classifier on the encoder preset `name`, such as `vit_base_patch16`, with random weights.

        `keras_mae.load_checkpoint` fills them. `overrides` are constructor arguments of the encoder that replace the
        preset's.
        """
        return cls(ViTEncoder.from_preset(name, **overrides), num_classes, pooling)

    @property
    def several_labels(self) -> bool:
        return self.multi_label

    def predictions(self, outputs) -> tf.Tensor:
        """Probabilities `(B, K)`: of the classes, or of each of several labels."""
        # Keras' cross-entropies find the logits behind its own activations
        return keras.activations.sigmoid(outputs) if self.multi_label else keras.activations.softmax(outputs)

    def take_objectives(self, loss: Any, loss_weights: Any, metrics: Any, weighted_metrics: Any) -> None:
        found = loss.func if isinstance(loss, functools.partial) else loss
        if isinstance(loss, str) and loss.lower() not in ("crossentropy", "ce"):
            found = keras.losses.get(loss)
        self.multi_label = self._made_for_several or isinstance(found, _BINARY) or found in _BINARY_FUNCTIONS
        if self.multi_label and (isinstance(found, _OF_CLASSES) or found in _FUNCTIONS_OF_CLASSES):
            raise ValueError(
                f"loss={loss!r} is for one class an image, and this classifier has multi_label=True: leave the loss "
                "out, or make another classifier"
            )
        self._label_fault.sentence = self.label_sentence()
        super().take_objectives(loss, loss_weights, metrics, weighted_metrics)

    def checked_labels(self, labels, outputs) -> tuple[tf.Tensor, tf.Tensor]:
        """Probabilities of the classes, float32 `(B, K)`, and whether they are valid."""
        of = several_probabilities if self.multi_label else class_probabilities
        return of(labels, self.num_classes, tf.shape(outputs)[0])

    def check_labels(self, labels) -> None:
        (check_several if self.multi_label else check_labels)(labels, self.num_classes)

    def label_sentence(self) -> str:
        return (fault_of_several if self.multi_label else fault_of_labels)(self.num_classes)

    def default_loss(self, labels, outputs, training: bool) -> tf.Tensor:
        """Cross-entropy of each example: over the classes, or the mean of those of several labels."""
        smoothing = self.label_smoothing if training else 0.0
        if self.multi_label:
            smoothed = labels * (1 - smoothing) + smoothing / 2
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(smoothed, outputs), axis=1)
        smoothed = labels * (1 - smoothing) + smoothing / self.num_classes
        return tf.nn.softmax_cross_entropy_with_logits(smoothed, outputs)

    def default_metrics(self) -> list[keras.metrics.Metric]:
        if self.multi_label:
            return [_LabelAccuracy(name="accuracy")]
        top = [_TopAccuracy(1, name="accuracy"), _TopAccuracy(5, name="top5_accuracy")]
        return top[: 1 + (self.num_classes > 5)]

    def take_class_weight(self, arguments: dict[str, Any]) -> None:
        if self.multi_label:
            raise ValueError(
                "class_weight is for one class an image, and this classifier has multi_label=True: give sample_weight"
            )
        class_weight = checked_class_weight(arguments["class_weight"], self.num_classes)
        of_data_set = isinstance(arguments.get("x"), tf.data.Dataset)
        arguments["class_weight"] = None if of_data_set else class_weight
        if of_data_set:
            arguments["x"] = with_class_weights(arguments["x"], class_weight)

    def get_config(self) -> dict[str, Any]:
        own = ("num_classes", "label_smoothing", "multi_label")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


class _TopAccuracy(keras.metrics.Mean):
    """The share of examples whose class is among the first; logits that are not finite make it NaN.

    Each example counts once, whatever its weight, as in Keras.
    """

    def __init__(self, first: int, name: str) -> None:
        super().__init__(name=name)
        self._first = first

    def update_state(self, labels, logits, sample_weight=None) -> None:
        classes = tf.argmax(labels, axis=-1, output_type=tf.int32)
        ranked = tf.math.top_k(logits, min(self._first, logits.shape[-1])).indices  # (B, 5)
        matches = tf.reduce_any(tf.equal(ranked, classes[:, None]), axis=1)
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
        super().update_state(tf.where(finite, tf.cast(matches, tf.float32), float("nan")))


class _LabelAccuracy(keras.metrics.Mean):
    """The share of right labels at a threshold of one half; logits that are not finite make it NaN."""

    def update_state(self, labels, logits, sample_weight=None) -> None:
        matches = tf.cast(tf.equal(labels > 0.5, logits > 0), tf.float32)
        super().update_state(tf.where(tf.math.is_finite(logits), matches, float("nan")))
