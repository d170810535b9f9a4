"""A run of so many hours: the speed of its first steps decides how many epochs it has."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_mae.data import TrainingData
from keras_mae.data.patient_reading import storage_errors
from keras_mae.trainers import run
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.programs import compile_model
from keras_mae.trainers.ranges import LARGEST_COUNT
from keras_mae.trainers.settings import replaced
from keras_mae.trainers.step_callbacks import fit_steps
from keras_mae.trainers.strategy import any_worker, distributed, of_chief
from keras_mae.training import GlobalBatchModel, StopOnSkippedSteps
from keras_mae.training.skipped_steps import look_every

_log = logging.getLogger("keras_mae")
_LONGEST, _SHARE = 30.0, 0.01  # the measurement takes so many seconds at most, or this share of the time
_STEPS = 5  # that are timed at least
_WAITED_FOR = 2  # executions before: the first one is traced and compiled, the second has its input ready
_ELSE = 0.03  # of the time: pictures, curves, and evaluations where none are asked for
_UNPUNCTUAL = 0.1


class Speed(NamedTuple):
    """What was measured.

    Attributes:
        step: seconds of a step, with its input.
        saving: seconds of a checkpoint, which every epoch ends with.
        starting: seconds until the first step had ended; it is compiled again when the run starts.
        steps: number of steps that were timed.
    """

    step: float
    saving: float
    starting: float
    steps: int


def with_epochs(config: PretrainConfig, epochs: int) -> PretrainConfig:
    """The config with another number of epochs, and all settings in epochs scaled with it."""
    before = config.optimizer
    if epochs == before.epochs:
        return config
    factor = epochs / before.epochs
    milestones = before.milestones and tuple(milestone * factor for milestone in before.milestones)
    frozen = before.frozen_epochs and before.frozen_epochs * factor
    warmup = before.warmup_epochs * factor
    return replaced(config, epochs=epochs, warmup_epochs=warmup, milestones=milestones, frozen_epochs=frozen)


def decide_epochs(
    model: GlobalBatchModel,
    config: PretrainConfig,
    data: TrainingData,
    steps_per_epoch: int,
    folder: run.RunFolder,
    resume: bool,
    evaluations: float = 0.0,
) -> PretrainConfig:
    """The config of a run that ends in `config.run.hours`; the model is compiled for its schedule, and else untouched.

    A resumed run keeps the epochs that were decided when it began.

    Args:
        model: compiled, in the scope of its strategy; nothing was trained.
        config, data, steps_per_epoch, folder, resume: of the run.
        evaluations: what those that are asked for cost, as a share of an epoch's steps.

    Raises:
        ValueError: if not one epoch fits into the hours.
    """
    hours: Any = config.run.hours
    there: Any = folder.config_if_any() if resume else None
    if resume and there is None:
        return config  # the folder refuses it
    if there is not None:
        decided = with_epochs(config, there.optimizer.epochs) if getattr(there.run, "hours", None) else config
    else:
        begin = time.perf_counter()
        with _put_back(model):
            speed = _agreed(model, _measured(model, data, 3600 * hours))
        used = time.perf_counter() - begin
        decided = with_epochs(config, _fitting(speed, hours, used, steps_per_epoch, evaluations))
    if decided is not config or there is None:  # what was measured has moved the optimizer, which is made anew
        with model.distribute_strategy.scope():
            compile_model(model, decided, steps_per_epoch)
    return decided


def _fitting(speed: Speed, hours: float, used: float, steps_per_epoch: int, evaluations: float = 0.0) -> int:
    epoch = (speed.step * steps_per_epoch * (1 + evaluations) + speed.saving) * (1 + _ELSE)
    left = 3600 * hours - used - speed.starting
    epochs = min(int(left / epoch), LARGEST_COUNT)
    if epochs < 1:
        least = (used + speed.starting + 1.1 * epoch) / 3600
        raise ValueError(
            f"hours={hours:g} is too short: an epoch of {steps_per_epoch} steps takes about {epoch:.0f} seconds here, "
            f"and to start takes {used + speed.starting:.0f}; type --set hours={float(f'{least:.2g}'):g}, or take a "
            "smaller model or fewer images"
        )
    _log.info(
        "hours=%g: a step takes %.3g seconds (mean of %d), a checkpoint %.2g: %d epochs", hours, speed.step,
        speed.steps, speed.saving, epochs,
    )  # fmt: skip
    return epochs


def _measured(model: GlobalBatchModel, data: TrainingData, seconds: float) -> Speed:
    """Trains for some steps on the run's own images."""
    strategy = model.distribute_strategy
    data = dataclasses.replace(data)  # with an account of corrupt images of its own
    clock = _Clock(min(_LONGEST, _SHARE * seconds))
    with storage_errors():
        batches = distributed(strategy, data.batch_size, lambda hosts, host: data.at(0, hosts, host))
        fit_steps(model, batches, [clock, StopOnSkippedSteps(None)], 2**31 - 1)
    model.stop_training = False
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(os.path.join(folder, "measured"))
    return Speed(clock.mean, time.perf_counter() - begin, clock.starting, clock.steps)


