"""The train step on two replicas, compiled and uncompiled, against one device: losses, weights, time.

    python -m benchmarks.accelerator.replicas --size=vit_base --batch_size=64 --dtype=bfloat16

The two replicas are two logical devices of the first GPU, or of the processor where there is none: they show that the
numbers are right and what compiling is worth, not what a second device is worth. NCCL takes no two replicas on one GPU,
so that one device adds the gradients up. It prints one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import statistics
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.accelerator.run import machine
from benchmarks.our_step import our_model
from benchmarks.sizes import SIZES, Size
from keras_mae.optimizers import adamw

_REPLICAS = 2
_BATCHES = 4  # that differ
# name: number of devices, whether XLA compiles
SIDES = {
    "one_device": (1, True),
    "one_device_uncompiled": (1, False),
    "replicas": (_REPLICAS, True),
    "replicas_uncompiled": (_REPLICAS, False),
}


def logical_devices(megabytes: int) -> list[str]:
    """Makes logical devices of the first GPU, with so much memory each, or of the processor."""
    gpus = tf.config.list_physical_devices("GPU")
    kind = "GPU" if gpus else "CPU"
    limit = {"memory_limit": megabytes} if gpus else {}
    each = [tf.config.LogicalDeviceConfiguration(**limit) for _ in range(_REPLICAS)]
    tf.config.set_logical_device_configuration((gpus or tf.config.list_physical_devices("CPU"))[0], each)
    return [f"{kind}:{number}" for number in range(_REPLICAS)]


class RunningSide:
    """A model in training on one device or several.

    Args:
        devices: one, or those of the replicas.
        size: of the model and its global batch.
        dtype: `float32` or `bfloat16`.
        jit_compile: whether XLA compiles.
        weights: to begin with; None for fresh ones.

    Attributes:
        first_seconds: from the first call to the end of the first step.
    """

    def __init__(self, devices: list[str], size: Size, dtype: str, jit_compile: bool, weights: Any = None) -> None:
        several = len(devices) > 1
        strategy = tf.distribute.get_strategy()
        if several:
            reduction = tf.distribute.ReductionToOneDevice()
            strategy = tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)
        with strategy.scope() if several else contextlib.nullcontext():
            self.model = our_model(size, dtype)
            self.model.compile(optimizer=adamw(self.model, 1e-3), jit_compile=jit_compile)
        if weights is not None:
            self.model.set_weights(weights)
        self.weights = self.model.get_weights()
        shape = (_BATCHES * size.batch_size, *size.image_shape)
        images = np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")
        batches = tf.data.Dataset.from_tensor_slices(images).batch(size.batch_size, drop_remainder=True).repeat()
        self._batches = iter(strategy.experimental_distribute_dataset(batches.prefetch(2)))
        begin = time.perf_counter()
        self.model.make_train_function()
        self.losses = self.take(1)
        self.first_seconds = time.perf_counter() - begin

    def take(self, num_steps: int) -> list[float]:
        """Takes steps, and waits for the last one.

        Returns:
            The mean loss of all steps so far, as it was after each of these.
        """
        logs = [self.model.train_function(self._batches) for _ in range(num_steps)]
        return [float(each["loss"]) for each in logs]


def compare(devices: list[str], size: Size, dtype: str, num_steps: int, rounds: int) -> dict[str, Any]:
    """Differences to one device after `num_steps` steps, and milliseconds a step, of turns that alternate.

    A difference is `|ours - theirs| / |theirs|`, of the Euclidean norm over all losses, or over all weights.
    """
    sides: dict[str, RunningSide] = {}
    weights = None
    for name, (count, compiled) in SIDES.items():
        sides[name] = RunningSide(devices[:count], size, dtype, compiled, weights)
        weights = sides[name].weights
        sides[name].losses += sides[name].take(num_steps - 1)
    trained = {name: (side.losses, _flat(side.model)) for name, side in sides.items()}
    record: dict[str, Any] = {"last_loss": trained["one_device"][0][-1]}
    for name in sides:
        for what, ours, theirs in zip(("losses", "weights"), trained[name], trained["one_device"], strict=True):
            record[f"{name}_{what}"] = float(np.linalg.norm(np.subtract(ours, theirs)) / np.linalg.norm(theirs))
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            begin = time.perf_counter()
            side.take(num_steps)
            seconds[name].append((time.perf_counter() - begin) / num_steps)
    for name, side in sides.items():
        record[f"{name}_milliseconds"] = round(1000 * statistics.median(seconds[name]), 2)
        record[f"{name}_first_seconds"] = round(side.first_seconds, 1)
    return record


def _flat(model) -> np.ndarray:
    return np.concatenate([weight.ravel().astype("float64") for weight in model.get_weights()])


def main() -> None:
    """Reads the flags, and prints the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator.replicas", description=__doc__)
    parser.add_argument("--size", default="vit_tiny", help="a name in benchmarks.sizes.SIZES; default: %(default)s")
    parser.add_argument("--batch_size", type=int, help="on all devices together; default: that of the size")
    parser.add_argument("--dtype", default="float32", help="float32, without TF32, or bfloat16; default: %(default)s")
    parser.add_argument("--num_steps", type=int, default=10, help="steps in a turn; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side; default: %(default)s")
    parser.add_argument("--memory", type=int, default=30_000, help="MiB for each half of a GPU; default: %(default)s")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    size = dataclasses.replace(size, batch_size=arguments.batch_size or size.batch_size)
    tf.config.experimental.enable_tensor_float_32_execution(arguments.dtype != "float32")
    devices = logical_devices(arguments.memory)
    record = {"benchmark": "replicas", **machine(), "tensorflow": tf.__version__, "devices": devices}
    record |= {"size": arguments.size, "batch_size": size.batch_size, "dtype": arguments.dtype}
    record |= compare(devices, size, arguments.dtype, arguments.num_steps, arguments.rounds)
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
