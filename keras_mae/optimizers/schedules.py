"""Learning-rate schedules, by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_mae")
class WarmupCosine(keras.optimizers.schedules.CosineDecay):
    """Linear from 0 to the peak during warm-up, then half a cosine down.

    `peak * step / warmup_steps`, then
    `minimum + (peak - minimum) * (1 + cos(pi * (step - warmup_steps) / (total_steps - warmup_steps))) / 2`.

    Args:
        peak: the learning rate at the end of warm-up.
        warmup_steps, total_steps: in optimizer steps.
        minimum: the learning rate at the end.

    Raises:
        ValueError: if warm-up is not shorter than the run.

    Reference: arXiv 2111.06377, tables 8 to 10; arXiv 1608.03983.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int, minimum: float = 0.0) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"warm-up must be shorter than the run: got {warmup_steps} warm-up steps of {total_steps}; train "
                "longer, or shorten the warm-up"
            )
        super().__init__(
            0.0 if warmup_steps else float(peak),
            decay_steps=total_steps - warmup_steps,
            alpha=minimum / peak,
            warmup_target=float(peak) if warmup_steps else None,  # its warm-up of 0 steps divides by 0
            warmup_steps=warmup_steps,
        )
        self.peak, self.total_steps, self.minimum = peak, total_steps, minimum

    def get_config(self) -> dict[str, Any]:
        own = ("peak", "warmup_steps", "total_steps", "minimum")
        return {name: getattr(self, name) for name in own}


@keras.saving.register_keras_serializable(package="keras_mae")
class WarmupMultiStep(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to the peak during warm-up, then constant but for sudden drops.

    `peak * step / warmup_steps`, then `peak * factor ** (number of milestones up to and including step)`.

    Args:
        peak: the learning rate at the end of warm-up.
        warmup_steps: in optimizer steps.
        milestones: the steps at which the learning rate is multiplied, increasing, the first not before warm-up ends.
        factor: the multiplier at each milestone.

    Raises:
        ValueError: if the milestones are not increasing, or begin during warm-up.

    Reference: arXiv 2111.09886, appendix A ("step learning rate scheduler").
    """

    def __init__(self, peak: float, warmup_steps: int, milestones: Sequence[int], factor: float = 0.1) -> None:
        milestones = list(milestones)
        if not milestones or milestones != sorted(set(milestones)) or milestones[0] < warmup_steps:
            raise ValueError(
                f"milestones are one or more increasing steps that come after warm-up: got {milestones} and "
                f"{warmup_steps} warm-up steps"
            )
        self.peak, self.warmup_steps, self.milestones, self.factor = peak, warmup_steps, milestones, factor

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        rising = self.peak * step / max(self.warmup_steps, 1)
        drops = sum(tf.cast(step >= milestone, tf.float32) for milestone in self.milestones)
        return tf.where(step < self.warmup_steps, rising, self.peak * self.factor**drops)

    def get_config(self) -> dict[str, Any]:
        own = ("peak", "warmup_steps", "milestones", "factor")
        return {name: getattr(self, name) for name in own}
