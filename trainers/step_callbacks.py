"""The callbacks of a run, which are called after each step and need not wait for it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_mae.trainers.idle_time import IdleTime
from keras_mae.training import GlobalBatchModel
from keras_mae.training.skipped_steps import look_every


class StepCallbacks(keras.callbacks.CallbackList):
    """Keras' list of callbacks, which does not wait for each step, and counts steps as they are taken.

    Keras 3.15 turns the logs of each step into numbers, and so waits for its end. Here they are numbers when there is
    a look at the device (`look_every`), after the first step and at the end of an epoch, and tensors in between. With
    `steps_per_execution` Keras counts the last steps of an epoch to the end of a whole execution; this list tells the
    model how many are left, and callbacks the number of the last that was taken.

    Args:
        callbacks: in the order in which they are called.
        model: that is trained.
        epochs: of the run.
        steps: in an epoch of this `fit`.
        idle: counts the idle time of an accelerator; None for no counting.
    """

    params: dict[str, Any]

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: GlobalBatchModel,
        epochs: int,
        steps: int,
        idle: IdleTime | None = None,
    ) -> None:
        super().__init__([*callbacks], add_history=True, model=model, epochs=epochs, steps=steps, verbose=0)
        self._idle, self._is_first, self._looked, self._timed = idle, True, 0, 0

    def on_epoch_begin(self, epoch, logs=None) -> None:
        super().on_epoch_begin(epoch, logs)
        self._looked = self._timed = 0
        if self._idle is not None:
            self._idle.begin()

    def on_train_batch_begin(self, batch, logs=None) -> None:
        self.model.steps_left = self.params["steps"] - batch
        for callback in self.callbacks:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None) -> None:
        taken = min(batch + 1, self.params["steps"])
        if self._is_first:  # which was compiled
            logs, self._is_first = _numbers(logs), False
            if self._idle is not None:
                self._idle.begin()
            self._timed = taken
        elif taken - self._looked >= look_every() or taken == self.params["steps"]:
            begin = time.perf_counter()
            logs = _numbers(logs)
            if self._idle is not None:
                self._idle.end(taken - self._timed, time.perf_counter() - begin)
            self._timed = taken
        if taken - self._looked >= look_every():
            self._looked = taken
        for callback in self.callbacks:
            callback.on_train_batch_end(taken - 1, logs)


def _numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    return {name: float(value) for name, value in (logs or {}).items()}


def fit_steps(
    model: GlobalBatchModel,
    batches: Any,
    callbacks: Sequence[keras.callbacks.Callback],
    steps: int,
    epochs: int = 1,
    first_epoch: int = 0,
    idle: IdleTime | None = None,
    **arguments: Any,
) -> None:
    """Keras' `fit` with `StepCallbacks`, in which an epoch has `steps` steps whatever `steps_per_execution` is.

    Args:
        model: compiled.
        batches: endless, in the order in which they are seen.
        callbacks: with a `StopOnSkippedSteps`.
        steps: in an epoch.
        epochs, first_epoch: `epochs` and `initial_epoch` of `fit`.
        idle: counts the idle time of an accelerator; None for no counting.
        **arguments: more of `fit`.
    """
    listed = StepCallbacks(callbacks, model, epochs, steps, idle)
    try:
        model.fit(
            batches,
            epochs=epochs,
            initial_epoch=first_epoch,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=listed,
            **arguments,
        )
    finally:
        model.steps_left = None
