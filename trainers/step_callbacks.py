"""The callbacks of a run, which are called after each step and need not wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_mae.training import GlobalBatchModel


class StepCallbacks(keras.callbacks.CallbackList):
    """Keras' list of callbacks, with the logs of a step as they are on the device, and steps counted as they are taken.

    Keras 3.15 turns the logs into numbers after each step, and so waits for its end; a callback of this list that needs
    a number waits for it. With `steps_per_execution` Keras counts the last steps of an epoch to the end of a whole
    execution; this list tells the model how many are left, and callbacks the number of the last that was taken.

    Args:
        callbacks: in the order in which they are called.
        model: that is trained.
        epochs: of the run.
        steps: in an epoch of this `fit`.
    """

    params: dict[str, Any]

    def __init__(
        self, callbacks: Sequence[keras.callbacks.Callback], model: GlobalBatchModel, epochs: int, steps: int
    ) -> None:
        super().__init__([*callbacks], add_history=True, model=model, epochs=epochs, steps=steps, verbose=0)

    def on_train_batch_begin(self, batch, logs=None) -> None:
        self.model.steps_left = self.params["steps"] - batch
        for callback in self.callbacks:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None) -> None:
        last = min(batch, self.params["steps"] - 1)
        for callback in self.callbacks:
            callback.on_train_batch_end(last, logs)


def fit_steps(
    model: GlobalBatchModel,
    batches: Any,
    callbacks: Sequence[keras.callbacks.Callback],
    steps: int,
    epochs: int = 1,
    first_epoch: int = 0,
    **arguments: Any,
) -> None:
    """Keras' `fit` with `StepCallbacks`, in which an epoch has `steps` steps whatever `steps_per_execution` is.

    Args:
        model: compiled.
        batches: endless, in the order in which they are seen.
        callbacks: with a `StopOnSkippedSteps`.
        steps: in an epoch.
        epochs, first_epoch: `epochs` and `initial_epoch` of `fit`.
        **arguments: more of `fit`.
    """
    listed = StepCallbacks(callbacks, model, epochs, steps)
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
