"""A model that checks its data: before the first step, and after compiled steps, which cannot raise errors."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_mae import _compat
from keras_mae.layers.pixel_range import checked_images
from keras_mae.training.batch_parts import DROP_THE_LAST, UNEQUAL_SHARES, check_batches
from keras_mae.training.selection import SelectiveModel
from keras_mae.training.skipped_steps import StopOnSkippedSteps

_log = logging.getLogger("keras_mae")


class DataFault:
    """Counts invalid examples inside of a step, and reports them outside of it.

    XLA drops assertions. A step makes the loss of such examples NaN, so that nothing is learned from them, and counts
    them here. The count is in no checkpoint and no file.

    Args:
        sentence: the problem and the remedy, without a full stop; `{count}` in it is the number of examples.
        is_error: whether one such example ends `fit` and `evaluate`; otherwise the steps are skipped, as many as
            `StopOnSkippedSteps` allows.
    """

    def __init__(self, sentence: str, is_error: bool) -> None:
        self.is_error, self.sentence = is_error, sentence
        self._told = 0
        # a count for each replica, which a loop over the parts of a batch may change too
        self._count = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
            name="data_fault",
        )

    def add(self, count) -> None:
        """Adds a scalar number of examples."""
        self._count.assign_add(tf.cast(count, tf.int64))

    def told(self) -> str | None:
        """The sentence on examples since the last call, or None; it waits for the steps to end."""
        count = int(tf.convert_to_tensor(self._count.read_value()))
        new, self._told = count - self._told, count
        return self.sentence.format(count=new) if new else None


class CheckedModel(SelectiveModel):
    """A `keras.Model` with its own loss and metrics, and checks of its images and data.

    Subclasses may add checks: `check_arguments`, `data_faults`.

    Attributes:
        accumulation_steps: the number of parts of a replica's share of a batch.
    """

    accumulation_steps: int = 1

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.compile`; with `auto_scale_loss`, the default, the loss is scaled if a part uses float16.

        Raises:
            ValueError: for a loss or metrics that the model does not take, or a part that keeps its weights in float16.
        """
        self.take_objectives(loss, loss_weights, metrics, weighted_metrics)
        parts = [self, *self.layers]
        half = [part.name for part in parts if part.variable_dtype == "float16"]
        if half:
            raise ValueError(
                f"{', '.join(half)} would keep weights in float16, which loses small steps: take the dtype policy "
                "mixed_float16"
            )
        optimizer = keras.optimizers.get(optimizer)
        scales = kwargs.get("auto_scale_loss", True) and any(part.compute_dtype == "float16" for part in parts)
        if scales and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            with self.distribute_strategy.scope():
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale_optimizer")
        super().compile(optimizer=optimizer, **kwargs)

    def take_objectives(self, loss: Any, loss_weights: Any, metrics: Any, weighted_metrics: Any) -> None:
        """Takes what `compile` was given; a model with its own loss and metrics raises a ValueError."""
        own = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        given = [f"`{name}`" for name, value in own.items() if value is not None]
        if given:
            raise ValueError(
                f"{type(self).__name__} brings its own loss and logs its own metrics: compile it without "
                f"{' and '.join(given)}"
            )

    def logged_metrics(self) -> dict[str, keras.metrics.Metric]:
        """The metrics by their names in the logs."""
        return {metric.name: metric for metric in self.metrics}

    def compute_loss(self, *args: Any, **kwargs: Any):
        """Raises a ValueError: a loss of outputs and labels is not the model's."""
        raise ValueError(
            f"{type(self).__name__} brings its own loss: in a loop of your own take batch_loss(data, seed, training)"
        )

    def data_faults(self) -> list[DataFault]:
        """The counts of invalid examples in `batch_loss`, which cannot raise errors."""
        return []

    def wrong_data(self) -> list[str]:
        """The sentences of `data_faults` since the last call; a ValueError for one that ends the run."""
        told = [(fault.is_error, fault.told()) for fault in self.data_faults()]
        for is_error, sentence in told:
            if is_error and sentence:
                raise ValueError(sentence)
        return [sentence for _, sentence in told if sentence]

    def check_arguments(self, arguments: dict[str, Any]) -> None:
        """Checks, and may change, the arguments of `fit`, `evaluate`, `train_on_batch` or `test_on_batch`, by name.

        Raises:
            ValueError: for invalid data.
        """

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As `keras.Model.fit`, with a `StopOnSkippedSteps` by default, and warnings of values that no pixels have.

        Raises:
            ValueError: for invalid data or images, or too many skipped steps in a row.
        """
        call = self._checked(super().fit, args, kwargs)
        given = call.arguments
        check_batches(
            given.get("x"),
            given.get("batch_size"),
            given.get("validation_split", 0.0),
            self.accumulation_steps,
            self.distribute_strategy.num_replicas_in_sync,
        )
        for callback in keras.tree.flatten(given.get("callbacks") or []):
            if isinstance(callback, keras.callbacks.BackupAndRestore) and callback.save_freq != "epoch":
                raise ValueError(
                    f"BackupAndRestore(save_freq={callback.save_freq}) goes on at the beginning of the epoch with the "
                    "weights of its middle, so that data are seen twice: take save_freq='epoch', or "
                    "keras_mae.trainers, which resume at the step"
                )
            monitored = str(getattr(callback, "monitor", "")).removeprefix("val_")
            if getattr(callback, "mode", None) == "auto":  # Keras infers it from metrics that its `compile` has kept
                of_metric = _compat.better(self.logged_metrics().get(monitored))
                callback.mode = of_metric or ("max" if monitored.endswith("accuracy") else "auto")
        shapes = self.example_shapes()
        validation = given.get("validation_data")
        if isinstance(validation, (tuple, list)) and validation:
            given["validation_data"] = (checked_images(validation[0], *shapes), *validation[1:])
        else:
            given["validation_data"] = checked_images(validation, *shapes)
        given["x"] = checked_images(given.get("x"), *shapes)
        given["callbacks"] = _with_stop(given.get("callbacks"), self)
        try:
            return super().fit(*call.args, **call.kwargs)
        except tf.errors.InvalidArgumentError as error:
            if UNEQUAL_SHARES not in str(error):
                raise
            raise ValueError(f"{UNEQUAL_SHARES}: {DROP_THE_LAST}") from error

    def evaluate(self, *args: Any, **kwargs: Any):
        """As `keras.Model.evaluate`; raises a ValueError for invalid data or images."""
        return self._and_faults(super().evaluate, args, kwargs, looks=not _compat.called_by_fit(kwargs))

    def train_on_batch(self, *args: Any, **kwargs: Any):
        """As `keras.Model.train_on_batch`; raises a ValueError for invalid data."""
        return self._and_faults(super().train_on_batch, args, kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any):
        """As `keras.Model.test_on_batch`; raises a ValueError for invalid data."""
        return self._and_faults(super().test_on_batch, args, kwargs)

    def get_metrics_result(self) -> dict[str, Any]:
        """As Keras', with NaN as the mean of nothing: an epoch whose steps were all skipped has no loss."""
        return {name: _result(metric) for name, metric in self.logged_metrics().items()}

    def _checked(self, method: Callable, args, kwargs) -> inspect.BoundArguments:
        call = inspect.signature(method).bind(*args, **kwargs)
        self.check_arguments(call.arguments)
        return call

    def _and_faults(self, method: Callable, args, kwargs, looks: bool = False):
        call = self._checked(method, args, kwargs)
        if looks:
            call.arguments["x"] = checked_images(call.arguments.get("x"), *self.example_shapes())
        result = method(*call.args, **call.kwargs)
        for sentence in self.wrong_data():
            _log.warning(sentence)
        return result


for _name in ("fit", "evaluate"):  # for editors, and subclasses that bind arguments
    setattr(getattr(CheckedModel, _name), "__signature__", inspect.signature(getattr(keras.Model, _name)))


def _result(metric: keras.metrics.Metric) -> Any:
    result = metric.result()
    if not isinstance(metric, keras.metrics.Mean):
        return result
    return tf.where(tf.convert_to_tensor(metric.count) > 0, result, float("nan"))


def _with_stop(callbacks, model: CheckedModel):
    """`fit`'s callbacks with a `StopOnSkippedSteps` first, so that the others see its logs."""
    is_list = isinstance(callbacks, keras.callbacks.CallbackList)
    given = callbacks.callbacks if is_list else keras.tree.flatten(callbacks or [])
    stops = [callback for callback in given if isinstance(callback, StopOnSkippedSteps)] or [StopOnSkippedSteps()]
    ordered = [*stops, *(callback for callback in given if callback not in stops)]
    if not is_list:
        return ordered
    for stop in stops:
        stop.set_model(model)
    callbacks.callbacks = ordered
    return callbacks
