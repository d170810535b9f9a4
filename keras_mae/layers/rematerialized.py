"""Functions that are computed a second time for their gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import keras

from keras_mae.layers.kernels import with_kernel


def rematerialized(function: Callable) -> Callable:
    """The function of tensors, of which only the arguments are kept for the gradient: less memory, more time.

    A compiler that sees that both computations are the same keeps the results of the first. The second one of a
    compiled step therefore has arguments of its own.

    Args:
        function: of tensors alone (in a graph, TensorFlow's recomputation takes no keywords), to one tensor.
    """
    calls = itertools.count()

    def call(*tensors):
        return function(*map(of_second_call, tensors)) if next(calls) else function(*tensors)

    return keras.remat(call)


@with_kernel("of_second_call")
def of_second_call(tensor):
    """The argument of a second call: the tensor."""
    return tensor
