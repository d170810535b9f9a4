"""The place in a model where numbers stop being finite."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.training import GlobalBatchModel

_NEAR = 0.01  # the share of the largest number from which on a sum of products may be too large


class Call(NamedTuple):
    """One call of a layer.

    Attributes:
        layer: that was called.
        begin: how many calls had ended when it began.
        given, returned: whether all numbers in its arguments and in its outputs are finite.
        largest: the largest finite magnitude in its arguments.
        largest_returned: likewise in its outputs.
    """

    layer: keras.layers.Layer
    begin: int
    given: bool
    returned: bool
    largest: float
    largest_returned: float


def where_not_finite(model: GlobalBatchModel, images: tf.Tensor, seed: ExampleSeed, scale: float) -> str:
    """Goes through a step eagerly, in the model's own precision, and tells where the first number is not finite.

    Args:
        model: compiled.
        images: of the step, or some of them.
        seed: of the first image.
        scale: factor of the loss.

    Returns:
        A sentence; empty if loss and gradients are finite.
    """
    if not _finite([images]):
        return "the images themselves hold values that are not finite"
    before = [
        (variable, variable.numpy()) for variable in model.non_trainable_variables
    ]  # a forward pass may move them
    variables = model.trainable_variables
    try:
        with calls_of_layers() as calls, tf.GradientTape() as tape:
            loss = model.batch_loss(images, seed, training=True)
            scaled = loss * scale
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
    finally:
        for variable, value in before:
            variable.assign(value)
    for before_it, call in zip([None, *calls], calls):
        if not call.given:
            return f"the first layer with numbers that are not finite is {_of_input(call, before_it)}"
        if not call.returned:
            return f"the first layer whose output is not finite is {_of_output(call)}"
    if not math.isfinite(float(loss)):
        return "the outputs of all layers are finite, and the loss is not"
    order = backward_order(calls, variables)
    bad = [variables[index] for index in order if gradients[index] is not None and not _finite([gradients[index]])]
    if not bad:
        return ""
    more = "" if scale == 1 else f"; the loss is scaled by {scale:g}, and a float16 run finds its scale by such steps"
    return (
        f"the forward pass is finite, and the gradient is not: in the order of the backward pass, {bad[0].path} is the "
        f"first of {len(bad)} among {len(variables)} variables with such a gradient{more}"
    )


@contextlib.contextmanager
def calls_of_layers() -> Iterator[list[Call]]:
    """Yields the list of calls of layers inside, in the order in which they end: inner layers before outer ones."""
    calls: list[Call] = []
    original = keras.layers.Layer.__call__

    def noted(layer: keras.layers.Layer, *arguments: Any, **keywords: Any) -> Any:
        begin = len(calls)
        outputs = original(layer, *arguments, **keywords)
        given, returned = (
            [x for x in tf.nest.flatten(all) if _is_float(x)] for all in ((arguments, keywords), outputs)
        )
        calls.append(Call(layer, begin, _finite(given), _finite(returned), _largest(given), _largest(returned)))
        return outputs

    setattr(keras.layers.Layer, "__call__", noted)
    try:
        yield calls
    finally:
        setattr(keras.layers.Layer, "__call__", original)


def backward_order(calls: Sequence[Call], variables: Sequence[keras.Variable]) -> list[int]:
    """The indices of variables in the order in which a backward pass reaches them.

    Args:
        calls: of layers, in the order in which they ended. What a layer with inner layers owns itself, such as a token,
            counts as used at its beginning.
        variables: of them; those of no layer that was called come last.
    """
    used: dict[int, int] = {}
    for call in calls:
        for variable in call.layer.weights:
            used.setdefault(id(variable), call.begin)
    return sorted(range(len(variables)), key=lambda index: -used.get(id(variables[index]), -1))


def _of_output(call: Call) -> str:
    limit, said = _limit(call.layer)
    near = f", and {said}" if call.largest > _NEAR * limit else ""
    return f"{_named(call.layer)}: the largest magnitude of its input is {call.largest:.6g}{near}"


def _of_input(call: Call, before: Call | None) -> str:
    """An input that is not finite after a layer whose output is: numbers were cast or added in between."""
    limit, said = _limit(call.layer)
    if before is None or before.largest_returned <= _NEAR * limit:
        return f"{_named(call.layer)}: its input is not"
    return (
        f"{_named(call.layer)}: its input is not, as the layer before it, {before.layer.path}, gives magnitudes up to "
        f"{before.largest_returned:.6g}, and {said}"
    )


def _named(layer: keras.layers.Layer) -> str:
    return f"{layer.path} ({type(layer).__name__})"


def _limit(layer: keras.layers.Layer) -> tuple[float, str]:
    """The largest number of a layer's precision, and a clause on it."""
    limit = float(tf.as_dtype(layer.compute_dtype).max)
    return limit, f"{layer.compute_dtype} ends at {limit:.6g}"


def _is_float(x: Any) -> bool:
    return (tf.is_tensor(x) or isinstance(x, np.ndarray)) and tf.as_dtype(x.dtype).is_floating


def _finite(tensors: Sequence[Any]) -> bool:
    return all(bool(tf.reduce_all(tf.math.is_finite(tf.cast(x, tf.float32)))) for x in tensors)


def _largest(tensors: Sequence[Any]) -> float:
    """The largest finite magnitude."""
    values = [tf.abs(tf.cast(x, tf.float32)) for x in tensors if tf.size(x)]
    return max((float(tf.reduce_max(tf.where(tf.math.is_finite(x), x, 0.0))) for x in values), default=0.0)
