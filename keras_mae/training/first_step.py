"""The first step that XLA compiles: how long that takes, and what follows if XLA fails."""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_mae.training.unknown_gpu import why_not_compiled

_log = logging.getLogger("keras_mae")
_NOT_OF_THE_COMPILER = (tf.errors.ResourceExhaustedError, tf.errors.OutOfRangeError, tf.errors.CancelledError)
# TPUs run nothing but compiled steps, and one worker's step must be that of the others
_COMPILED_OR_NOT_TOGETHER = (tf.distribute.TPUStrategy, tf.distribute.MultiWorkerMirroredStrategy)
_LONGEST = 300  # characters of a reason
# what is in the message of an error, and what to do
_REMEDIES = {
    "libdevice": "set XLA_FLAGS=--xla_gpu_cuda_data_dir=DIR, the CUDA folder that holds nvvm/libdevice",
    "ptx": 'install the compiler of CUDA, by pip install "tensorflow[and-cuda]", or a TensorFlow made for this GPU',
    "unsupported operations": "replace what XLA does not know, or set jit_compile=False to save the attempt",
}
_NO_REMEDY = "set jit_compile=False to save the attempt"
_AROUND_IT = re.compile(r"graph execution error|detected at node|file |<?stack trace|\d+ root error", re.IGNORECASE)
_NUMBER_AND_KIND = re.compile(r"\(\d+\) [\w ]+:\s*")  # of one of several errors


def with_compilation(model: keras.Model, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A train function that says how long its first call compiles, and goes on without XLA if that fails.

    XLA fails on a GPU that it does not know, without CUDA's compiler, and for operations that it does not know. Its
    step changes no variable then, and the same batches go through the uncompiled step: the run is that of
    `jit_compile=False`. An error that is not the compiler's comes from the uncompiled step as well. So it is with
    `jit_compile=True` as with `"auto"`. On TPUs and on several workers the error ends the run, as a TPU runs compiled
    steps alone, and one worker's step must be that of the others.

    Args:
        model: a `GlobalBatchModel`, whose `train_function` is the result until the step is compiled.
        function: Keras' train function.
    """

    def without_xla(reason: str) -> Callable[[Any], Any]:
        _log.warning("XLA cannot compile the step, which runs uncompiled, and slower: %s; %s", reason, _remedy(reason))
        model.jit_compile = False
        model.test_function = model.predict_function = None
        model.make_train_function(force=True)
        return model.train_function

    def timed(iterator: Any) -> Any:
        _log.info("compiling the step with XLA, which takes about a minute for a large model")
        begin = time.perf_counter()
        logs = function(iterator)
        _log.info("the first step took %.0f s, most of it for XLA", time.perf_counter() - begin)
        model.train_function = function
        return logs

    def compiled_or_not(iterator: Any, batch: Any) -> Any:
        unknown, seen = why_not_compiled(), int(model.batches_seen)
        if unknown is not None:
            return without_xla(unknown)(_again(model, iterator, batch))
        try:
            return timed(_again(model, iterator, batch))
        except tf.errors.OpError as error:
            if isinstance(error, _NOT_OF_THE_COMPILER) or int(model.batches_seen) != seen:
                raise
            return without_xla(_reason(error))(_again(model, iterator, batch))

    def first(iterator: Any) -> Any:
        if isinstance(model.distribute_strategy, _COMPILED_OR_NOT_TOGETHER):
            return timed(iterator)
        left = model.steps_per_execution if model.steps_left is None else model.steps_left
        batches = itertools.islice(iterator, min(model.steps_per_execution, left))
        logs = compiled_or_not(iterator, next(batches))  # a StopIteration is Keras' sign of the end
        for batch in batches:  # one at a time, as all of an execution may be too large for the host
            logs = model.train_function(_again(model, iterator, batch))
        return logs

    return first


def _again(model: keras.Model, iterator: Any, batch: Any) -> Iterator:
    """An iterator over a batch of another one, of the same specification, so that a function is not traced anew."""
    whole_executions = model.steps_left is not None and model.steps_per_execution > 1
    if not isinstance(iterator, tf.data.Iterator) or whole_executions:
        return iter([batch])
    nothing = tf.data.Dataset.from_generator(lambda: iter(()), output_signature=iterator.element_spec)
    return iter(tf.data.Dataset.from_tensors(batch).concatenate(nothing))


def _reason(error: tf.errors.OpError) -> str:
    """The first line of an error's message that says what happened."""
    lines = [line.strip() for line in str(error.message).splitlines()]
    said = [_NUMBER_AND_KIND.sub("", line, count=1) for line in lines if line and not _AROUND_IT.match(line)]
    return (said or [type(error).__name__])[0].rstrip(".")[:_LONGEST]


def _remedy(reason: str) -> str:
    return next((remedy for words, remedy in _REMEDIES.items() if words in reason.lower()), _NO_REMEDY)
