"""A classifier on top of the encoder: fine-tuning, partial fine-tuning and linear probing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_mae.encoders import POOLINGS, Encoder, Tokens, ViTEncoder
from keras_mae.encoders.freezing import frozen_parts, model_from_config
from keras_mae.encoders.pooling import ATTENTIVE, OF_HEADS, patch_tokens
from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import AttentivePooling
from keras_mae.layers.slots import Linear, Slot, dense_slots
from keras_mae.models.labels import (
    check_labels,
    check_weights,
    checked_class_weight,
    class_probabilities,
    fault_of_labels,
    weigh,
    with_class_weights,
)
from keras_mae.registry import check_name
from keras_mae.training import DataFault, GlobalBatchModel


@keras.saving.register_keras_serializable(package="keras_mae")
class ImageClassifier(GlobalBatchModel):
    """An encoder, a pooling and a linear layer, trained with cross-entropy.

    Fine-tuning pools before the last LayerNorm (`mean`: average of the patch tokens, LayerNorm, linear), with a head
    that starts close to zero. With `num_trainable_layers=0` it is a linear probe: the encoder is frozen and in
    inference mode, and a BatchNorm without affine parameters comes before the linear layer.

    With attentive pooling, learned queries pool the patch tokens (after the final norm, or of `layer`), and are trained
    with the head, in a probe too: that is efficient probing. As in its code, the linear layer of such a probe starts
    from a uniform distribution within `1/sqrt(D)`, with a bias of zero. Pooling, BatchNorm and linear layer compute in
    float32 under any policy.

    Args:
        encoder: an `Encoder`. The selection of trainable layers does not change it, nor other models of it;
            `encoder.trainable = False` freezes it for every model.
        num_classes: number of classes `K`.
        pooling: `"mean"` of the patch tokens, `"cls"`, the class token, or `"both"`; or `"attentive"`, see
            `AttentivePooling`.
        num_trainable_layers: None trains everything that is not frozen; `n` the last n blocks, final norm and head;
            0.5 counts the MLP of the last block; 0 the head alone, with the queries that pool for it.
        label_smoothing: share of a label that is spread over all classes in training, in [0, 1).
        seed: int, determines drop path together with the step.
        layer: None, or the layer, counted from 1, whose tokens a probe takes, see `Encoder.features`.
        num_queries: of attentive pooling; must divide the encoder's width.

    Attributes:
        attentive: the `AttentivePooling`, if that is the pooling; else None.

    Call arguments:
        inputs: images `(B, H, W, C)`, uint8 or float in [0, 255]; or their `features`, `(B, D)` or `(B, L, D)`, so that
            a probe may compute them once and train on them many times.
        training: whether drop path is active, and BatchNorm uses the batch.
        seed: None or an `ExampleSeed`.

    Returns:
        Logits `(B, K)`, float32. In `fit`, labels are integers `(B,)` or `(B, 1)`, or probabilities `(B, K)`; the loss
        is weighted by `sample_weight` or `class_weight`; the logs have `accuracy` and, with more than five classes,
        `top5_accuracy`, both without weights.

    Raises:
        ValueError: for an unknown pooling, a number of layers that the encoder does not have, a number of queries that
            does not divide its width, a `loss` in compile; and from `fit`, `evaluate`, `train_on_batch` and
            `test_on_batch` for invalid labels.

    Example:

    >>> classifier = ImageClassifier(mae.encoder, num_classes=10)
    >>> classifier.compile(optimizer=keras.optimizers.AdamW(1e-3))
    >>> classifier.fit(images, labels)

    Reference: arXiv 2111.06377, appendix A.1 (fine-tuning, linear probing), Figure 9 (partial fine-tuning); arXiv
    2506.10178 and `probe_heads.py` of its code (attentive pooling).
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
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, name=name, autocast=False, **kwargs)
        check_name("pooling", pooling, OF_HEADS)
        width, self.attentive, self.num_queries = encoder.hidden_dim, None, num_queries
        if pooling == ATTENTIVE:
            self.attentive = AttentivePooling(num_queries, name="attentive")
        else:
            tokens = Tokens(*(tf.zeros((1, n, width)) for n in (encoder.num_prefix_tokens, 1)))
            width = POOLINGS[pooling](tokens).shape[-1]
        self._pooled_dim = width
        if num_classes < 2:
            raise ValueError(f"a classifier needs at least 2 classes, got {num_classes}")
        self.encoder, self.num_classes, self.pooling = encoder, num_classes, pooling
        self.num_trainable_layers, self.label_smoothing = num_trainable_layers, label_smoothing
        encoder.outside_of_last_layers(num_trainable_layers)  # raises an error for a wrong number
        self.is_probe, self.layer = num_trainable_layers == 0, layer
        if layer is not None and not (self.is_probe and 1 <= layer <= encoder.num_layers):
            raise ValueError(
                f"layer is one of the encoder's {encoder.num_layers} layers, counted from 1, for a linear probe "
                f"(num_trainable_layers=0); got layer={layer} and num_trainable_layers={num_trainable_layers}"
            )
        if self.is_probe:
            no_affine = {"center": False, "scale": False, "dtype": "float32"}
            self.batch_norm = keras.layers.BatchNormalization(
                momentum=0.9, epsilon=1e-6, synchronized=True, name="batch_norm", **no_affine
            )  # PyTorch's momentum is 1 minus this one
        initial = keras.initializers.RandomNormal(stddev=0.01 if self.is_probe else 2e-5)
        if self.is_probe and self.attentive is not None:
            initial = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.head = keras.layers.Dense(num_classes, kernel_initializer=initial, dtype="float32", name="head")
        self._label_fault = DataFault(fault_of_labels(num_classes), is_error=True)
        self.accuracy = keras.metrics.Mean(name="accuracy")
        if num_classes > 5:
            self.top5_accuracy = keras.metrics.Mean(name="top5_accuracy")
        self.build((None, *encoder.image_shape))

    @classmethod
    def from_preset(cls, name: str, num_classes: int, pooling: str = "mean", **overrides: Any) -> ImageClassifier:
        """A classifier on the encoder preset `name`, such as `vit_base_patch16`, with random weights.

        `keras_mae.load_checkpoint` fills them. `overrides` are constructor arguments of the encoder that replace the
        preset's.
        """
        return cls(ViTEncoder.from_preset(name, **overrides), num_classes, pooling)

    def build(self, input_shape) -> None:
        if self.built:
            return
        pooled = (None, self._pooled_dim)
        if self.attentive is not None:
            self.attentive.build((None, None, self._pooled_dim))
        if self.is_probe:
            self.batch_norm.build(pooled)
        self.head.build(pooled)

    def compute_output_shape(self, input_shape) -> tuple:
        return (input_shape[0], self.num_classes)

    def call(self, inputs, training=False, seed: ExampleSeed | None = None):
        x = tf.convert_to_tensor(inputs)
        if x.shape.rank is None or not x.shape[1:].is_compatible_with(self.example_shapes()[-1]):
            x = self.features(x, training=training and not self.is_probe, seed=seed)
        x = tf.cast(x, tf.float32)  # (B, D), or (B, L, D) to be pooled
        if self.attentive is not None:
            x = self.attentive(x)  # (B, D)
        if self.is_probe:
            x = self.batch_norm(x, training=training)
        return self.head(x)  # (B, K)

    def features(self, inputs, training=False, seed: ExampleSeed | None = None) -> tf.Tensor:
        """What the head takes from the encoder: pooled tokens, `(B, D)`; the patches' `(B, L, D)` if it pools them."""
        if self.attentive is not None:
            return self.encoder.features(inputs, patch_tokens, self.layer, training, seed)
        if self.pooling == "mean" and not self.is_probe:
            return self.encoder.features_for_fine_tuning(inputs, training, seed)
        return self.encoder.features(inputs, self.pooling, self.layer, training, seed)

    def batch_loss(self, data, seed: ExampleSeed, training: bool) -> tf.Tensor:
        """Softmax cross-entropy, averaged over the batch."""
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if labels is None:
            raise ValueError("a classifier is trained on (images, labels); the data has no labels")
        logits = self(images, training=training, seed=seed)
        labels, fine = class_probabilities(labels, self.num_classes, tf.shape(logits)[0])  # (B, K)
        self._label_fault.add(tf.math.count_nonzero(~fine))
        self._update_accuracies(logits, tf.argmax(labels, axis=-1, output_type=tf.int32))
        smoothing = self.label_smoothing if training else 0.0
        smoothed = labels * (1 - smoothing) + smoothing / self.num_classes
        losses = tf.nn.softmax_cross_entropy_with_logits(smoothed, logits)  # (B,)
        if sample_weight is not None:
            losses = weigh(losses, sample_weight)
        return tf.reduce_mean(losses)

    def data_faults(self) -> list[DataFault]:
        return [self._label_fault]

    def _update_accuracies(self, logits, classes) -> None:
        """Each example counts once, whatever its weight, as in Keras; logits that are not finite make it NaN."""
        ranked = tf.math.top_k(logits, min(5, self.num_classes)).indices  # (B, 5)
        matches = tf.cast(tf.equal(ranked, classes[:, None]), tf.float32)
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=1, keepdims=True)
        matches = tf.where(finite, matches, float("nan"))
        self.accuracy.update_state(matches[:, 0])
        if self.num_classes > 5:
            self.top5_accuracy.update_state(tf.reduce_sum(matches, axis=1))

    def check_arguments(self, arguments: dict[str, Any]) -> None:
        """Checks labels and weights, those of `validation_data` too, and applies `class_weight` to a data set."""
        x = arguments.get("x")
        given = x if isinstance(x, tf.data.Dataset) else (x, arguments.get("y"), arguments.get("sample_weight"))
        for data in (given, arguments.get("validation_data")):
            data = data.element_spec if isinstance(data, tf.data.Dataset) else data
            if isinstance(data, (tuple, list)):
                _, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
                check_labels(labels, self.num_classes)
                check_weights(sample_weight)
        if arguments.get("class_weight") is not None:
            class_weight = checked_class_weight(arguments["class_weight"], self.num_classes)
            of_data_set = isinstance(x, tf.data.Dataset)
            arguments["class_weight"] = None if of_data_set else class_weight
            if of_data_set:
                arguments["x"] = with_class_weights(x, class_weight)

    def fixed_variables(self) -> list[keras.Variable]:
        """The encoder's variables outside of `num_trainable_layers`."""
        return self.encoder.outside_of_last_layers(self.num_trainable_layers)

    def example_shapes(self) -> list[tuple[int, ...]]:
        """Images, or features of them."""
        dim = self._pooled_dim
        return [*self.encoder.example_shapes(), (dim,) if self.attentive is None else (self.encoder.num_patches, dim)]

    def layer_groups(self) -> list[list[keras.Variable]]:
        """The trainable variables by depth: stem, blocks, then final norm, pooling and head. Each exactly once."""
        *groups, norm = self.encoder.layer_groups()
        pooling = [] if self.attentive is None else self.attentive.weights
        return [self.trained_of(group) for group in (*groups, [*norm, *pooling, *self.head.weights])]

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables without weight decay: biases, norms, tokens, queries, position embeddings."""
        queries = [] if self.attentive is None else [self.attentive.queries]
        return self.trained_of([*self.encoder.no_weight_decay(), *queries, self.head.bias])

    def slots(self) -> Iterator[Slot]:
        """Every weight with its name and layout in checkpoints of PyTorch."""
        yield from self.encoder.slots()
        if self.attentive is not None:
            yield Slot("attentive.queries", "", self.attentive.queries)
            yield Slot("attentive.values", "kernel", self.attentive.values, Linear())
        if self.is_probe:
            yield Slot("batch_norm", "mean", self.batch_norm.moving_mean)
            yield Slot("batch_norm", "variance", self.batch_norm.moving_variance)
        yield from dense_slots("head", self.head)

    def get_config(self) -> dict[str, Any]:
        own = ("num_classes", "pooling", "num_trainable_layers", "label_smoothing", "seed", "layer", "num_queries")
        parts = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype_policy}
        parts["encoder"] = keras.saving.serialize_keras_object(self.encoder)
        return {**parts, **{name: getattr(self, name) for name in own}, **frozen_parts(self, skip=["encoder"])}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ImageClassifier:
        return model_from_config(cls, config, objects=["encoder"], skip=["encoder"])
