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
        frozen: patterns of paths of the variables that join later: `frozen_steps` steps do not change them, to the bit;
            then they are trained as by an optimizer that begins there, and their rate is `lr` times a factor that
            rises linearly from 0 to 1 in `rising_steps`.
        frozen_steps, rising_steps: in optimizer steps.
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
        frozen: Sequence[str] = (),
        frozen_steps: int = 0,
        rising_steps: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate, weight_decay=weight_decay, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, **kwargs
        )
        # tuples, as Keras tracks lists and dicts for checkpoints
        self._no_weight_decay = tuple(no_weight_decay)
        self._scale_patterns = None if learning_rate_scales is None else tuple(learning_rate_scales.items())
        self._frozen_patterns = tuple(frozen)
        self.frozen_steps, self.rising_steps = frozen_steps, rising_steps

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
        late = {id(v) for chosen in select(variables, self._frozen_patterns) for v in chosen}
        self._late = tuple(id(variable) in late for variable in variables)
        self.exclude_from_weight_decay(variables)  # from Keras' decay: `update_step` decays at each variable's own rate
        super().build(variables)
        slots = ([slot for slot in self.variables if slot.path.endswith(end)] for end in ("_momentum", "_velocity"))
        self.__dict__["_slots"] = tuple(zip(*slots, strict=True))  # not setattr: checkpoints would find them twice

    def without_frozen(self, gradients: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """The gradients of the variables in their order, with zeros for those that this step leaves as they are."""
        if not (self.frozen_steps and any(self._late)):
            return gradients

        def zeros() -> list[tf.Tensor]:
            return [tf.zeros_like(each) if late else each for each, late in zip(gradients, self._late, strict=True)]

        frozen = tf.cast(self.iterations, tf.int64) < self.frozen_steps
        return tf.cond(frozen, zeros, lambda: [tf.identity(each) for each in gradients])

    def apply(self, grads, trainable_variables=None) -> None:
        """As Keras'; momentum and velocity of a frozen variable stay 0."""
        if trainable_variables is not None:
            self.build(trainable_variables)
        super().apply(self.without_frozen(grads), trainable_variables)

    def updates_replicas(self, variables: Sequence[keras.Variable]) -> bool:
        """Whether `update_replica` does all that `apply` does for them."""
        more = (self.amsgrad, self.clipnorm, self.clipvalue, self.global_clipnorm, self.use_ema, self.loss_scale_factor)
        return (
            type(self) is AdamW
            and not any(more)
            and all(variable.constraint is None and not variable.overwrite_with_gradient for variable in variables)
        )

    def update_replica(self, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable]) -> None:
        """Updates the calling replica's copies of the variables, from gradients that are equal on all replicas.

        Every replica must do so. `iterations` stays as it is. No thread waits for another, so that XLA can compile it.
        """
        learning_rate, gradients = self.learning_rate, self.without_frozen(gradients)
        for gradient, variable in zip(gradients, variables, strict=True):
            self._update(gradient, _on_this_replica(variable), learning_rate, in_one_pass=True)

    def update_step(self, gradient, variable, learning_rate) -> None:
        # a strategy's variables have no single handle
        self._update(gradient, variable, learning_rate, not (self.amsgrad or tf.distribute.has_strategy()))

    def _update(self, gradient, variable, learning_rate, in_one_pass: bool) -> None:
        index = _compat.index_of(self, variable)
        learning_rate = keras.ops.cast(learning_rate, variable.dtype) * self._scales[index]
        decays = self._decayed[index] and self.weight_decay
        if self.frozen_steps and self._late[index]:
            share, correction = self._of_late_variables(variable.dtype)
            learning_rate = learning_rate * share
            if decays:  # by a factor, 1 while the rate is 0: a difference would turn -0 into 0
                self.assign(variable, variable * (1.0 - learning_rate * self.weight_decay))
            learning_rate = learning_rate * correction
        elif decays:
            self.assign_sub(variable, variable * (learning_rate * self.weight_decay))
        if in_one_pass:
            self.adam_in_one_pass(gradient, variable, learning_rate, index)
        else:
            super().update_step(gradient, variable, learning_rate)

    def _of_late_variables(self, dtype: str) -> tuple[tf.Tensor, tf.Tensor]:
        """The share of the rate that late variables have in this step, and what corrects Adam's bias for their own."""
        step = tf.cast(self.iterations + 1, dtype)
        own = tf.maximum(step - self.frozen_steps, 1.0)
        share = tf.cast(step > self.frozen_steps, dtype)
        if self.rising_steps:
            share *= tf.minimum((own - 1.0) / self.rising_steps, 1.0)
        beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)

        def correction(step) -> tf.Tensor:
            return tf.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)

        return share, correction(own) / correction(step)

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
        own = {
            "no_weight_decay": list(self._no_weight_decay),
            "learning_rate_scales": scales,
            "frozen": list(self._frozen_patterns),
            "frozen_steps": self.frozen_steps,
            "rising_steps": self.rising_steps,
        }
        return {**super().get_config(), **own}


def _on_this_replica(variable: keras.Variable) -> tf.Variable:
    """The calling replica's copy."""
    value = variable.value
    copies = tf.distribute.get_strategy().experimental_local_results(value)
    return next(copy for copy in copies if copy.handle is value.handle)


def adamw(
    model,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float = 0.05,
    beta_2: float = 0.95,
    layer_decay: float | None = None,
    frozen_steps: int = 0,
    rising_steps: int = 0,
) -> AdamW:
    """AdamW without decay of `model.no_weight_decay()`: biases, norms, tokens, position embeddings.

    Args:
        model: any of the models of this package, with its layers frozen before.
        learning_rate: a number or a schedule.
        weight_decay: decoupled, multiplied by the learning rate.
        beta_2: decay of the second moment; MAE pretrains with 0.95 and fine-tunes with 0.999.
        layer_decay: None, or the factor of `layer_decay_scales`.
        frozen_steps: how many steps at the start leave the model's encoder as it is, to the bit, while all else is
            trained. Then it is trained, too, as if the optimizer had begun there.
        rising_steps: how many steps after those the encoder's rate rises linearly, from 0 to that of the schedule.

    Raises:
        ValueError: if the model's groups do not partition its trainable variables, or a number is negative or NaN.

    Reference: arXiv 1711.05101; arXiv 2111.06377, tables 8 and 9.
    """
    numbers = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    numbers |= {"frozen_steps": frozen_steps, "rising_steps": rising_steps}
    for name, number in numbers.items():
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
        frozen=[names[id(v)] for v in model.encoder.weights if id(v) in names] if frozen_steps else [],
        frozen_steps=frozen_steps,
        rising_steps=rising_steps,
    )
