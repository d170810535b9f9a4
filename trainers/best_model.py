"""The best epoch's model, and when to stop waiting for a better one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import keras

MONITORED = "val_accuracy"


class BestModel(keras.callbacks.Callback):
    """Saves the model after each epoch whose validation accuracy is the best so far, and stops if none is for long.

    Args:
        save: writes the model.
        log: path of the run's `log.jsonl`, for what came before a resume.
        stop_after: None, or end the run after so many epochs without a better one.
    """

    def __init__(self, save: Callable[[], None], log: str, stop_after: int | None = None) -> None:
        super().__init__()
        self._save, self._log, self._stop_after = save, log, stop_after
        self._accuracies: list[float] = []

    def start(self, epochs: int) -> bool:
        """Takes up what the log says of the first `epochs` epochs; returns whether the run had stopped there."""
        self._accuracies = []
        if epochs and os.path.exists(self._log):
            with open(self._log, encoding="utf-8") as file:
                records = [json.loads(line) for line in file if line.endswith("\n")]
            self._accuracies = [r[MONITORED] for r in records if r["epoch"] <= epochs]
        return self._waited_enough()

    @property
    def epoch(self) -> int:
        """Number of the best epoch, from 1; the first of several that are equal. 0 if there was none."""
        return self._accuracies.index(max(self._accuracies)) + 1 if self._accuracies else 0

    @property
    def accuracy(self) -> float:
        """Its validation accuracy."""
        return max(self._accuracies)

    def on_epoch_end(self, epoch, logs=None) -> None:
        self._accuracies.append(round(float(logs[MONITORED]), 6))  # as in the log
        if self.epoch == len(self._accuracies):
            self._save()
        if self._waited_enough():
            self.model.stop_training = True

    def _waited_enough(self) -> bool:
        return self._stop_after is not None and len(self._accuracies) - self.epoch >= self._stop_after > 0
