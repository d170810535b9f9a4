"""Branches that are seldom taken."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def rarely(branch: Callable[[], tf.Tensor]) -> Callable[[], tf.Tensor]:
    """A branch for `tf.cond` that costs nothing where it is not taken.

    TensorFlow puts the branches of a condition into the graph around it, and then visits every operation of the one
    that is not taken, too; this one stays the call of a function.
    """
    return tf.function(branch, autograph=False, experimental_attributes={"_noinline": True})
