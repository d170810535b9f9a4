"""Callbacks of training: progress, log, corrupt images."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from pathlib import Path

import keras
from tqdm.auto import tqdm

from keras_mae.data import CorruptImages
from keras_mae.data.waiting import Waiting
from keras_mae.progress import PlainLines, images_bar
from keras_mae.trainers.idle_time import IdleTime
from keras_mae.trainers.memory import as_text
from keras_mae.trainers.step_lines import StepLines
from keras_mae.trainers.used_memory import used_memory
from keras_mae.training.step_record import Step
from keras_mae.whole_file import replace_file

_log = logging.getLogger("keras_mae")
_MEASURABLE = 0.01  # seconds of an epoch
_WAITS = 0.1  # the share of the time from which on steps wait for their images


class Progress(keras.callbacks.Callback):
    """One bar for the whole run, where Keras shows one for each epoch; plain lines where no bar can be drawn.

    It shows epoch, loss, images a second, the remaining time, the gradient's norm with its running median, and the
    memory that is really used. It begins with the second step, or execution of several, as the compilation in the first
    would distort the rate.
    After the first epoch it says whether the steps waited for their images.

    Args:
        batch_size: images in a step.
        steps_per_epoch, epochs: of the whole run.
        done: steps taken before.
        steps: has the last step that was read.
        waiting: of the run's batches, or of an accelerator for them; None if it cannot be measured.
        advice: what to do if the steps wait for their images.
    """

    def __init__(
        self,
        batch_size: int,
        steps_per_epoch: int,
        epochs: int,
        done: int = 0,
        steps: StepLines | None = None,
        waiting: Waiting | IdleTime | None = None,
        advice: str = "",
    ) -> None:
        super().__init__()
        self.batch_size, self.steps_per_epoch, self.epochs = batch_size, steps_per_epoch, epochs
        self.step = done
        self.bar: tqdm | PlainLines | None = None
        self._steps, self._waiting, self._advice = steps, waiting, advice
        self._asked = self._begin = 0.0  # when the epoch began: seconds of waiting, and the clock
        self._waited = self._took = 0.0  # until its last step
        self._due, self._said, self._is_whole, self._has_line = 0.0, False, False, False
        self._before, self._loss = done, math.nan  # steps before this epoch, or before its rest

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self._before = self.step
        self._is_whole = self.step % self.steps_per_epoch == 0
        self._clock()

    def on_train_batch_end(self, batch, logs=None) -> None:
        before, self.step = self.step, self._before + batch + 1
        if self.bar is None:
            self._loss = float(logs["loss"])
            total = self.epochs * self.steps_per_epoch * self.batch_size
            self.bar = images_bar(total, self.step * self.batch_size, self._where())
            self._clock()
            return
        ends = self.step % self.steps_per_epoch == 0
        if isinstance(logs["loss"], float):  # else it is on the device, and its step may not have ended
            self._loss = logs["loss"]
        self.bar.set_description_str(self._where(), refresh=False)
        if time.monotonic() >= self._due and isinstance(logs["loss"], float):
            self._due = time.monotonic() + 1
            self._add_facts()
        self.bar.update(self.batch_size * (self.step - before))
        if ends:  # what comes next, such as validation, is no waiting of steps
            self._took = time.perf_counter() - self._begin
            self._waited = 0.0 if self._waiting is None else self._waiting.seconds - self._asked

    def on_epoch_end(self, epoch, logs=None) -> None:
        if self.bar is not None:
            self._add_facts()
            if isinstance(self.bar, PlainLines) and self._has_line:  # a run may have thousands of short epochs
                self.bar.update(0)
            else:
                self._has_line = True
                self.bar.refresh()
        if self._waiting is None or self.bar is None or self._took < _MEASURABLE:
            return
        share = min(self._waited / self._took, 1.0)
        if logs is not None:
            logs["waiting_for_data"] = share
        if not self._said and self._is_whole:
            self._said = True
            _log.info("%s", slow_part(share, self._advice))

    def _where(self) -> str:
        epoch = (self.step - 1) // self.steps_per_epoch + 1
        return f"epoch {epoch}/{self.epochs}, loss {self._loss:.4f}"

    def close(self) -> None:
        """Ends the bar's line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _clock(self) -> None:
        self._begin, self._took = time.perf_counter(), 0.0
        self._asked = 0.0 if self._waiting is None else self._waiting.seconds

    def _add_facts(self) -> None:
        if self.bar is not None and self._steps is not None and self._steps.last is not None:
            self.bar.set_postfix_str(self._facts(self._steps.last), refresh=False)

    def _facts(self, step: Step) -> str:
        median, memory = self.model.step_record.running_median(), used_memory()
        size = f"{step.norm:.3g}" if math.isfinite(step.norm) else "not finite"
        norm = f"gradient norm {size}{'' if median is None else f' (median {median:.3g})'}"
        return norm if memory is None else f"{norm}, {as_text(memory)}"


def slow_part(share: float, advice: str) -> str:
    """A sentence on the share of time that steps waited for their images."""
    if share < _WAITS:
        return f"the steps waited for their images {100 * share:.1f} % of the time: reading images is not what is slow"
    return f"the steps waited for their images {100 * share:.0f} % of the time: {advice}"


class JsonLines(keras.callbacks.Callback):
    """Appends a line to a file after each epoch: epoch, step, loss, learning rate, seconds, images a second, memory.

    Skipped steps count as steps. After a resume within an epoch, `seconds` and `images_per_second` are those since
    then. `seconds` has validation in it, and `images_per_second` has not. Keras' `CSVLogger`
    knows no step, and keeps the epochs that a resumed run trains again.

    Args:
        path: of the file.
        batch_size: images in a step.
        done: steps taken before; lines of later steps, of a run that was interrupted, are removed.
    """

    def __init__(self, path: str, batch_size: int, done: int = 0) -> None:
        super().__init__()
        self.path, self.batch_size = path, batch_size
        self._begin, self._last, self._first = 0.0, 0.0, done
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                kept = [line for line in file if line.endswith("\n") and json.loads(line)["step"] <= done]
            replace_file(path, lambda aside: Path(aside).write_text("".join(kept), encoding="utf-8"))

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self._begin, self._first = time.perf_counter(), int(self.model.batches_seen)

    def on_train_batch_end(self, batch, logs=None) -> None:
        self._last = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None) -> None:
        seconds, step = time.perf_counter() - self._begin, int(self.model.batches_seen)
        rate, memory = (step - self._first) * self.batch_size / max(self._last - self._begin, 1e-9), used_memory()
        record = {
            "epoch": epoch + 1,
            "step": step,
            **{key: _rounded(float(value)) for key, value in (logs or {}).items()},
            "skipped_steps": int(self.model.skipped_steps.numpy()),
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": round(seconds, 2),
            "images_per_second": round(rate, 1),
            **({} if memory is None else {"memory": memory}),
        }
        if logs is not None:
            logs["images_per_second"] = rate  # for TensorBoard
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _rounded(value: float) -> float:
    """Six decimals; of smaller numbers, such as norms of gradients, four digits."""
    return round(value, 6) if not 0 < abs(value) < 1e-3 else float(f"{value:.4g}")


class StopOnTooManyCorrupt(keras.callbacks.Callback):
    """Ends the run with a ValueError as soon as more than 1 % of the images are known to be corrupt."""

    def __init__(self, corrupt: CorruptImages) -> None:
        super().__init__()
        self._corrupt = corrupt

    def on_train_batch_end(self, batch, logs=None) -> None:
        self._corrupt.check()
