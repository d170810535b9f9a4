"""The file with a line for every step of a run."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_mae.training.skipped_steps import look_every
from keras_mae.training.step_record import Step
from keras_mae.whole_file import replace_file

_BUFFERED = 4096  # lines
_LINE = re.compile(rb'\{"step": (\d+), [^{}]*\}\n')  # a run may have a million: no JSON is parsed to count them


class StepLines(keras.callbacks.Callback):
    """Appends loss and gradient norm of every step to a file, and adds the epoch's norms to the logs.

    A line is `{"step": 12, "loss": 0.53, "gradient_norm": 1.7}`, steps counted from 1; `"skipped"` says `"not finite"`
    or `"spike"`, and `"clipped"` says `"spike"`. Numbers that are not finite are null. The logs get `gradient_norm`,
    the median of the epoch's finite norms, and `largest_gradient_norm`.

    The steps are read from the model's `StepRecord`: each after its end on a processor, 16 at once on an accelerator.

    Args:
        path: of the file.
        steps_per_epoch: of the run.
        done: steps taken before; lines of later steps, of a run that was interrupted, are removed.
        on_odd: called with each step that was skipped or clipped.
    """

    def __init__(
        self, path: str, steps_per_epoch: int, done: int = 0, on_odd: Callable[[Step], None] = lambda step: None
    ) -> None:
        super().__init__()
        self.path, self._steps_per_epoch, self._on_odd = path, steps_per_epoch, on_odd
        self._known, self._looked = done, 0
        self._lines: list[str] = []
        self._norms: list[float] = []
        self.last: Step | None = None
        if os.path.exists(path):
            replace_file(path, self._copy_first)

    def _copy_first(self, aside: str) -> None:
        """Copies the lines of steps that are taken, and no others; reads the norms of the epoch that has begun."""
        begin = self._known // self._steps_per_epoch * self._steps_per_epoch
        with open(self.path, "rb") as file, open(aside, "wb") as copy:
            for line in file:
                step = step_of(line)
                if step is None or step > self._known:
                    continue
                copy.write(line)
                if step > begin:
                    norm = json.loads(line)["gradient_norm"]
                    self._norms.append(math.nan if norm is None else norm)

    def on_train_batch_begin(self, batch, logs=None) -> None:
        # before a step and not after one, so that other callbacks need not wait for a step to end
        if batch == 0:
            self._looked = 0
        elif batch - self._looked >= look_every():
            self.look()
            self._looked = batch

    def on_epoch_end(self, epoch, logs=None) -> None:
        self.flush()
        finite = [norm for norm in self._norms if math.isfinite(norm)]
        if logs is not None and finite:
            logs["gradient_norm"], logs["largest_gradient_norm"] = float(np.median(finite)), max(finite)
        self._norms = []

    def look(self) -> None:
        """Reads the steps since the last look."""
        now = int(self.model.batches_seen)
        for step in self.model.step_record.since(self._known, now):
            self._lines.append(json.dumps(line_of(step)) + "\n")
            self._norms.append(step.norm)
            self.last = step
            if step.skipped or step.clipped:
                self._on_odd(step)
        self._known = now
        if len(self._lines) >= _BUFFERED:
            self._write()

    def flush(self) -> None:
        """Writes the lines of all steps so far."""
        self.look()
        self._write()

    def _write(self) -> None:
        if not self._lines:
            return
        with open(self.path, "ab") as file:
            size = file.tell()
            try:
                file.write("".join(self._lines).encode())
                file.flush()
            except OSError:  # a full disk for instance, which may have taken a part
                file.truncate(size)
                raise
        self._lines = []


def step_of(line: bytes) -> int | None:
    """The step of a line of the file; None for the half of a line that a killed process has left."""
    match = _LINE.fullmatch(line)
    return int(match[1]) if match else None


def line_of(step: Step) -> dict[str, Any]:
    """The record of a step in the file; nine digits tell every float32 number from its neighbours."""
    record: dict[str, Any] = {"step": step.number, "loss": _number(step.loss), "gradient_norm": _number(step.norm)}
    return record | {name: said for name, said in (("skipped", step.skipped), ("clipped", step.clipped)) if said}


def _number(value: float) -> float | None:
    return float(f"{value:.9g}") if math.isfinite(value) else None
