"""Callbacks of training: progress, log, corrupt images."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import keras
from tqdm.auto import tqdm

from keras_mae.data import CorruptImages
from keras_mae.data.progress import images_bar
from keras_mae.whole_file import replace_file


class Progress(keras.callbacks.Callback):
    """One bar for the whole run, where Keras shows one for each epoch: loss, images a second and the remaining time.

    It begins with the second step, as the compilation in the first would distort the rate.

    Args:
        batch_size: images in a step.
        steps_per_epoch, epochs: of the whole run.
        done: steps taken before.
    """

    def __init__(self, batch_size: int, steps_per_epoch: int, epochs: int, done: int = 0) -> None:
        super().__init__()
        self.batch_size, self.steps_per_epoch, self.epochs = batch_size, steps_per_epoch, epochs
        self.step = done
        self.bar: tqdm | None = None

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.step += 1
        if self.bar is None:
            total = self.epochs * self.steps_per_epoch * self.batch_size
            self.bar = images_bar(total, self.step * self.batch_size)
            return
        epoch = (self.step - 1) // self.steps_per_epoch + 1
        text = f"epoch {epoch}/{self.epochs}, loss {float(logs['loss']):.4f}"
        self.bar.set_description_str(text, refresh=False)
        self.bar.update(self.batch_size)

    def on_epoch_end(self, epoch, logs=None) -> None:
        if self.bar is not None:
            self.bar.refresh()

    def close(self) -> None:
        """Ends the bar's line."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class JsonLines(keras.callbacks.Callback):
    """Appends a line to a file after each epoch: epoch, step, loss, learning rate, seconds and images a second.

    Skipped steps count as steps. After a resume within an epoch, `seconds` and `images_per_second` are those since
    then. Keras' `CSVLogger` knows no step, and keeps the epochs that a resumed run trains again.

    Args:
        path: of the file.
        batch_size: images in a step.
        done: steps taken before; lines of later steps, of a run that was interrupted, are removed.
    """

    def __init__(self, path: str, batch_size: int, done: int = 0) -> None:
        super().__init__()
        self.path, self.batch_size = path, batch_size
        self._begin, self._first = 0.0, done
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                kept = [line for line in file if line.endswith("\n") and json.loads(line)["step"] <= done]
            replace_file(path, lambda aside: Path(aside).write_text("".join(kept), encoding="utf-8"))

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self._begin, self._first = time.perf_counter(), int(self.model.batches_seen)

    def on_epoch_end(self, epoch, logs=None) -> None:
        seconds, step = time.perf_counter() - self._begin, int(self.model.batches_seen)
        record = {
            "epoch": epoch + 1,
            "step": step,
            **{key: round(float(value), 6) for key, value in (logs or {}).items()},
            "skipped_steps": int(self.model.skipped_steps.numpy()),
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": round(seconds, 2),
            "images_per_second": round((step - self._first) * self.batch_size / seconds, 1),
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class StopOnTooManyCorrupt(keras.callbacks.Callback):
    """Ends the run with a ValueError as soon as more than 1 % of the images are known to be corrupt."""

    def __init__(self, corrupt: CorruptImages) -> None:
        super().__init__()
        self._corrupt = corrupt

    def on_train_batch_end(self, batch, logs=None) -> None:
        self._corrupt.check()
