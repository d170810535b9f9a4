"""The update of the weights: on all replicas together, or on none of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from keras_mae import _compat
from keras_mae.training.replicas import has_threads


def loss_scale(optimizer: keras.optimizers.Optimizer) -> tf.Tensor | float:
    """The factor of the loss in a step, and so of its gradients."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return tf.convert_to_tensor(optimizer.dynamic_scale)
    return optimizer.loss_scale_factor or 1.0


def guarded_update(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
    finite: tf.Tensor,
    good: tf.Tensor,
    norm: tf.Tensor,
    clip_norm: float | None,
    limit: tf.Tensor | None,
    skipped_steps: tf.Variable,
    after: Callable[[], None],
    compiled: Callable[[Callable], Callable] | None = None,
) -> None:
    """Unscales, clips and applies gradients, or counts a skipped step; called on every replica.

    With a `LossScaleOptimizer` the same check grows or halves the scale; Keras' own checks the first replica alone.

    Args:
        optimizer: a built Keras optimizer.
        gradients: float32, of the scaled loss, summed over the replicas.
        variables: the variables of the gradients.
        finite: bool scalar, equal on all replicas, whether loss and gradients are finite; False halves the loss scale.
        good: bool scalar likewise, False if `finite` is; False skips the step.
        norm: float32 scalar, the global norm of the unscaled gradients.
        clip_norm: bound on that norm, or None.
        limit: a further bound, float32 scalar, which may be infinite, or None.
        skipped_steps: the count of skipped steps.
        after: follows the update, and is skipped with it; it may be called in a cross-replica context.
        compiled: None, or compiles a function of one replica, where a strategy runs a thread for each.
    """
    dynamic = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    inner = optimizer.inner_optimizer if dynamic else optimizer
    factors = []
    if dynamic:
        factors.append(1.0 / tf.convert_to_tensor(optimizer.dynamic_scale))
    if clip_norm is not None or limit is not None:
        bound = tf.minimum(*(math.inf if one is None else one for one in (clip_norm, limit)))
        factors.append(tf.where(norm > bound, bound / norm, 1.0))

    def scaled(factors, gradients) -> list[tf.Tensor]:
        for factor in factors:
            gradients = [gradient * factor for gradient in gradients]
        return list(gradients)

    def grow() -> None:
        if dynamic:
            steps = optimizer.step_counter + 1
            due = steps >= optimizer.dynamic_growth_steps
            optimizer.dynamic_scale.assign(optimizer.dynamic_scale * tf.where(due, 2.0, 1.0))
            optimizer.step_counter.assign(tf.where(due, tf.zeros_like(steps), steps))

    def skip(finite) -> None:
        skipped_steps.assign_add(1)
        if dynamic:
            steps = tf.convert_to_tensor(optimizer.step_counter)
            optimizer.dynamic_scale.assign(optimizer.dynamic_scale * tf.where(finite, 1.0, 0.5))
            optimizer.step_counter.assign(tf.where(finite, steps, tf.zeros_like(steps)))

    def update(run: Callable[[], None], finite, good) -> None:
        def take() -> None:
            with _compat.gradients_are_summed(inner):
                run()
            after()
            grow()

        tf.cond(good, take, lambda: skip(finite))

    def apply(gradients) -> None:
        inner.apply(gradients, variables)

    if not has_threads(tf.distribute.get_strategy()):
        gradients = scaled(factors, gradients)
        update(lambda: apply(gradients), finite, good)
        return

    one_by_one = compiled is not None and hasattr(inner, "update_replica") and inner.updates_replicas(variables)

    def update_replica(factors, gradients) -> None:
        inner.update_replica(scaled(factors, gradients), variables)

    # Threads must not meet in a branch, so it is taken outside
    def on_all_replicas(strategy, finite, good, factors, gradients) -> None:
        first = [strategy.experimental_local_results(flag)[0] for flag in (finite, good)]

        def run() -> None:
            if one_by_one and compiled is not None:
                strategy.run(compiled(update_replica), args=(factors, gradients))
                inner.iterations.assign_add(1)
            else:
                strategy.run(apply, args=(gradients,))

        update(run, *first)

    if not one_by_one:
        factors, gradients = [], scaled(factors, gradients)
    tf.distribute.get_replica_context().merge_call(on_all_replicas, args=(finite, good, factors, list(gradients)))
