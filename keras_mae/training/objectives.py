"""The losses and metrics that `compile` was given, in all forms that Keras takes."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_mae.training.label_shapes import check_shapes, forms, of_counted, of_one_rank

_ACCURACY, _CROSSENTROPY = ("accuracy", "acc"), ("crossentropy", "ce")
_MEANS = ("sum_over_batch_size", "mean")
_BY_WEIGHTS = "mean_with_sample_weight"
Pair = tuple[Any, Any]  # labels and predictions


class Objectives:
    """Losses and metrics of one output, or of the outputs in a dict.

    Keras' own losses and metrics see predictions, such as probabilities; those with `from_logits=True`, and those of
    the user's own, see what a call of the model returns. The mean of a loss over a batch is that of its parts: what
    has no such mean is refused where a batch has several parts.

    Args:
        loss, loss_weights, metrics, weighted_metrics: see `keras.Model.compile`; `loss` may be None.
        own_metrics: of the model, which are kept here.
        several: whether an example has several labels, and `"accuracy"` is that of each by itself.
        parts: whether a batch may be computed in several parts, on replicas or one after the other.

    Attributes:
        given: what was given, by name.
        own_metrics: of the model.
        metrics: those that were given.

    Raises:
        ValueError: for a form or a reduction that is not supported.
    """

    def __init__(
        self,
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        own_metrics: Sequence[keras.metrics.Metric] = (),
        several: bool = False,
        parts: bool = False,
    ) -> None:
        given = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        self.given = {name: value for name, value in given.items() if value is not None}
        self.own_metrics = list(own_metrics)
        self._parts, self._several = parts, several
        of_losses = {None: loss} if loss is not None and not isinstance(loss, Mapping) else dict(loss or {})
        self._losses = {output: self._loss(one) for output, one in of_losses.items() if one is not None}
        self._loss_weights = _weights(loss_weights, list(self._losses))
        self.metrics: list[keras.metrics.Metric] = []
        # output, whether it sees predictions, whether it is weighted, whether it knows labels that do not count
        self._places: list[tuple[Any, bool, bool, bool]] = []
        for listed, weighted in ((metrics, False), (weighted_metrics, True)):
            for output, one in _flat(listed):
                self._add_metric(output, one, weighted)

    @property
    def has_loss(self) -> bool:
        """Whether there is a loss."""
        return bool(self._losses)

    def names(self) -> dict[str, keras.metrics.Metric]:
        """The metrics by their names in the logs: with the output before them if there are several."""
        named: dict[str, keras.metrics.Metric] = {}
        for (output, _, weighted, _), metric in zip(self._places, self.metrics, strict=True):
            name = first = metric.name if output is None else f"{output}_{metric.name}"
            if name in named and weighted:
                name = first = f"weighted_{first}"
            count = 0
            while name in named:
                count += 1
                name = f"{first}_{count}"
            named[name] = metric
        return named

    def loss(self, seen: Pair, called: Pair, sample_weight: Any, counted: Any = None) -> tf.Tensor:
        """The sum of the mean losses over the batch, a float32 scalar.

        Args:
            seen: labels and predictions for Keras' own losses.
            called: labels and what a call returned, for others.
            sample_weight: None, or weights of the examples.
            counted: None, or which labels, numbers of classes, count for Keras' own losses: bool of their shape.
        """
        total = tf.zeros([])
        for output, (values_of, reduction, sees, name, knows_ignored) in self._losses.items():
            labels, predictions = (_of(output, one) for one in (seen if sees else called))
            weights = _of(output, sample_weight) if isinstance(sample_weight, Mapping) else sample_weight
            if counted is not None and name and not knows_ignored:
                labels, predictions, weights = of_counted(labels, predictions, weights, counted, name)
            check_shapes(labels, predictions, name)
            try:
                values = tf.cast(values_of(labels, predictions, weights), tf.float32)
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"the loss {name or 'of your own'} does not take labels of shape {labels.shape} for predictions of "
                    f"shape {predictions.shape}: categorical losses take one-hot labels, sparse ones numbers of "
                    f"classes ({' '.join(str(error).split())[:160]})"
                ) from error
            if values.shape.rank == 0 and self._parts:
                raise ValueError(
                    f"a loss of {_named(output)} is one number for all examples of a batch, and a batch in several "
                    "parts (replicas, accumulation_steps) needs one for each: let it return the shape (batch,), such "
                    "as with axis=(1, 2, 3)"
                )
            if reduction == "sum":
                mean = tf.reduce_sum(values)
            elif reduction == _BY_WEIGHTS and weights is not None:
                mean = tf.math.divide_no_nan(tf.reduce_sum(values), tf.reduce_sum(tf.cast(weights, tf.float32)))
            else:
                mean = tf.reduce_mean(values)
            total += mean * self._loss_weights[output]
        return total

    def update(self, seen: Pair, called: Pair, sample_weight: Any, counted: Any = None) -> None:
        """Updates the metrics; arguments as for `loss`."""
        for (output, sees, weighted, knows_ignored), metric in zip(self._places, self.metrics, strict=True):
            labels, predictions = (_of(output, one) for one in (seen if sees else called))
            check_shapes(labels)
            weights = _of(output, sample_weight) if isinstance(sample_weight, Mapping) else sample_weight
            weights = weights if weighted else None
            if counted is not None and _from_keras(metric) and not knows_ignored:
                labels, predictions, weights = of_counted(labels, predictions, weights, counted)
            if weights is not None:
                metric.update_state(labels, predictions, sample_weight=weights)
            else:
                metric.update_state(labels, predictions)

    def _loss(self, given: Any) -> tuple[Callable[[Any, Any, Any], tf.Tensor], str, bool, str, bool]:
        """The unreduced, weighted values of a loss, its reduction, whether it sees predictions, and a name.

        The name is empty unless the loss is Keras' own. At last, whether it knows labels that do not count.
        """
        if isinstance(given, (list, tuple)):
            raise ValueError(f"a loss is one name, function or object, or a dict of them by output; got {given!r}")
        if isinstance(given, str) and given.lower() in _CROSSENTROPY:
            return _Function(self._crossentropy, given), _MEANS[0], True, given, False
        found = keras.losses.get(given)
        sees = is_of_keras(found)
        if not isinstance(found, keras.losses.Loss):
            name = given if isinstance(given, str) else getattr(found, "__name__", "loss")
            return _Function(found, name), _MEANS[0], sees, name if _from_keras(found) else "", False
        reduction, name = found.reduction, type(found).__name__.lower() if _from_keras(found) else ""
        if reduction in (None, "none"):
            raise ValueError(
                f"{found.name} has reduction={reduction!r}, and a step needs one number: leave the reduction out"
            )
        of_labelled = getattr(found, "ignore_class", None) is not None
        if self._parts and (of_labelled or reduction not in _MEANS):
            why = "ignore_class" if of_labelled else f"reduction={reduction!r}"
            raise ValueError(
                f"{found.name} with {why} is no mean over the examples, so that the parts of a batch (replicas, "
                "accumulation_steps) do not give that of the batch: leave it out, or train in one part"
            )
        if of_labelled:  # Keras divides by the number of labels that are not ignored, in one part
            return found, reduction, sees, name, True
        unreduced = object.__new__(type(found))  # `copy.copy` makes it from its config, without what that lacks
        vars(unreduced).update(vars(found), reduction="none")
        return unreduced, reduction, sees, name, False

    def _crossentropy(self, labels, predictions):
        binary, sparse = forms(labels, predictions)
        if binary or self._several:
            return keras.losses.binary_crossentropy(labels, predictions)
        of = keras.losses.sparse_categorical_crossentropy if sparse else keras.losses.categorical_crossentropy
        return of(labels, predictions)

    def _accuracy(self, labels, predictions):
        binary, sparse = forms(labels, predictions)
        if binary or self._several:
            return keras.metrics.binary_accuracy(labels, predictions)
        of = keras.metrics.sparse_categorical_accuracy if sparse else keras.metrics.categorical_accuracy
        return of(labels, predictions)

    def _add_metric(self, output: Any, given: Any, weighted: bool) -> None:
        if isinstance(given, str) and given.lower() in _ACCURACY:
            found, sees = keras.metrics.MeanMetricWrapper(self._accuracy, name=given), True
        else:
            found = keras.metrics.get(given)
            sees = is_of_keras(found)
            if not isinstance(found, keras.metrics.Metric):
                name = given if isinstance(given, str) else getattr(found, "__name__", getattr(found, "name", "metric"))
                name = re.sub(r"\W", "", name)  # of a lambda
                found = keras.metrics.MeanMetricWrapper(found, name=name)
            elif isinstance(given, str):
                found.name = given  # as Keras does
        if found.name == "loss":
            raise ValueError("a metric is called 'loss', which is the name of the loss in the logs: rename it")
        self.metrics.append(found)
        self._places.append((output, sees, weighted, getattr(found, "ignore_class", None) is not None))


def is_of_keras(given: Any) -> bool:
    """Whether a loss or metric is one of Keras' own, and none that takes logits."""
    while isinstance(given, functools.partial):
        if given.keywords.get("from_logits"):
            return False
        given = given.func
    if getattr(given, "from_logits", False):
        return False
    config = given.get_config() if isinstance(given, (keras.losses.Loss, keras.metrics.Metric)) else {}
    if config.get("from_logits"):
        return False
    return _from_keras(given)


