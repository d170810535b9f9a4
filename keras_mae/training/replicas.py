"""Compilation under strategies that run a thread for each replica: XLA compiles the parts between their meetings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import tensorflow as tf

_log = logging.getLogger("keras_mae")


def has_threads(strategy: tf.distribute.Strategy) -> bool:
    """Whether the strategy runs a thread for each replica; the threads meet in `merge_call`, such as an all-reduce.

    XLA cannot compile such a meeting: neither the loop over the replicas as a whole, which Keras' `jit_compile` means,
    nor a replica's whole step.
    """
    return isinstance(strategy, (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy))


def compiled_here(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled by XLA for the calling replica's device; as it is if threads meet in it.

    They meet where a layer changes a variable that all replicas share, such as the state of Keras' random numbers. The
    `tf.function` is made anew for each replica: the handles of its variables are in the graph.
    """

    def compiled(*arguments: Any) -> Any:
        try:
            return tf.function(function, jit_compile=True, autograph=False)(*arguments)
        except RuntimeError as error:  # of tracing, before anything has run
            if "merge_call" not in str(error):
                raise
            _log.warning(
                "a part of the step is not compiled, as it changes a variable that the replicas share: draw random "
                "numbers from the seed of the step, or update variables in after_update()"
            )
            return function(*arguments)

    return compiled
