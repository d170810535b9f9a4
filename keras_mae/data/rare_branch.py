"""Branches that are seldom taken, and pieces that many graphs have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

_CALL = {"_noinline": True}


def rarely(branch: Callable[[], Any]) -> Callable[[], Any]:
    """A branch for `tf.cond` that costs nothing where it is not taken.

    TensorFlow puts the branches of a condition into the graph around it, and then visits every operation of the one
    that is not taken, too; this one stays the call of a function.
    """
    return tf.function(branch, autograph=False, experimental_attributes=_CALL)


def traced_once(*signature: tf.TensorSpec) -> Callable[[Callable], Callable]:
    """Makes a function of tensors one that is traced once, and stands once in each graph, however often it is called.

    Args:
        signature: of each argument.
    """
    return functools.partial(tf.function, input_signature=signature, autograph=False, experimental_attributes=_CALL)
