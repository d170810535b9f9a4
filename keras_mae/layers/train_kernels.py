"""Where layers take the gradients that are written here in place of TensorFlow's: a train step on a processor."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator

import tensorflow as tf

_on = contextvars.ContextVar("whether layers have their own gradients", default=False)


@contextlib.contextmanager
def train_kernels(on: bool = True) -> Iterator[None]:
    """Lets GELU, LayerNorm and attention have their own gradients here; to be around forward and backward pass.

    They keep less for the backward pass, and what is element by element is compiled by XLA to one pass. That is for
    steps that run as a graph of TensorFlow's kernels; a step that XLA compiles whole has nothing to gain.
    """
    token = _on.set(on)
    try:
        yield
    finally:
        _on.reset(token)


def has_train_kernels() -> bool:
    """Whether this code runs, or is traced, within `train_kernels`."""
    return _on.get()


def in_one_pass(function: Callable) -> Callable:
    """The function compiled by XLA, for each shape once."""
    return functools.wraps(function)(tf.function(function, jit_compile=True, autograph=False))
