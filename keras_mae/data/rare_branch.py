"""Branches that are seldom taken, and functions that many graphs share."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_mae._compat import STAYS_A_CALL

_NOT_REWRITTEN = "disable_meta_optimizer"
_setting = threading.RLock()


def rarely(branch: Callable[[], Any]) -> Callable[[], Any]:
    """Returns a branch for `tf.cond` that costs nothing where it is not taken.

    TensorFlow puts the branches of a condition into the graph around it, and visits every operation of both; this
    branch stays the call of a function.
    """
    if tf.executing_eagerly():  # only the branch that is taken runs, and a function would be traced each time
        return branch
    return _as_it_is(tf.function(branch, autograph=False, experimental_attributes=STAYS_A_CALL))


def traced_once(*signature: tf.TensorSpec) -> Callable[[Callable], Callable]:
    """Decorates a function of tensors, of this signature: it is traced once, and stored once in each graph."""

    def traced(function: Callable) -> Callable:
        once = tf.function(function, input_signature=signature, autograph=False, experimental_attributes=STAYS_A_CALL)
        return _as_it_is(once)

    return traced


def _as_it_is(function: Callable) -> Callable:
    """Returns the function, whose graph is not rewritten where another graph calls it.

    TensorFlow would rewrite all functions that a decoder can call, for seconds, in every iterator of every data set,
    and gain nothing. The setting is the process's: one thread at a time sets it, and puts it back; other threads do
    without and do not wait, as the two may need each other's traces.
    """

    @functools.wraps(function)
    def call(*arguments):
        if not _setting.acquire(blocking=False):
            return function(*arguments)
        before = tf.config.optimizer.get_experimental_options().get(_NOT_REWRITTEN, False)
        tf.config.optimizer.set_experimental_options({_NOT_REWRITTEN: True})
        try:
            return function(*arguments)
        finally:
            tf.config.optimizer.set_experimental_options({_NOT_REWRITTEN: before})
            _setting.release()

    return call
