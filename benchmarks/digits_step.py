"""The train step of the digits recipe on this machine: compiled by XLA against TensorFlow's graph."""

from __future__ import annotations

import json
import statistics
import time

import numpy as np
import tensorflow as tf

from keras_mae.optimizers import adamw
from keras_mae.trainers import recipes
from keras_mae.trainers.pretrain import build

_ROUNDS = 15


def result() -> str:
    """Median milliseconds of both, and how many times as fast XLA is."""
    config = recipes.load("mae_digits")
    rng = np.random.default_rng(0)
    shape = (config.optimizer.batch_size, *config.encoder.image_shape)
    images = tf.constant(rng.integers(0, 256, shape, dtype="uint8"))
    steps = {}
    for side, compiled in (("xla", True), ("graph", False)):
        mae = build(config)
        mae.compile(optimizer=adamw(mae, config.optimizer.peak_learning_rate), jit_compile=compiled)
        mae.optimizer.build(mae.trainable_variables)
        steps[side] = tf.function(mae.train_step, jit_compile=compiled)
        for _ in range(3):
            steps[side](images)
    seconds: dict[str, list[float]] = {side: [] for side in steps}
    for _ in range(_ROUNDS):
        for side, step in steps.items():
            begin = time.perf_counter()
            float(step(images)["loss"])
            seconds[side].append(time.perf_counter() - begin)
    medians = {side: statistics.median(times) for side, times in seconds.items()}
    record = {f"{side}_ms": round(1e3 * median, 1) for side, median in medians.items()}
    return json.dumps({"benchmark": "digits_step", **record, "ratio": round(medians["graph"] / medians["xla"], 2)})