def _agreed(model: GlobalBatchModel, speed: Speed) -> Speed:
    """What the chief has measured, on every worker."""
    return Speed(*json.loads(of_chief(model.distribute_strategy, json.dumps(speed))))


class _Clock(keras.callbacks.Callback):
    """Times the steps of `fit`, and ends it after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds, self._executions, self._first, self._looked = seconds, 0, 0, 0
        self._begin = self._timed_from = time.perf_counter()
        self.starting = self.mean = 0.0
        self.steps = 0  # that are timed

    def on_train_batch_end(self, batch, logs=None) -> None:
        self._executions += 1
        count, waits = batch + 1, self._executions <= _WAITED_FOR
        if not waits and count - self._looked < look_every():
            return
        float(next(iter(logs.values())))  # waits for the device
        now, self._looked = time.perf_counter(), count
        if self._executions == 1:
            self.starting = now - self._begin
        if waits:
            self._timed_from, self._first = now, count
            return
        self.steps = count - self._first
        self.mean = (now - self._timed_from) / self.steps
        enough = self.steps >= _STEPS and now - self._timed_from >= self._seconds
        if any_worker(self.model.distribute_strategy, [enough])[0]:
            self.model.stop_training = True


@contextlib.contextmanager
def _put_back(model: GlobalBatchModel) -> Iterator[None]:
    """Puts back the values that all variables of a model had before, but for those that `compile` makes."""
    found: dict[int, Any] = {id(one.value): one.value for one in model.variables}
    tracked = tf.train.TrackableView(model).descendants()
    found |= {id(one): one for one in tracked if isinstance(one, tf.Variable)}
    before = [(variable, variable.numpy()) for variable in found.values()]
    try:
        yield
    finally:
        with model.distribute_strategy.scope():
            for variable, value in before:
                variable.assign(value)


class Punctuality(keras.callbacks.Callback):
    """Logs a line at the end of an epoch when the run begins to be more than 10 % late, or early.

    Args:
        hours: in which the run is to end.
        epochs: of the run.
        used: seconds that it has taken before.
    """

    def __init__(self, hours: float, epochs: int, used: float = 0.0) -> None:
        super().__init__()
        self._limit, self._epochs, self._used = 3600 * hours, epochs, used
        self._begin = time.perf_counter()
        self._first: tuple[int, float] | None = None  # the first epoch here, which compiles the step, and its end
        self._said = ""

    def on_epoch_end(self, epoch, logs=None) -> None:
        now = time.perf_counter()
        if self._first is None:
            self._first = (epoch, now)
            return
        first, end = self._first
        left = (self._epochs - epoch - 1) * (now - end) / (epoch - first)
        change = (self._used + now - self._begin + left) / self._limit - 1
        state = "" if abs(change) <= _UNPUNCTUAL else "late" if change > 0 else "early"
        if state not in ("", self._said):
            _log.warning(
                "at the present speed the run ends %.0f %% %s: in %.2g hours, and not in %.2g",
                100 * abs(change), state, self._limit * (1 + change) / 3600, self._limit / 3600,
            )  # fmt: skip
        self._said = state


def seconds_so_far(folder: run.RunFolder) -> float:
    """The seconds of the epochs in a run's log; 0 without one."""
    if not os.path.exists(folder / run.LOG):
        return 0.0
    with open(folder / run.LOG, encoding="utf-8") as file:
        return sum(json.loads(line)["seconds"] for line in file if line.endswith("\n"))