def _from_keras(given: Any) -> bool:
    given = given.func if isinstance(given, functools.partial) else given
    module = getattr(given, "__module__", "") or type(given).__module__
    return module.split(".")[0] == "keras"


class _Function(keras.losses.Loss):
    """The values of a function of labels and predictions, unreduced."""

    def __init__(self, function: Callable, name: str) -> None:
        super().__init__(name=re.sub(r"\W", "", name), reduction="none")  # the name of a scope
        self._function = function

    def call(self, y_true, y_pred):
        return self._function(*of_one_rank(y_true, y_pred))


def _of(output: Any, given: Any) -> Any:
    if output is None:
        if isinstance(given, Mapping):
            raise ValueError(f"a model with the outputs {sorted(given)} takes losses and metrics in a dict of these")
        return given
    if not isinstance(given, Mapping) or output not in given:
        there = f"there are {sorted(given)}" if isinstance(given, Mapping) else "there is one output without a name"
        raise ValueError(f"a loss or metric names the output {output!r} of the model and its labels, and {there}")
    return given[output]


def _flat(given: Any) -> Iterator[tuple[Any, Any]]:
    """Each metric with its output, None for the only one."""
    if given is None:
        return
    if isinstance(given, Mapping):
        for output, one in given.items():
            yield from ((output, each) for each in (one if isinstance(one, (list, tuple)) else [one]))
        return
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"metrics are a list, or a dict of lists by output; got {given!r}")
    for one in given:
        if isinstance(one, (list, tuple)):
            if len(given) > 1:
                raise ValueError("metrics of several outputs are a dict of lists by the names of the outputs")
            yield from ((None, each) for each in one)
        else:
            yield None, one


def _weights(given: Any, outputs: list) -> dict[Any, float]:
    if given is None:
        return dict.fromkeys(outputs, 1.0)
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(outputs))
        if unknown:
            raise ValueError(f"loss_weights name outputs without a loss: {', '.join(map(str, unknown))}")
        return {output: float(given.get(output, 1.0)) for output in outputs}
    values = list(given) if isinstance(given, (list, tuple)) else [given]
    if len(values) != len(outputs):
        raise ValueError(f"loss_weights has {len(values)} numbers for {len(outputs)} losses; give a dict by output")
    return dict(zip(outputs, map(float, values), strict=True))


def _named(output: Any) -> str:
    return "the model" if output is None else f"the output {output!r}"
