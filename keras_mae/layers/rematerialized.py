"""Functions that are computed a second time for their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_mae.layers.kernels import with_kernel


def rematerialized(function: Callable) -> Callable:
    """The function of tensors, of which only the arguments are kept for the gradient: less memory, more time.

    A compiler that sees that both computations are the same keeps the results of the first, and one that computes early
    what it needs late keeps those of the second. In a compiled step the second computation therefore has arguments of
    its own, which are there when the gradient of its result is.

    Args:
        function: of tensors alone (in a graph, TensorFlow's recomputation takes no keywords), to one tensor.
    """
    gradients: list[Any] = []  # of the result: there before the second call

    def call(*tensors):
        return function(*(of_second_call(tensors, gradients[-1]) if gradients else tensors))

    again = keras.remat(call)
    return lambda *tensors: noting_its_gradient(again(*tensors), gradients)


@with_kernel("noting_its_gradient")
def noting_its_gradient(result, gradients: list[Any]):
    """The result, whose gradient is put into the list as soon as there is one."""
    return result


@with_kernel("of_second_call")
def of_second_call(tensors, gradient):
    """The arguments of a second call: the tensors."""
    return tensors
