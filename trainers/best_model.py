"""The best epoch's model, and early stopping."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Protocol

import keras


class Measured(Protocol):
    """A measure of an epoch.

    Attributes:
        measure: its name in `results.json`.
        monitored: its key in the logs.
    """

    @property
    def measure(self) -> str: ...  # noqa: D102
    @property
    def monitored(self) -> str: ...  # noqa: D102

    def score(self, value: float) -> float:
        """The logged number as a score: the higher the better."""

    def shown(self, score: float) -> float:
        """The measure that has this score."""


class BestModel(keras.callbacks.Callback):
    """Saves the model after each epoch that is the best so far, and stops early.

    The best epoch has the highest score of its task on the images to test on, such as the accuracy, and among equal
    ones the lowest loss there. An epoch whose score or loss is not finite is worse than any other. Keras'
    `ModelCheckpoint` and `EarlyStopping` monitor one number, and start anew when a run is resumed.

    Args:
        save: writes the model.
        log: path of the run's `log.jsonl`, which has the epochs before a resume.
        measured: says which measure is monitored: a `Task`, or another `Measured`.
        stop_after: the patience in epochs; None for no early stopping.
    """

    def __init__(self, save: Callable[[], None], log: str, measured: Measured, stop_after: int | None = None) -> None:
        super().__init__()
        self._save, self._log, self._measured, self._stop_after = save, log, measured, stop_after
        self._scores: list[tuple[float, float]] = []

    def start(self, epochs: int) -> bool:
        """Reads the scores of the first `epochs` epochs from the log; returns whether the run had stopped there."""
        self._scores = []
        if epochs and os.path.exists(self._log):
            with open(self._log, encoding="utf-8") as file:
                records = [json.loads(line) for line in file if line.endswith("\n")]
            self._scores = [self._score(record) for record in records if record["epoch"] <= epochs]
        return self._waited_enough()

    @property
    def epoch(self) -> int:
        """Number of the best epoch, from 1; the first of equal ones. 0 before the first epoch."""
        return self._scores.index(max(self._scores)) + 1 if self._scores else 0

    @property
    def result(self) -> dict[str, float]:
        """The best epoch's number, measure and loss; both are NaN if in no epoch both were finite."""
        score, negative_loss = max(self._scores) if math.isfinite(max(self._scores)[0]) else (math.nan, math.nan)
        return {"epoch": self.epoch, self._measured.measure: self._measured.shown(score), "loss": -negative_loss}

    def on_epoch_end(self, epoch, logs=None) -> None:
        self._scores.append(self._score(logs or {}))
        if self.epoch == len(self._scores):
            self._save()
        if self._waited_enough():
            self.model.stop_training = True

    def _waited_enough(self) -> bool:
        return self._stop_after is not None and len(self._scores) - self.epoch >= self._stop_after > 0

    def _score(self, logs: Mapping[str, float | None]) -> tuple[float, float]:
        """Score and negative loss of an epoch's logs, or of its line in `log.jsonl`: rounded as there.

        If one of them is not finite, both are -inf: with NaN in a model's output, its accuracy is chance.
        """
        value, loss = logs[self._measured.monitored], logs.get("val_loss", 0.0)
        if value is None or loss is None or not math.isfinite(value) or not math.isfinite(loss):
            return -math.inf, -math.inf
        return round(self._measured.score(round(float(value), 6)), 6), -round(float(loss), 6)
