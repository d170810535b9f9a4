"""A callback that ends a run whose loss stays NaN."""

from __future__ import annotations

import logging
from collections.abc import Callable

import keras
import tensorflow as tf

from keras_mae.training.step_record import SPIKE, Step

_log = logging.getLogger("keras_mae")
_LOOK_EVERY = 16  # steps on an accelerator, which has to wait for each look


def look_every() -> int:
    """The number of steps between two looks at counts and records on the device."""
    return _LOOK_EVERY if has_accelerator() else 1


def has_accelerator() -> bool:
    """Whether TensorFlow computes on anything but processors."""
    return any(device.device_type != "CPU" for device in tf.config.list_logical_devices())


class StopOnSkippedSteps(keras.callbacks.Callback):
    """Logs skipped steps, and ends `fit` with a ValueError when there are too many in a row.

    `fit` adds one by default. It adds `skipped_steps`, the number since `compile`, to the logs of each epoch. It checks
    after every step, on an accelerator after every 16th and at the end of an epoch. Spikes of the gradient's norm are
    logged, and count as skipped steps if they are; they end no run, see `StepRecord`. Keras' `TerminateOnNaN` ends
    `fit` at the first NaN.

    Args:
        limit: the number of steps in a row that may be skipped as they are not finite; None for any number. A float16
            run needs some to find its loss scale.
        last_good: returns, for the message, where the run can be continued from.

    Raises:
        ValueError: within `fit`, for too many skipped steps, or for invalid data that a compiled step has counted.
    """

    def __init__(self, limit: int | None = 20, last_good: Callable[[], str] | None = None) -> None:
        super().__init__()
        self._limit, self._last_good = limit, last_good
        self._skipped = self._seen = self._in_a_row = self._looked = 0

    def on_train_begin(self, logs=None) -> None:
        self._skipped, self._seen = self._counts()
        self._in_a_row = 0

    def on_train_batch_begin(self, batch, logs=None) -> None:
        # before a step and not after one, so that Keras' other callbacks need not wait for a step to end
        if batch == 0:
            self.model.make_train_function()  # raises an error if a callback has changed what is trained
            self._looked = 0
        elif batch - self._looked >= look_every():
            self._look()
            self._looked = batch

    def on_epoch_end(self, epoch, logs=None) -> None:
        self._look()
        if logs is not None:
            logs["skipped_steps"] = self._skipped

    def _counts(self) -> tuple[int, int]:
        skipped = int(self.model.skipped_steps.numpy())
        return skipped, skipped + int(self.model.optimizer.iterations.numpy())

    def _spikes(self, seen: int) -> list[Step]:
        steps = self.model.step_record.since(self._seen, seen)
        return [step for step in steps if SPIKE in (step.skipped, step.clipped)]

    def _look(self) -> None:
        skipped, seen = self._counts()
        new, steps = skipped - self._skipped, seen - self._seen
        spikes = self._spikes(seen) if self.model.spike_factor is not None else []
        self._skipped, self._seen = skipped, seen
        for step in spikes:
            _log.warning("%s", _said(step, self.model.spike_factor))
        new -= sum(step.skipped is not None for step in spikes)
        self._in_a_row = self._in_a_row + new if new == steps else 0
        if not new:
            return
        wrong = "; ".join(self.model.wrong_data())
        which = f"step {seen}" if new == steps == 1 else f"{new} of the steps {seen - steps + 1} to {seen}"
        reason = wrong or ("its loss or gradient is not finite" if new == 1 else "loss or gradient is not finite")
        _log.warning("%s skipped: %s (%d skipped so far)", which, reason, skipped)
        if self._limit is not None and self._in_a_row > self._limit:
            reason = wrong or "their loss or gradient was not finite"
            where = f"; {self._last_good()}" if self._last_good else ""
            raise ValueError(
                f"the last {self._in_a_row} steps, up to step {seen}, were skipped: {reason}{where}. Look at the "
                "images, lower the learning rate, clip gradients (clip_norm) or compute in float32"
            )


def _said(step: Step, factor: float) -> str:
    times = step.norm / step.median if step.median else float("inf")
    return (
        f"step {step.number} {'skipped' if step.skipped else 'clipped'}: its gradient norm {step.norm:.4g} is "
        f"{times:.1f} times the running median {step.median:.4g} (spike_factor={factor:g})"
    )
