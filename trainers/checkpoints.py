"""Checkpoints: the state of a run on disk, saved at the end of a step, whole or not at all."""

from __future__ import annotations

import glob
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable

import keras
import tensorflow as tf

from keras_mae.trainers.run import Preempted
from keras_mae.trainers.strategy import any_worker, is_chief, is_multiworker
from keras_mae.training.skipped_steps import look_every
from keras_mae.whole_file import replace_file

_log = logging.getLogger("keras_mae")
KEPT = "kept"  # the folder of checkpoints before steps that were skipped or clipped
_KEPT, _KEPT_ODD = 2, 3
_RECORD = "step_record"


class Checkpoints(keras.callbacks.Callback):
    """Saves weights, optimizer, counters and the epoch's mean loss so far; the newest two are kept.

    A checkpoint is written after each epoch, within an epoch at intervals of steps or minutes, and before the process
    ends; none within an execution of several steps. With an accelerator, which has to wait for that, several workers
    ask each other every 16 steps for the clock and the end, and otherwise after each. TensorFlow names its files last,
    so that an interrupted checkpoint is never restored. Keras' `ModelCheckpoint` saves no state of an epoch, and
    `BackupAndRestore` begins the epoch again.

    Args:
        path: folder of the checkpoints, which all workers see.
        model: the compiled model.
        steps_per_epoch: the last of these is saved at the end of the epoch, after its log is written.
        every_steps, every_minutes: intervals between checkpoints within an epoch; None for none.
        leaving: tells whether the process was asked to end.
        before_save: called on the chief before each checkpoint.

    Raises:
        OSError: if a checkpoint cannot be written; it names the last good one.
        Preempted: after saving, if the process was asked to end.
    """

    def __init__(
        self,
        path: str,
        model: keras.Model,
        steps_per_epoch: int,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        leaving: Callable[[], bool] = lambda: False,
        before_save: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self.set_model(model)
        self._strategy = model.distribute_strategy
        self._steps_per_epoch, self._every_steps, self._every_minutes = steps_per_epoch, every_steps, every_minutes
        self._leaving = leaving
        self._before_save = before_save
        self._checkpoint = state_of(model)
        self._chief = is_chief(self._strategy)
        self._path = path
        # every worker must save; only the chief's files are kept
        self._own = path if self._chief else tempfile.mkdtemp(prefix="keras_mae_worker_")
        self._manager = tf.train.CheckpointManager(self._checkpoint, self._own, max_to_keep=_KEPT)
        self._restored: str | None = None
        self._last_time = time.monotonic()
        self._step, self._last_step = 0, -1  # of now, and of the last checkpoint
        self._before = 0  # steps before this epoch, or before its rest
        if self._chief:
            self._remove_leftovers()

    def restore(self) -> int:
        """Restores the newest checkpoint; returns the number of batches it has seen, 0 if there is none."""
        self._restored = tf.train.latest_checkpoint(self._path)
        if self._restored is None:
            _log.info("there is no checkpoint yet in %s: starting at the first step", self._path)
            return 0
        restore_state(self.model, self._restored)
        self._step = self._last_step = self._before = int(self.model.batches_seen)
        return self._step

    def last_good(self) -> str:
        """The checkpoint to continue the run from, for messages."""
        newest = tf.train.latest_checkpoint(self._path)
        return f"the last good checkpoint is {newest}" if newest else "there is no checkpoint yet"

    def on_epoch_begin(self, epoch, logs=None) -> None:
        if self._restored is not None and self._last_step % self._steps_per_epoch:
            # within an epoch: `fit` has just reset the restored mean loss
            restore_state(self.model, self._restored)
        self._restored = None

    def on_train_batch_end(self, batch, logs=None) -> None:
        before, self._step = self._step, self._before + batch + 1
        if self._step % self._steps_per_epoch == 0:
            return  # `on_epoch_end` comes next

        def passed(steps: int) -> bool:
            return self._step // steps > before // steps

        due, leaving = self._every_steps is not None and passed(self._every_steps), False
        if not is_multiworker(self._strategy) or passed(look_every()):
            asked = False
            if self._every_minutes is not None:
                asked = self._chief and time.monotonic() - self._last_time >= 60 * self._every_minutes
            leaving, asked = any_worker(self._strategy, [self._leaving(), asked])
            due |= asked
        if due or leaving:
            self._save()
        if leaving:
            raise self._preempted()

    def on_epoch_end(self, epoch, logs=None) -> None:
        self._before = self._step
        self._save()
        if any_worker(self._strategy, [self._leaving()])[0]:
            raise self._preempted()

    def close(self) -> None:
        """Removes the files of a worker that is not the chief."""
        if not self._chief:
            shutil.rmtree(self._own, ignore_errors=True)

    def keep_before(self, step: int) -> None:
        """Keeps the newest checkpoint before a step, counted from 1, for `replay`; the newest three of these stay."""
        if not self._chief or (newest := newest_before(self._path, step)) is None:
            return
        kept = os.path.join(self._path, KEPT)
        os.makedirs(kept, exist_ok=True)
        for file in sorted(glob.glob(f"{glob.escape(newest)}.*")):  # .data-... before .index, which makes it complete
            if not os.path.exists(copy := os.path.join(kept, os.path.basename(file))):
                _link(file, copy)
        for old in sorted(checkpoints_in(kept))[:-_KEPT_ODD]:
            for file in sorted(glob.glob(f"{glob.escape(os.path.join(kept, f'ckpt-{old}'))}.*"), reverse=True):
                os.remove(file)

    def _save(self) -> None:
        if self._step == self._last_step:
            return
        if self._chief:
            self._before_save()
        try:
            self._manager.save(checkpoint_number=self._step)
        except (OSError, tf.errors.OpError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self._remove_leftovers()
            raise OSError(
                f"the checkpoint of step {self._step} could not be written ({reason}); {self.last_good()}: make room, "
                "and continue with --resume"
            ) from error
        self._last_step, self._last_time = self._step, time.monotonic()

    def _preempted(self) -> Preempted:
        return Preempted(f"asked to end (SIGTERM): saved step {self._step} in {self._path}; continue with --resume")

    def _remove_leftovers(self) -> None:
        """Removes the files of an interrupted save or removal."""
        kept = [os.path.basename(path) for path in self._manager.checkpoints]
        for name in os.listdir(self._own) if os.path.isdir(self._own) else []:
            stem = name.removesuffix(".index").partition(".data-")[0]
            unnamed = bool(kept) and stem.startswith("ckpt-") and stem not in kept
            if unnamed or "_temp" in name or ".tmp" in name:
                entry = os.path.join(self._own, name)
                shutil.rmtree(entry, ignore_errors=True) if os.path.isdir(entry) else os.remove(entry)


def state_of(model: keras.Model, with_record: bool = True) -> tf.train.Checkpoint:
    """The state of a compiled model's run."""
    if not model.optimizer.built:  # restoring needs its slots; a second time, it would make others
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
    metrics = [variable for metric in model.metrics for variable in metric.variables]
    return tf.train.Checkpoint(
        model=model,
        optimizer=model.optimizer,
        metrics=metrics,
        weights=[variable.value for variable in model.weights],  # TensorFlow does not find layers in all containers
        **({_RECORD: model.step_record.variable} if with_record else {}),
    )


def restore_state(model: keras.Model, path: str) -> None:
    """Restores a checkpoint; one of an earlier version has no record of the last steps, which then begins anew."""
    has_record = any(name.startswith(_RECORD) for name, _ in tf.train.list_variables(path))
    state_of(model, has_record).restore(path).assert_existing_objects_matched()


def checkpoints_in(folder: str) -> list[int]:
    """The numbers of the complete checkpoints in a folder: how many batches each has seen."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [int(match[1]) for name in names if (match := re.fullmatch(r"ckpt-(\d+)\.index", name))]


def newest_before(path: str, step: int) -> str | None:
    """The newest checkpoint of a run before a step, counted from 1, kept ones included; None if there is none."""
    found = [(number, folder) for folder in (path, os.path.join(path, KEPT)) for number in checkpoints_in(folder)]
    number, folder = max((one for one in found if one[0] < step), default=(0, None))
    return None if folder is None else os.path.join(folder, f"ckpt-{number}")


def _link(file: str, copy: str) -> None:
    try:
        os.link(file, copy)
    except OSError:  # a file system without hard links
        replace_file(copy, lambda aside: shutil.copyfile(file, aside))
