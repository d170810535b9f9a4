"""The best epoch's model, and early stopping."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping

import keras


def _score(logs: Mapping[str, float | None], measure: str) -> tuple[float, float]:
    """Accuracy and negative loss of an epoch's logs, or of its line in `log.jsonl`: rounded as there.

    If one of them is not finite, both are -inf: with NaN in a model's output, its accuracy is chance.
    """
    accuracy, loss = logs[f"val_{measure}"], logs.get("val_loss", 0.0)
    if accuracy is None or loss is None or not math.isfinite(accuracy) or not math.isfinite(loss):
        return -math.inf, -math.inf
    return round(float(accuracy), 6), -round(float(loss), 6)


class BestModel(keras.callbacks.Callback):
    """Saves the model after each epoch that is the best so far, and stops early.

    The best epoch has the highest validation accuracy, and among equal ones the lowest validation loss. An epoch whose
    accuracy or loss is not finite is worse than any other. Keras' `ModelCheckpoint` and `EarlyStopping` monitor one
    number, and start anew when a run is resumed.

    Args:
        save: writes the model.
        log: path of the run's `log.jsonl`, which has the epochs before a resume.
        stop_after: the patience in epochs; None for no early stopping.
        measure: the metric that stands for the accuracy, such as `"mean_iou"`.
    """

    def __init__(
        self, save: Callable[[], None], log: str, stop_after: int | None = None, measure: str = "accuracy"
    ) -> None:
        super().__init__()
        self._measure = measure
        self._save, self._log, self._stop_after = save, log, stop_after
        self._scores: list[tuple[float, float]] = []

    def start(self, epochs: int) -> bool:
        """Reads the scores of the first `epochs` epochs from the log; returns whether the run had stopped there."""
        self._scores = []
        if epochs and os.path.exists(self._log):
            with open(self._log, encoding="utf-8") as file:
                records = [json.loads(line) for line in file if line.endswith("\n")]
            self._scores = [_score(record, self._measure) for record in records if record["epoch"] <= epochs]
        return self._waited_enough()

    @property
    def epoch(self) -> int:
        """Number of the best epoch, from 1; the first of equal ones. 0 before the first epoch."""
        return self._scores.index(max(self._scores)) + 1 if self._scores else 0

    @property
    def result(self) -> dict[str, float]:
        """The best epoch's number, accuracy (`top1`) or measure, and loss; NaN if in no epoch both were finite."""
        accuracy, negative_loss = max(self._scores) if math.isfinite(max(self._scores)[0]) else (math.nan, math.nan)
        name = "top1" if self._measure == "accuracy" else self._measure
        return {"epoch": self.epoch, name: accuracy, "loss": -negative_loss}

    def on_epoch_end(self, epoch, logs=None) -> None:
        self._scores.append(_score(logs or {}, self._measure))
        if self.epoch == len(self._scores):
            self._save()
        if self._waited_enough():
            self.model.stop_training = True

    def _waited_enough(self) -> bool:
        return self._stop_after is not None and len(self._scores) - self.epoch >= self._stop_after > 0
