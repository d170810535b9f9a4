"""AdamW with parameter groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_mae import _compat
from keras_mae.optimizers.parameter_groups import depth_groups, layer_decay_scales, names_of, select, split


@keras.saving.register_keras_serializable(package="keras_mae")
class AdamW(keras.optimizers.AdamW):
    """AdamW with weight decay and learning-rate scales by the paths of variables.

    With the learning rate `lr`, and the scale `s` of a variable: `w -= s lr decay w`, then Adam's step with `s lr`, as
    PyTorch with parameter groups. Keras' own AdamW has one rate for all, and its files lose the exclusions from decay.
    (`exclude_from_weight_decay` has no effect here.)

    Args:
        learning_rate: a number or a schedule.
        weight_decay: decoupled, multiplied by the learning rate.
        beta_1, beta_2, epsilon: of Adam.
        no_weight_decay: patterns (`fnmatch`) of the paths of variables without weight decay, see `select`.
        learning_rate_scales: None, or the scale for each pattern of paths; every variable must match exactly one.
        **kwargs: of `keras.optimizers.AdamW`.

    Raises:
        ValueError: when it is built with variables, if a pattern matches none, or a variable no scale or two.

    Reference: arXiv 1711.05101, algorithm 2.
    """

    _slots: tuple[tuple[keras.Variable, keras.Variable], ...]  # momentum and velocity of each variable

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        weight_decay: float = 0.05,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        no_weight_decay: Sequence[str] = (),
        learning_rate_scales: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate, weight_decay=weight_decay, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, **kwargs
        )
        # tuples, as Keras tracks lists and dicts for checkpoints
        self._no_weight_decay = tuple(no_weight_decay)
        self._scale_patterns = None if learning_rate_scales is None else tuple(learning_rate_scales.items())

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        undecayed = {id(v) for chosen in select(variables, self._no_weight_decay) for v in chosen}
        scales = {id(variable): 1.0 for variable in variables}
        if self._scale_patterns is not None:
            groups = split(variables, (pattern for pattern, _ in self._scale_patterns))
            for (_, scale), group in zip(self._scale_patterns, groups, strict=True):
                scales.update({id(variable): scale for variable in group})
        self._decayed = tuple(id(variable) not in undecayed for variable in variables)
        self._scales = tuple(scales[id(variable)] for variable in variables)
        self.exclude_from_weight_decay(variables)  # from Keras' decay: `update_step` decays at each variable's own rate
        super().build(variables)
        slots = ([slot for slot in self.variables if slot.path.endswith(end)] for end in ("_momentum", "_velocity"))
        self.__dict__["_slots"] = tuple(zip(*slots, strict=True))  # not setattr: checkpoints would find them twice

    def update_step(self, gradient, variable, learning_rate) -> None:
        index = _compat.index_of(self, variable)
        learning_rate = keras.ops.cast(learning_rate, variable.dtype) * self._scales[index]
        if self._decayed[index] and self.weight_decay:
            self.assign_sub(variable, variable * (learning_rate * self.weight_decay))
        if self.amsgrad or tf.distribute.has_strategy():  # whose variables have no single handle
            super().update_step(gradient, variable, learning_rate)
        else:
            self.adam_in_one_pass(gradient, variable, learning_rate, index)

    def adam_in_one_pass(self, gradient, variable, learning_rate, index: int) -> None:
        """Adam's step by TensorFlow's kernel, which reads and writes every number once."""
        variable, momentum, velocity = (
            each.value if isinstance(each, keras.Variable) else each for each in (variable, *self._slots[index])
        )
        dtype, step = variable.dtype, tf.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=learning_rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )

    def get_config(self) -> dict[str, Any]:
        scales = None if self._scale_patterns is None else dict(self._scale_patterns)
        own = {"no_weight_decay": list(self._no_weight_decay), "learning_rate_scales": scales}
        return {**super().get_config(), **own}


def adamw(
    model,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float = 0.05,
    beta_2: float = 0.95,
    layer_decay: float | None = None,
) -> AdamW:
    """AdamW without decay of `model.no_weight_decay()`: biases, norms, tokens, position embeddings.

    Args:
        model: any of the models of this package, with its layers frozen before.
        learning_rate: a number or a schedule.
        weight_decay: decoupled, multiplied by the learning rate.
        beta_2: decay of the second moment; MAE pretrains with 0.95 and fine-tunes with 0.999.
        layer_decay: None, or the factor of `layer_decay_scales`.

    Raises:
        ValueError: if the model's groups do not partition its trainable variables, or a number is negative or NaN.

    Reference: arXiv 1711.05101; arXiv 2111.06377, tables 8 and 9.
    """
    for name, number in (("learning_rate", learning_rate), ("weight_decay", weight_decay)):
        if isinstance(number, (int, float)) and not number >= 0:
            raise ValueError(f"{name} is at least 0, got {number}")
    depth_groups(model)
    names = names_of(model.trainable_variables)
    return AdamW(
        learning_rate,
        weight_decay=weight_decay,
        beta_2=beta_2,
        no_weight_decay=[names[id(variable)] for variable in model.no_weight_decay()],
        learning_rate_scales=None if layer_decay is None else layer_decay_scales(model, layer_decay),
    )
