"""The loop around `fit`: continues where a run stopped, to the step, and leaves in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from keras_mae.data import TrainingData
from keras_mae.data.patient_reading import storage_errors
from keras_mae.trainers import callbacks, run
from keras_mae.trainers.checkpoints import Checkpoints
from keras_mae.trainers.strategy import distributed, is_chief
from keras_mae.training import GlobalBatchModel, StopOnSkippedSteps


def train(
    model: GlobalBatchModel,
    data: TrainingData,
    folder: run.RunFolder,
    epochs: int,
    steps_per_epoch: int,
    resume: bool = False,
    checkpoint_steps: int | None = None,
    checkpoint_minutes: float | None = None,
    max_skipped_steps: int = 20,
    extra: Sequence[keras.callbacks.Callback] = (),
    everywhere: Sequence[keras.callbacks.Callback] = (),
    on_start: Callable[[int], None] = lambda done: None,
    **fit_arguments: Any,
) -> None:
    """Trains to the end, writing log, TensorBoard scalars and checkpoints into the run folder.

    A run that is resumed takes up weights, optimizer, counters and the epoch's mean loss so far, and goes on with the
    batch that comes next, so that it ends as if nothing had happened.

    Args:
        model: compiled, in the scope of its strategy.
        data: what it is trained on; of several hosts, each makes its contiguous share of the global batch.
        folder: where to write; only the chief of several workers does.
        epochs, steps_per_epoch: of the whole run.
        resume: whether to take up the newest checkpoint.
        checkpoint_steps, checkpoint_minutes: see `Checkpoints`.
        max_skipped_steps: see `StopOnSkippedSteps`.
        extra: more callbacks of the chief, called before the epoch's checkpoint is written.
        everywhere: callbacks of every worker, called before those.
        on_start: called with the number of batches that have been seen, before training.
        **fit_arguments: for `fit`, such as `validation_data`.

    Raises:
        Preempted: after a SIGTERM, once the state is saved.
        ValueError: if too many steps in a row were not finite.
        OSError: if a file cannot be written; it names the last good checkpoint.
    """
    strategy = model.distribute_strategy
    with _sigterm() as received:
        checkpoints = Checkpoints(
            folder / run.CHECKPOINTS, model, steps_per_epoch, checkpoint_steps, checkpoint_minutes, received
        )
        done = checkpoints.restore() if resume else 0
        on_start(done)
        progress = callbacks.Progress(data.batch_size, steps_per_epoch, epochs, done)
        of_chief = [
            progress,
            callbacks.JsonLines(folder / run.LOG, data.batch_size, done),
            keras.callbacks.TensorBoard(folder / run.TENSORBOARD, write_graph=False),
            *extra,
        ] if is_chief(strategy) else []  # fmt: skip
        skipped = StopOnSkippedSteps(max_skipped_steps, checkpoints.last_good)

        def fit(first_step: int, last_epoch: int) -> None:
            epoch, offset = divmod(first_step, steps_per_epoch)
            batches = distributed(strategy, data.batch_size, partial(data.at, first_step))
            with storage_errors():
                model.fit(
                    batches,
                    initial_epoch=epoch,
                    epochs=last_epoch,
                    steps_per_epoch=steps_per_epoch - offset,
                    shuffle=False,
                    verbose=0,
                    callbacks=[skipped, *everywhere, *of_chief, checkpoints],
                    **fit_arguments,
                )

        try:
            if done % steps_per_epoch:  # the rest of an epoch first
                fit(done, done // steps_per_epoch + 1)
                done = (done // steps_per_epoch + 1) * steps_per_epoch
            if done < epochs * steps_per_epoch and not model.stop_training:
                fit(done, epochs)
        except (OSError, tf.errors.ResourceExhaustedError) as error:
            if str(error).startswith("the checkpoint of step"):
                raise
            raise OSError(f"{error}; {checkpoints.last_good()}, continue with --resume") from error
        finally:
            progress.close()
            checkpoints.close()


@contextmanager
def _sigterm() -> Iterator[Callable[[], bool]]:
    """While this is entered, SIGTERM is only noted; yields a function that tells whether it came."""
    received = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # Python lets no other one see signals
        yield received.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.set())
    try:
        yield received.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
