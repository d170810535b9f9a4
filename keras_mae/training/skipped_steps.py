"""Ends a run whose loss has become NaN for good."""

from __future__ import annotations

import logging
from collections.abc import Callable

import keras

_log = logging.getLogger("keras_mae")


class StopOnSkippedSteps(keras.callbacks.Callback):
    """Tells of every skipped step, and ends `fit` with a ValueError when there are too many in a row.

    Args:
        limit: how many skipped steps in a row are put up with. A float16 run needs some to find its loss scale.
        last_good: says for the message where the run can be continued from.
    """

    def __init__(self, limit: int = 20, last_good: Callable[[], str] | None = None) -> None:
        super().__init__()
        self._limit, self._last_good = limit, last_good
        self._count = self._in_a_row = 0

    def on_train_begin(self, logs=None) -> None:
        self._count = int(self.model.skipped_steps.numpy())

    def on_train_batch_end(self, batch, logs=None) -> None:
        count = int(self.model.skipped_steps.numpy())
        new, self._count = count - self._count, count
        if not new:
            self._in_a_row = 0
            return
        self._in_a_row += new
        step = int(self.model.batches_seen)
        _log.warning("step %d skipped: its loss or gradient is not finite (%d skipped so far)", step, count)
        if self._in_a_row > self._limit:
            where = f"; {self._last_good()}" if self._last_good else ""
            raise ValueError(
                f"the last {self._in_a_row} steps, up to step {step}, were skipped: their loss or gradient was not "
                f"finite{where}. Look at the images, lower the learning rate, clip gradients (clip_norm) or compute in "
                "float32"
            )
