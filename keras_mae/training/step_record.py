"""Loss and gradient norm of the last steps, on the device, and spikes of the norm."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

KEPT = 64  # steps
_LEAST = 16  # norms that a median needs
_NONE, _GOOD, _NOT_FINITE, _SPIKE, _CLIPPED = -1.0, 0.0, 1.0, 2.0, 3.0  # no step yet, and the fates of one
NOT_FINITE, SPIKE = "not finite", "spike"


class Step(NamedTuple):
    """One step of a run.

    Attributes:
        number: of the step, counted from 1.
        loss: the mean over the global batch, before the update.
        norm: of the gradient, before it is clipped.
        median: of the norms before it, see `StepRecord.median`; None for too few.
        skipped: None, or why: `"not finite"` or `"spike"`.
        clipped: None, or why: `"spike"`.
    """

    number: int
    loss: float
    norm: float
    median: float | None
    skipped: str | None
    clipped: str | None


class StepRecord:
    """The last 64 steps in a small variable, so that the host need not wait for each step.

    The running median is that of the finite norms among the last 64 steps, those of skipped spikes included, from 16
    on. So norms that stay higher become the median after some 32 steps, and a run cannot skip steps for ever.

    The variable is no weight, and in no checkpoint of a model: `keras_mae.trainers` saves it beside.

    Args:
        strategy: of the model; all replicas write the same numbers.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        with strategy.scope():
            self.variable = tf.Variable(
                np.stack([np.zeros(KEPT), np.zeros(KEPT), np.full(KEPT, _NONE), np.full(KEPT, np.nan)]),
                dtype=tf.float32,
                trainable=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                name="step_record",
            )

    def median(self) -> tf.Tensor:
        """The running median, float32 scalar; NaN for too few norms."""
        _, norms, fates, _ = tf.unstack(self.variable.read_value())
        counted = (fates >= _GOOD) & tf.math.is_finite(norms)
        count = tf.reduce_sum(tf.cast(counted, tf.int32))
        ordered = tf.sort(tf.where(counted, norms, math.inf))
        middle = (tf.gather(ordered, tf.maximum(count - 1, 0) // 2) + tf.gather(ordered, count // 2)) / 2
        return tf.where(count < _LEAST, math.nan, middle)

    def write(self, batch: tf.Tensor, loss: tf.Tensor, norm: tf.Tensor, median, finite, spike, clips: bool) -> None:
        """Writes a step on every replica, within the step.

        Args:
            batch: int64 scalar, the number of the step, counted from 0.
            loss, norm, median: float32 scalars.
            finite: bool scalar, whether loss and norm are finite.
            spike: bool scalar.
            clips: whether a spike is clipped, and not skipped.
        """
        fate = tf.where(finite, tf.where(spike, _CLIPPED if clips else _SPIKE, _GOOD), _NOT_FINITE)
        here = tf.range(KEPT, dtype=tf.int64) == batch % KEPT
        self.variable.assign(tf.where(here, tf.stack([loss, norm, fate, median])[:, None], self.variable))

    def since(self, step: int, now: int) -> list[Step]:
        """The steps after `step` up to `now`, numbers counted from 1, of which only the last 64 are known."""
        record = self.variable.numpy()
        numbers = range(max(step, now - KEPT, 0) + 1, now + 1)
        columns = ((number, record[:, (number - 1) % KEPT].tolist()) for number in numbers)
        return [_step(number, *column) for number, column in columns if column[2] != _NONE]

    def running_median(self) -> float | None:
        """The median that the next step is compared with; None for too few norms."""
        _, norms, fates, _ = self.variable.numpy()
        counted = norms[(fates >= _GOOD) & np.isfinite(norms)]
        return float(np.median(counted)) if len(counted) >= _LEAST else None


def _step(number: int, loss: float, norm: float, fate: float, median: float) -> Step:
    return Step(
        number,
        loss,
        norm,
        None if math.isnan(median) else median,
        {_NOT_FINITE: NOT_FINITE, _SPIKE: SPIKE}.get(fate),
        {_CLIPPED: SPIKE}.get(fate),
    )
