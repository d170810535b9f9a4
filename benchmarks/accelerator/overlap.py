"""Whether images are made while a device computes: `fit` with a step that only waits, as a processor does for a device.

    python -m benchmarks.accelerator.overlap

JPEGs of 500 x 375 px become batches of random crops of 224 px. The stand-in of a step takes as long as a batch does to
be made, the most that overlap can hide. It prints one line of JSON; without overlap `ratio` were 2, with all of it 1.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time

import keras
import tensorflow as tf

from benchmarks.photo_input import write_photographs
from keras_mae.data import Augmentation, FolderSource, TrainingData

_SIZE, _BATCH = 224, 32


class WaitingModel(keras.Model):
    """A model whose step computes nothing, and takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.built = True
        self._seconds = seconds

    def call(self, images):
        return images

    def train_step(self, images) -> dict[str, tf.Tensor]:
        """Waits as for a device."""
        waited = tf.numpy_function(self._wait, [tf.shape(images)], tf.float32)
        return {"loss": tf.ensure_shape(waited, ())}

    def _wait(self, shape):
        time.sleep(self._seconds)
        return shape[0].astype("float32")


def seconds_of_batches(batches: tf.data.Dataset, num_batches: int) -> float:
    """Seconds that a batch takes to be made, if nothing else happens."""
    iterator = iter(batches)
    next(iterator)
    begin = time.perf_counter()
    for _ in range(num_batches):
        next(iterator)
    return (time.perf_counter() - begin) / num_batches


class Clock(keras.callbacks.Callback):
    """Notes when steps end, in `ends`."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.ends.append(time.perf_counter())


def seconds_of_fit(batches: tf.data.Dataset, num_batches: int, seconds: float) -> float:
    """Seconds that a batch takes in `fit` from the first one on, with a step of so many seconds."""
    model, clock = WaitingModel(seconds), Clock()
    model.compile(jit_compile=False)
    model.fit(batches, steps_per_epoch=num_batches + 1, verbose=0, callbacks=[clock])
    return (clock.ends[-1] - clock.ends[0]) / num_batches


def result(rounds: int = 3, num_batches: int = 40, num_files: int = 192) -> str:
    """Milliseconds for a batch: made, waited for, and both in `fit`; medians of rounds that alternate."""
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(os.path.join(folder, "photographs"), (500, 375), num_files)
        source = FolderSource(os.path.join(folder, "photographs"))
        batches = TrainingData(source, (_SIZE, _SIZE, 3), _BATCH, 0, Augmentation((0.2, 1.0))).at()
        made, both = [], []
        for _ in range(rounds):
            made.append(seconds_of_batches(batches, num_batches))
            both.append(seconds_of_fit(batches, num_batches, made[-1]))
    ratio = statistics.median(b / m for b, m in zip(both, made, strict=True))
    record = {
        "cores": os.cpu_count(),
        "images_per_second": round(_BATCH / statistics.median(made)),
        "batch_milliseconds": round(1000 * statistics.median(made), 1),
        "fit_milliseconds": round(1000 * statistics.median(both), 1),
        "ratio": round(ratio, 2),
    }
    return json.dumps({"benchmark": "overlap", **record})


if __name__ == "__main__":
    print(result())
