"""The loop around `fit`: it continues an interrupted run at its next step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from keras_mae.data import CorruptImages, TrainingData
from keras_mae.data.patient_reading import storage_errors
from keras_mae.data.waiting import Waiting
from keras_mae.trainers import callbacks, run
from keras_mae.trainers.checkpoints import Checkpoints
from keras_mae.trainers.config import TrainingConfig
from keras_mae.trainers.idle_time import IdleTime
from keras_mae.trainers.step_callbacks import fit_steps
from keras_mae.trainers.step_lines import StepLines
from keras_mae.trainers.strategy import distributed, is_chief
from keras_mae.trainers.tracker import tracked
from keras_mae.training import GlobalBatchModel, StopOnSkippedSteps
from keras_mae.training.skipped_steps import has_accelerator


def train(
    model: GlobalBatchModel,
    config: TrainingConfig,
    data: TrainingData,
    folder: run.RunFolder,
    steps_per_epoch: int,
    corrupt: Sequence[CorruptImages],
    resume: bool,
    extra: Sequence[keras.callbacks.Callback] = (),
    everywhere: Sequence[keras.callbacks.Callback] = (),
    on_start: Callable[[int], None] = lambda done: None,
    **fit_arguments: Any,
) -> None:
    """Trains to the end, writing log, TensorBoard scalars and checkpoints into the run folder.

    A resumed run restores weights, optimizer, counters and the epoch's mean loss so far, and continues with the next
    batch, so that it ends like a run that was never interrupted.

    Args:
        model: compiled, in the scope of its strategy.
        config, steps_per_epoch: of the run.
        data: to train on; each of several hosts makes its contiguous share of the global batch.
        folder: to write to; only the chief of several workers writes.
        corrupt: counts of corrupt images, which are checked after each step.
        resume: whether to restore the newest checkpoint.
        extra: more callbacks of the chief, called before the epoch's checkpoint is written.
        everywhere: callbacks of every worker, called before those.
        on_start: called before training with the number of batches that have been seen.
        **fit_arguments: for `fit`, such as `validation_data`.

    Raises:
        Preempted: after a SIGTERM, once the state is saved.
        ValueError: if too many steps in a row were not finite; or for too many corrupt images, which is the message
            also if the input ended because of them.
        OSError: if a file cannot be written; it names the last good checkpoint.
    """
    epochs = config.optimizer.epochs
    strategy = model.distribute_strategy
    with noted_sigterm() as received, tracked(strategy, config, folder) as trackers:
        steps, minutes = config.run.checkpoint_steps, config.run.checkpoint_minutes
        checkpoints = Checkpoints(
            folder / run.CHECKPOINTS,
            model,
            steps_per_epoch,
            steps,
            minutes,
            received,
            lambda: None if lines is None else lines.flush(),
        )
        done = checkpoints.restore() if resume else 0
        on_start(done)
        lines = None
        if is_chief(strategy):
            keep = checkpoints.keep_before
            lines = StepLines(folder / run.STEPS, steps_per_epoch, done, lambda step: keep(step.number))
        waiting = Waiting.if_possible() if strategy.num_replicas_in_sync == 1 else None
        idle = IdleTime(waiting) if waiting is not None and has_accelerator() else None
        waits = waiting if idle is None else idle
        progress = callbacks.Progress(data.batch_size, steps_per_epoch, epochs, done, lines, waits, faster(data))
        of_chief = [
            *([] if lines is None else [lines]),
            progress,
            callbacks.JsonLines(folder / run.LOG, data.batch_size, done),
            keras.callbacks.TensorBoard(folder / run.TENSORBOARD, write_graph=False),
            *trackers,
            *extra,
        ] if is_chief(strategy) else []  # fmt: skip
        on_every_worker = [
            StopOnSkippedSteps(config.run.max_skipped_steps, checkpoints.last_good),
            *map(callbacks.StopOnTooManyCorrupt, corrupt),
            *everywhere,
        ]

        def fit(first_step: int, last_epoch: int) -> None:
            epoch, offset = divmod(first_step, steps_per_epoch)
            batches = distributed(strategy, data.batch_size, partial(data.at, first_step))
            batches = batches if waiting is None else waiting.measured(batches)
            each = [*on_every_worker, *of_chief, checkpoints]
            with storage_errors():
                fit_steps(model, batches, each, steps_per_epoch - offset, last_epoch, epoch, idle, **fit_arguments)

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
        except run.Preempted:
            raise
        except BaseException:
            for each in corrupt:
                each.check()
            raise
        finally:
            progress.close()
            checkpoints.close()
            if lines is not None and lines.model is not None:
                with suppress(OSError):  # the lines of the last steps, if the run ends by another error
                    lines.flush()


def faster(data: TrainingData) -> str:
    """What to do if steps wait for the images of `data`."""
    if data.source.encoded:
        return (
            "store the images smaller, as most time goes into decoding them, give the run more processor cores, or "
            "let other machines prepare them (--data_service); files on slow storage are read once with "
            "--data=memory:... or --data=disk:..."
        )
    return "give the run more processor cores, or change the images less (jitter, crop_scale)"


@contextmanager
def noted_sigterm() -> Iterator[Callable[[], bool]]:
    """Only notes SIGTERM while it is entered; yields a function that tells whether it came."""
    received = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # no other thread can handle signals
        yield received.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.set())
    try:
        yield received.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
