"""The update of the weights: on all replicas together, or on none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from keras_mae import _compat


def guarded_update(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[keras.Variable],
    finite: tf.Tensor,
    norm: tf.Tensor,
    clip_norm: float | None,
    skipped_steps: tf.Variable,
    after: Callable[[], None],
) -> None:
    """Unscales, clips and applies gradients, or counts a skipped step; called on every replica.

    With a `LossScaleOptimizer` the same check grows or halves the scale; Keras' own checks the first replica alone.

    Args:
        optimizer: a built Keras optimizer.
        gradients: float32, of the scaled loss, summed over the replicas.
        variables: the variables of the gradients.
        finite: bool scalar, equal on all replicas; False skips the step.
        norm: float32 scalar, the global norm of `gradients`.
        clip_norm: bound on the norm of the unscaled gradients, or None.
        skipped_steps: the count of skipped steps.
        after: follows the update, and is skipped with it; it may be called in a cross-replica context.
    """
    dynamic = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    inner = optimizer.inner_optimizer if dynamic else optimizer
    factors = []
    if dynamic:
        factors.append(1.0 / tf.convert_to_tensor(optimizer.dynamic_scale))
    if clip_norm is not None:
        scale = tf.convert_to_tensor(optimizer.dynamic_scale) if dynamic else optimizer.loss_scale_factor or 1.0
        factors.append(clip_norm / tf.maximum(norm / scale, clip_norm))
    for factor in factors:
        gradients = [gradient * factor for gradient in gradients]

    def grow() -> None:
        if dynamic:
            steps = optimizer.step_counter + 1
            due = steps >= optimizer.dynamic_growth_steps
            optimizer.dynamic_scale.assign(optimizer.dynamic_scale * tf.where(due, 2.0, 1.0))
            optimizer.step_counter.assign(tf.where(due, tf.zeros_like(steps), steps))

    def skip() -> None:
        skipped_steps.assign_add(1)
        if dynamic:
            optimizer.dynamic_scale.assign(optimizer.dynamic_scale * 0.5)
            optimizer.step_counter.assign(0)

    def update(run: Callable[[], None], finite) -> None:
        def good() -> None:
            with _compat.gradients_are_summed(inner):
                run()
            after()
            grow()

        tf.cond(finite, good, skip)

    def apply(*gradients) -> None:
        inner.apply(gradients, variables)

    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)):
        update(lambda: apply(*gradients), finite)
        return

    # These strategies run a thread for each replica. Threads must not synchronise in a branch, so it is taken outside
    def on_all_replicas(strategy, finite, *gradients) -> None:
        first = strategy.experimental_local_results(finite)[0]
        update(lambda: strategy.run(apply, args=gradients), first)

    tf.distribute.get_replica_context().merge_call(on_all_replicas, args=(finite, *gradients))
