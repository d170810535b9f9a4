"""Branches that are seldom taken, and pieces that many graphs have in common."""

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
    """A branch for `tf.cond` that costs nothing where it is not taken.

    TensorFlow puts the branches of a condition into the graph around it, and then visits every operation of the one
    that is not taken, too; this one stays the call of a function.
    """
    if tf.executing_eagerly():  # there, only the branch that is taken runs, and a function would be traced each time
        return branch
    return _as_it_is(tf.function(branch, autograph=False, experimental_attributes=STAYS_A_CALL))


def traced_once(*signature: tf.TensorSpec) -> Callable[[Callable], Callable]:
    """Makes a function of tensors one that is traced once, and stands once in each graph, however often it is called.

    Args:
        signature: of each argument.
    """

    def traced(function: Callable) -> Callable:
        once = tf.function(function, input_signature=signature, autograph=False, experimental_attributes=STAYS_A_CALL)
        return _as_it_is(once)

    return traced


def _as_it_is(function: Callable) -> Callable:
    """The function, whose graph is not rewritten where another graph calls it.

    TensorFlow would rewrite all that a decoder of image files can call, for seconds, in every iterator of every data
    set, and gain nothing. The setting is the process's: one thread at a time has it, and puts it back as it was; others
    do not wait for it, as the two may need each other's traces, and do without.
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
