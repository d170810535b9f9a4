"""The best epoch's model, and early stopping."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping

import keras


@dataclasses.dataclass(frozen=True)
class Measure:
    """What the best epoch has most of, or least.

    Attributes:
        metric: its name; `val_...` in the logs.
        name: of the measure in `results.json`.
        of_metric: the measure of the metric, if it is another number.
        lower_is_better: whether it is an error.
        of_validation: whether it is one of Keras' validation, with a loss that decides between equal ones; otherwise
            the logs have it under its own name, in some epochs.
    """

    metric: str = "accuracy"
    name: str = "top1"
    of_metric: Callable[[float], float] = float
    lower_is_better: bool = False
    of_validation: bool = True

    @property
    def key(self) -> str:
        """The metric's name in the logs."""
        return f"val_{self.metric}" if self.of_validation else self.metric

    def score(self, metric: float) -> float:
        """The higher the better, with six decimals."""
        value = round(self.of_metric(round(float(metric), 6)), 6)
        return -value if self.lower_is_better else value

    def of_score(self, score: float) -> float:
        """The measure that has this score."""
        return -score if self.lower_is_better else score


class BestModel(keras.callbacks.Callback):
    """Saves the model after each epoch that is the best so far, and stops early.

    The best epoch has the best measure on the images to test on, such as the highest accuracy, and among equal ones the
    lowest loss there. An epoch whose measure or loss is not finite is worse than any other. Epochs without the measure
    are passed over. Keras' `ModelCheckpoint` and `EarlyStopping` monitor one number, and start anew when a run is
    resumed.

    Args:
        save: writes the model.
        log: path of the run's `log.jsonl`, which has the epochs before a resume.
        stop_after: the patience in epochs that have the measure; None for no early stopping.
        measure: of an epoch.
    """

    def __init__(
        self, save: Callable[[], None], log: str, stop_after: int | None = None, measure: Measure = Measure()
    ) -> None:
        super().__init__()
        self._save, self._log, self._stop_after, self._measure = save, log, stop_after, measure
        self._epochs: list[int] = []
        self._scores: list[tuple[float, float]] = []

    def start(self, epochs: int) -> bool:
        """Reads the scores of the first `epochs` epochs from the log; returns whether the run had stopped there."""
        self._epochs, self._scores = [], []
        if epochs and os.path.exists(self._log):
            with open(self._log, encoding="utf-8") as file:
                records = [json.loads(line) for line in file if line.endswith("\n")]
            for record in records:
                if record["epoch"] <= epochs and self._measure.key in record:
                    self._add(record["epoch"], record)
        return self.waited_enough

    @property
    def epoch(self) -> int:
        """Number of the best epoch, from 1; the first of equal ones. 0 before the first one."""
        return self._epochs[self._scores.index(max(self._scores))] if self._scores else 0

    @property
    def result(self) -> dict[str, float]:
        """The best epoch's number, measure and loss; both are NaN if in no epoch both were finite."""
        score, negative_loss = max(self._scores) if math.isfinite(max(self._scores)[0]) else (math.nan, math.nan)
        return {"epoch": self.epoch, self._measure.name: self._measure.of_score(score), "loss": -negative_loss}

    def on_epoch_end(self, epoch, logs=None) -> None:
        if self._measure.key not in (logs or {}):
            return
        self._add(epoch + 1, logs)
        if self.epoch == epoch + 1:
            self._save()
        if self.waited_enough:
            self.model.stop_training = True

    @property
    def waited_enough(self) -> bool:
        """Whether so many epochs after the best one were no better that the run ends."""
        if self._stop_after is None or not self._scores:
            return False
        return len(self._scores) - 1 - self._epochs.index(self.epoch) >= self._stop_after > 0

    def _add(self, epoch: int, logs: Mapping[str, float | None]) -> None:
        self._epochs.append(epoch)
        self._scores.append(self._score(logs))

    def _score(self, logs: Mapping[str, float | None]) -> tuple[float, float]:
        """Score and negative loss of an epoch's logs, or of its line in `log.jsonl`: rounded as there.

        If one of them is not finite, both are -inf: with NaN in a model's output, its accuracy is chance.
        """
        value, loss = logs[self._measure.key], logs.get("val_loss", 0.0) if self._measure.of_validation else 0.0
        if value is None or loss is None or not math.isfinite(value) or not math.isfinite(loss):
            return -math.inf, -math.inf
        return self._measure.score(value), -round(float(loss), 6)
