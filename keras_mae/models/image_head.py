"""The base of all models that are trained with labels: an encoder and layers on top of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import keras
import tensorflow as tf

from keras_mae.encoders import Encoder
from keras_mae.encoders.freezing import frozen_parts, model_from_config
from keras_mae.example_seed import ExampleSeed
from keras_mae.layers.slots import Slot
from keras_mae.models.example_weights import check_weights, not_negative, weigh
from keras_mae.models.labels import finite_rows
from keras_mae.registry import with_article
from keras_mae.training import DataFault, GlobalBatchModel
from keras_mae.training.label_shapes import examples_like, without_invalid
from keras_mae.training.objectives import Objectives

AnyHead = TypeVar("AnyHead", bound="ImageHead")


class ImageHead(GlobalBatchModel):
    """An encoder, and layers on top of it that are trained with labels.

    A subclass makes its layers in the constructor, as attributes, and implements `call`. All else is here: losses and
    metrics by `compile`, the train step of all models, parameter groups for layer-wise decay, partial fine-tuning,
    files, and `keras_mae.export.export_head`. Give its layers names: `keras_mae.optimizers.AdamW` knows variables by
    their paths in files, too.

    Args:
        encoder: an `Encoder`. The selection of trainable layers does not change it, nor other models of it;
            `encoder.trainable = False` freezes it for every model.
        num_trainable_layers: None trains everything that is not frozen; `n` the last n blocks, final norm and head;
            0.5 counts the MLP of the last block; 0 the head alone, with the encoder in inference mode.
        seed: int, determines drop path together with the step.
        **kwargs: of `keras.Model`. `dtype` is the policy of the model itself; None for the encoder's.

    Call arguments:
        inputs: images `(B, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].
        training: whether drop path is active.
        seed: None or an `ExampleSeed`.

    Returns:
        A float32 tensor with a row for each image, or a dict of such tensors by name.

    Raises:
        ValueError: from `fit`, `evaluate`, `train_on_batch` and `test_on_batch` for invalid labels.

    Example:

    >>> @keras.saving.register_keras_serializable(package="mine")
    ... class AgeHead(keras_mae.ImageHead):
    ...     def __init__(self, encoder, width=64, **kwargs):
    ...         super().__init__(encoder, **kwargs)
    ...         self.width = width
    ...         self.hidden = keras.layers.Dense(width, activation="gelu", name="hidden")
    ...         self.age = keras.layers.Dense(1, name="age")
    ...
    ...     def call(self, inputs, training=False, seed=None):
    ...         return self.age(self.hidden(self.features(inputs, training, seed)))
    ...
    ...     def get_config(self):
    ...         return {**super().get_config(), "width": self.width}
    >>> model = AgeHead(mae.encoder)
    >>> model.compile(optimizer="adamw", loss="mse", metrics=["mae"])
    """

    built: bool

    def __init__(
        self, encoder: Encoder, num_trainable_layers: float | None = None, seed: int = 0, **kwargs: Any
    ) -> None:
        kwargs["dtype"] = encoder.dtype_policy if kwargs.get("dtype") is None else kwargs["dtype"]
        super().__init__(seed=seed, autocast=False, **kwargs)
        encoder.outside_of_last_layers(num_trainable_layers)  # raises an error for a wrong number
        self.encoder, self.num_trainable_layers = encoder, num_trainable_layers
        self._label_fault = DataFault(self.label_sentence(), is_error=True)
        self._objectives = Objectives()

    @property
    def is_probe(self) -> bool:
        """Whether the encoder is frozen, and in inference mode."""
        return self.num_trainable_layers == 0

    def build(self, input_shape=None) -> None:
        """Makes the weights, by a call with an image of zeros."""
        if not self.built:
            self.built = True
            with self.distribute_strategy.scope():
                self(tf.zeros((1, *self.encoder.image_shape)))

    def features(self, inputs, training=False, seed: ExampleSeed | None = None) -> tf.Tensor:
        """What the head takes from the encoder: here the mean of the patch tokens, `(B, D)`."""
        return self.encoder.features(inputs, "mean", None, training and not self.is_probe, seed)

    def predictions(self, outputs) -> Any:
        """What Keras' own losses and metrics see of a call's outputs, such as probabilities; here the outputs."""
        return outputs

    def shaped(self, labels, outputs) -> Any:
        """Labels in one shape, if several are taken; here as they are."""
        return labels

    def counted(self, labels) -> tf.Tensor | None:
        """Which labels count for Keras' own losses and metrics, bool of their shape; None for all."""
        return None

    def for_losses(self, labels, outputs) -> tuple[Any, Any]:
        """Labels and predictions for Keras' own losses."""
        return labels, self.predictions(outputs)

    def for_metrics(self, labels, outputs) -> tuple[Any, Any]:
        """Labels and predictions for Keras' own metrics."""
        return labels, self.predictions(outputs)

    def default_loss(self, labels, outputs, training: bool) -> tf.Tensor:
        """The loss of each example, without a `loss` in `compile`: float32 `(B, ...)`, whose mean is the batch's loss.

        Args:
            labels: as `checked_labels` returns them.
            outputs: of a call.
            training: False in `evaluate`.
        """
        raise ValueError(f"{type(self).__name__} has no loss of its own: give compile a loss, such as loss='mse'")

    def default_metrics(self) -> list[keras.metrics.Metric]:
        """New metrics for `metrics=None`; they get labels as `checked_labels` returns them, and a call's outputs."""
        return []

    def checked_labels(self, labels, outputs) -> tuple[Any, tf.Tensor]:
        """Labels in the form for `default_loss`, and whether that of each example is valid, bool `(B,)`.

        Here labels are valid if they are finite.
        """
        return labels, finite_rows(labels)

    def label_sentence(self) -> str:
        """The sentence for invalid labels that a step has counted; `{count}` in it is their number."""
        return "the labels of {count} examples are not finite numbers"

    def check_labels(self, labels) -> None:
        """Checks labels before a step: None, an array, or the specification of a data set's labels.

        Raises:
            ValueError: for labels that the head does not take.
        """

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.compile`, with `accumulation_steps` and `clip_norm`, see `GlobalBatchModel.compile`.

        Args:
            optimizer: see there.
            loss: None for the model's own; or a name, function or object of a loss, or for a call that returns a dict,
                a dict of them. Keras' own losses see `predictions`, such as probabilities, so that their names mean
                what they mean for a Keras model that ends in its activation. A loss with `from_logits=True`, and a
                function or class of your own, sees what a call returns. The loss of a batch is the mean over the
                examples, on one device and on many; a loss without such a mean (`reduction="sum"`, one number for a
                whole batch) is refused on several, and with accumulation.
            loss_weights: numbers, by output.
            metrics: None for the model's own; or a list, or a dict of lists by output. They see what losses see.
            weighted_metrics: likewise, weighted by `sample_weight` or `class_weight`.
            **kwargs: `accumulation_steps`, `clip_norm`, and those of `keras.Model.compile`.

        Raises:
            ValueError: as `GlobalBatchModel.compile`; for a form of loss or metrics that is not supported.
        """
        if not self.built:
            self.build(None)
        super().compile(optimizer, loss, loss_weights, metrics, weighted_metrics, **kwargs)

    def take_objectives(self, loss: Any, loss_weights: Any, metrics: Any, weighted_metrics: Any) -> None:
        given = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        own = metrics is None and weighted_metrics is None
        parts = self.accumulation_steps > 1 or self.distribute_strategy.num_replicas_in_sync > 1
        with self.distribute_strategy.scope():
            own_metrics = self.default_metrics() if own else []
            self._objectives = Objectives(**given, own_metrics=own_metrics, several=self.several_labels, parts=parts)

    @property
    def several_labels(self) -> bool:
        """Whether an example may have several labels at once."""
        return False

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        given = self._objectives.given
        return {**config, **keras.saving.serialize_keras_object(given)} if config and given else config

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*super().metrics, *self._objectives.own_metrics, *self._objectives.metrics]

    def logged_metrics(self) -> dict[str, keras.metrics.Metric]:
        own = {metric.name: metric for metric in (*super().metrics, *self._objectives.own_metrics)}
        return {**own, **self._objectives.names()}

    def batch_loss(self, data, seed: ExampleSeed, training: bool) -> tf.Tensor:
        """The mean loss over the batch, and the penalties of regularizers; it updates the metrics."""
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if labels is None:
            raise ValueError(f"{type(self).__name__} is trained on (images, labels); the data has no labels")
        outputs = self(images, training=training, seed=seed)
        checked, fine = self.checked_labels(labels, outputs)
        self._label_fault.add(tf.math.count_nonzero(~fine))
        for metric in self._objectives.own_metrics:
            metric.update_state(checked, outputs)
        if self._objectives.metrics:
            called = (self.shaped(without_invalid(labels, fine), outputs), outputs)
            counted = self.counted(called[0])
            self._objectives.update(self.for_metrics(*called), called, sample_weight, counted)
        return self.compute_loss(images, labels, outputs, sample_weight, training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> tf.Tensor:
        """The loss of a call's outputs, a float32 scalar; NaN for invalid labels.

        Args:
            x: not used.
            y: labels.
            y_pred: outputs of a call.
            sample_weight: None, or weights of the examples.
            training: False in `evaluate`.
        """
        checked, fine = self.checked_labels(y, y_pred)
        if sample_weight is not None:
            check_weights(sample_weight, y)
            sample_weight = not_negative(sample_weight, tf.convert_to_tensor(y) if not isinstance(y, dict) else None)
        if self._objectives.has_loss:
            called = (self.shaped(without_invalid(y, fine), y_pred), y_pred)
            loss = self._objectives.loss(self.for_losses(*called), called, sample_weight, self.counted(called[0]))
            loss = tf.where(tf.reduce_all(fine), loss, float("nan"))
        else:
            losses = self.default_loss(checked, y_pred, training)
            loss = tf.reduce_mean(losses if sample_weight is None else weigh(losses, sample_weight))
        return tf.add_n([loss, *self.losses]) if self.losses else loss

    def data_faults(self) -> list[DataFault]:
        return [*super().data_faults(), self._label_fault]

    def check_arguments(self, arguments: dict[str, Any]) -> None:
        """Checks labels and weights, those of `validation_data` too, and makes the variables of metrics."""
        x = arguments.get("x")
        given = x if isinstance(x, tf.data.Dataset) else (x, arguments.get("y"), arguments.get("sample_weight"))
        for data in (given, arguments.get("validation_data")):
            data = data.element_spec if isinstance(data, tf.data.Dataset) else data
            if isinstance(data, (tuple, list)):
                _, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
                self.check_labels(labels)
                if sample_weight is not None:
                    check_weights(sample_weight, labels)
                if labels is not None:
                    self._build_metrics(labels)
        if arguments.get("class_weight") is not None:
            self.take_class_weight(arguments)

    def take_class_weight(self, arguments: dict[str, Any]) -> None:
        """Applies `class_weight`, one of the arguments of `fit`; a ValueError for a head without classes."""
        raise ValueError(
            f"class_weight is for models that tell classes of images apart, and {type(self).__name__} does not: give "
            "sample_weight, one number an example"
        )

    def _build_metrics(self, labels) -> None:
        """Makes the variables of metrics that make them at their first update: a step cannot, in its branches."""
        labels = examples_like(labels)
        if labels is not None and self._objectives.metrics:
            with self.distribute_strategy.scope():
                outputs = self(tf.zeros((1, *self.encoder.image_shape)))
                called = (self.shaped(labels, outputs), outputs)
                with keras.StatelessScope():  # nothing is counted
                    self._objectives.update(self.for_metrics(*called), called, None, self.counted(called[0]))

    def fixed_variables(self) -> list[keras.Variable]:
        """The encoder's variables outside of `num_trainable_layers`."""
        return self.encoder.outside_of_last_layers(self.num_trainable_layers)

    def example_shapes(self) -> list[tuple[int, ...]]:
        return self.encoder.example_shapes()

    def head_weights(self) -> list[keras.Variable]:
        """The weights outside of the encoder."""
        self.build(None)
        inside = {id(variable) for variable in self.encoder.weights}
        return [variable for variable in self.weights if id(variable) not in inside]

    def layer_groups(self) -> list[list[keras.Variable]]:
        """The trainable variables by depth: stem, blocks, then final norm and head. Each exactly once."""
        *groups, norm = self.encoder.layer_groups()
        return [self.trained_of(group) for group in (*groups, [*norm, *self.head_weights()])]

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables without weight decay: the encoder's, and biases and norms of the head."""
        own = [variable for variable in self.head_weights() if len(variable.shape) < 2]
        return self.trained_of([*self.encoder.no_weight_decay(), *own])

    def slots(self) -> Iterator[Slot]:
        """Every weight with its name in PyTorch's checkpoints; a ValueError for heads that no format has."""
        raise ValueError(
            f"no published format has a place for {with_article(type(self).__name__)}: save it with model.save(...), "
            "or its encoder"
        )

    def get_config(self) -> dict[str, Any]:
        own = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype_policy, "seed": self.seed}
        own["encoder"] = keras.saving.serialize_keras_object(self.encoder)
        parts = frozen_parts(self, skip=["encoder"])
        return {**own, "num_trainable_layers": self.num_trainable_layers, **parts}

    @classmethod
    def from_config(cls: type[AnyHead], config: dict[str, Any]) -> AnyHead:
        model = model_from_config(cls, config, objects=["encoder"], skip=["encoder"])
        if not model.built:
            model.build(None)
        return model
