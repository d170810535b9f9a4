"""What happens beside training: progress, logs, pictures, checkpoints."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import keras
import tensorflow as tf
from tqdm.auto import tqdm

from keras_mae.data import CorruptImages


class Progress(keras.callbacks.Callback):
    """One bar for the whole run: loss, images a second and the remaining time.

    It begins with the second step, as the first one compiles and would spoil the rate.

    Args:
        batch_size: images in a step.
    """

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.bar: tqdm | None = None
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None) -> None:
        steps, epochs = self.params["steps"], self.params["epochs"]
        if self.bar is None:
            done = self.epoch * steps + batch + 1
            self.bar = tqdm(
                total=epochs * steps * self.batch_size,
                initial=done * self.batch_size,
                unit=" images",
                unit_scale=True,
                bar_format="{desc} |{bar:20}| {percentage:3.0f}%  {rate_fmt}, {remaining} left",
                smoothing=0.05,
                mininterval=1.0,
                dynamic_ncols=True,
            )
            return
        text = f"epoch {self.epoch + 1}/{epochs}, loss {float(logs['loss']):.4f}"
        self.bar.set_description_str(text, refresh=False)
        self.bar.update(self.batch_size)

    def on_epoch_end(self, epoch, logs=None) -> None:
        if self.bar is not None:
            self.bar.refresh()

    def on_train_end(self, logs=None) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class JsonLines(keras.callbacks.Callback):
    """One line a finished epoch in a file: epoch, step, loss, learning rate, seconds and images a second.

    Args:
        path: the file; lines are appended.
        batch_size: images in a step.
        done: steps taken before; lines of later ones belong to a run that was interrupted, and are dropped.
    """

    def __init__(self, path: str, batch_size: int, done: int = 0) -> None:
        super().__init__()
        self.path, self.batch_size = path, batch_size
        self._begin = 0.0
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                kept = [line for line in file if line.endswith("\n") and json.loads(line)["step"] <= done]
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(kept)

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None) -> None:
        seconds = time.perf_counter() - self._begin
        record = {
            "epoch": epoch + 1,
            "step": int(self.model.optimizer.iterations),
            **{key: round(float(value), 6) for key, value in (logs or {}).items()},
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": round(seconds, 2),
            "images_per_second": round(self.params["steps"] * self.batch_size / seconds, 1),
        }
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class TensorBoardScalars(keras.callbacks.Callback):
    """The epoch's logs as TensorBoard scalars, by step.

    Args:
        path: folder of the event files.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._writer = tf.summary.create_file_writer(path)

    def on_epoch_end(self, epoch, logs=None) -> None:
        step = int(self.model.optimizer.iterations)
        with self._writer.as_default():
            for key, value in (logs or {}).items():
                tf.summary.scalar(key, value, step=step)
            tf.summary.scalar("learning_rate", float(self.model.optimizer.learning_rate), step=step)
        self._writer.flush()


class Checkpoints(keras.callbacks.Callback):
    """Saves weights and optimizer after every epoch; the newest two are kept.

    TensorFlow writes a checkpoint aside and names it last, so that one which was interrupted is never picked up.

    Args:
        path: folder of the checkpoints.
        model: the compiled model.
    """

    def __init__(self, path: str, model: keras.Model) -> None:
        super().__init__()
        model.optimizer.build(model.trainable_variables)  # its slots must be there to be restored
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        self._manager = tf.train.CheckpointManager(self._checkpoint, path, max_to_keep=2)

    def restore(self) -> int:
        """Takes up the newest checkpoint; returns the number of steps it has taken, 0 if there is none."""
        if self._manager.latest_checkpoint is None:
            return 0
        self._checkpoint.restore(self._manager.latest_checkpoint).assert_existing_objects_matched()
        return int(self._checkpoint.optimizer.iterations)

    def on_epoch_end(self, epoch, logs=None) -> None:
        self._manager.save(checkpoint_number=int(self._checkpoint.optimizer.iterations))


class Pictures(keras.callbacks.Callback):
    """Draws reconstructions every few epochs, and after the last.

    Args:
        draw: called with the path of a PNG to write.
        path: folder of the pictures.
        every: epochs between two pictures.
    """

    def __init__(self, draw: Callable[[str], None], path: str, every: int) -> None:
        super().__init__()
        self._draw, self._path, self._every = draw, path, every

    def on_epoch_end(self, epoch, logs=None) -> None:
        if (epoch + 1) % self._every == 0 or epoch + 1 == self.params["epochs"]:
            os.makedirs(self._path, exist_ok=True)
            self._draw(os.path.join(self._path, f"epoch_{epoch + 1:04d}.png"))


class StopOnTooManyCorrupt(keras.callbacks.Callback):
    """Ends the run with a ValueError as soon as more than 1 % of the images turned out to be corrupt."""

    def __init__(self, corrupt: CorruptImages) -> None:
        super().__init__()
        self._corrupt = corrupt

    def on_train_batch_end(self, batch, logs=None) -> None:
        self._corrupt.check()
