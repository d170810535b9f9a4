"""LARS, an optimizer for large batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_mae import _compat


@keras.saving.register_keras_serializable(package="keras_mae")
class LARS(keras.optimizers.Optimizer):
    """Momentum whose step is, for each variable, a fixed share of the variable's own norm.

    `u = g + decay w`, then `u *= trust |w| / |u|`, then `v = momentum v + u` and `w -= lr v`. Variables of one
    dimension (biases, gains of norms) are neither scaled nor decayed.

    The paper multiplies by the learning rate before the momentum, `v = momentum v + lr u`, and writes the norm of `u`
    as `|g| + decay |w|`; with a constant rate and no decay that is the same. Here the rate comes last, as in
    PyTorch's SGD, for which the published settings of linear probes were found.

    Args:
        learning_rate: a number or a schedule.
        momentum: share of the last step.
        weight_decay: part of the gradient (not decoupled); 0 when probing.
        trust_coefficient: the share of the norm.
        **kwargs: of `keras.optimizers.Optimizer`.

    Reference: arXiv 1708.03888, algorithm 1; arXiv 2111.06377, table 10.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **kwargs)
        self.momentum, self.trust_coefficient = momentum, trust_coefficient

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        self.exclude_from_weight_decay(variables)  # from Keras' decay, which is decoupled
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient, variable, learning_rate) -> None:
        step = keras.ops.cast(gradient, variable.dtype)
        if len(variable.shape) > 1:
            step = step + variable * self.weight_decay
            size, length = (keras.ops.sqrt(keras.ops.sum(keras.ops.square(x))) for x in (variable, step))
            # without scaling where the norm of the variable or of its gradient is 0
            trust = self.trust_coefficient * size / keras.ops.where(length > 0, length, 1.0)
            step = step * keras.ops.where((size > 0) & (length > 0), trust, 1.0)
        velocity = self._velocities[_compat.index_of(self, variable)]
        step = velocity * self.momentum + step
        self.assign(velocity, step)
        self.assign_sub(variable, step * keras.ops.cast(learning_rate, variable.dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "trust_coefficient": self.trust_coefficient}
