"""Measures the facts that `--recipe=auto` chooses by: of some images, and of the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mae.data import Source, evaluation_transform, measure_stats
from keras_mae.data.samples import with_reason
from keras_mae.data.subset import random_subset
from keras_mae.data.tiff_header import MARKS, SAMPLES, Directory
from keras_mae.trainers.auto_facts import Facts
from keras_mae.trainers.dtype_choice import choose_dtype
from keras_mae.trainers.free_memory import find_memory, memory_of_process
from keras_mae.trainers.strategy import is_multiworker
from keras_mae.training.skipped_steps import has_accelerator

_LOOKED_AT = 64  # images, or those of some seconds
_SECONDS, _FEWEST = 5.0, 8
_TRACED = 2  # the first images, whose decoder is traced: they tell nothing of the time
_MEASURED = 256  # images, for mean and standard deviation
_CELLS = 8  # along a side of an image, to find what has no contrast
_FLAT = 0.05  # of the standard deviation of all images
_NINE_OF_TEN = 0.1  # the quantile of the sides


def measure_facts(source: Source, strategy: tf.distribute.Strategy, given: frozenset[str] = frozenset()) -> Facts:
    """Looks at some images, always the same, and times a product of matrices.

    Args:
        source: the images.
        strategy: of the run.
        given: full names of settings that are not to be chosen; mean and std are not measured if both are given.

    Raises:
        ValueError: if no image can be decoded, or a channel is the same everywhere.
    """
    facts = _of_images(source)
    if (facts["bits"], facts["channels"]) != (8, 3) and not {"encoder.mean", "encoder.std"} <= given:
        stats = measure_stats(source, facts["channels"], _MEASURED)
        facts |= {"mean": stats.mean, "std": stats.std}
    return Facts(num_images=source.num_images, **facts, **_of_machine(strategy))


def _of_images(source: Source) -> dict[str, Any]:
    channels, gray = 3 if source.image_shape is None else source.image_shape[-1], True
    sizes: list[Any] = []
    times, images, failed = [], [], None
    end = time.monotonic() + _SECONDS
    for index in random_subset(source, _LOOKED_AT).indices:
        begin = time.perf_counter()
        try:
            contents = source.read(tf.constant(index))["image"]
            if source.image_shape is None and not sizes:
                channels = _channels(contents, source)
            pixels = source.pixels(contents, channels)
            small = evaluation_transform(pixels, (224, 224, channels), 1.0)
        except tf.errors.OpError:
            failed = int(index)
            continue
        times.append(time.perf_counter() - begin)
        sizes.append(pixels.shape[:2])
        array = (pixels if source.image_shape else small).numpy()  # bounded
        gray = gray and channels == 3 and bool((array == array[..., :1]).all())
        images.append(_cells(array))
        if time.monotonic() > end and len(sizes) >= _FEWEST:
            break
    if not sizes:
        such_as = "" if failed is None else f", such as {with_reason(source, failed, channels)}"
        raise ValueError(f"none of the images looked at can be decoded{such_as}")
    cells = np.concatenate(images)
    deviation = np.sqrt(cells[:, 1].mean() + cells[:, 0].var())
    height, width = (int(np.quantile([size[axis] for size in sizes], _NINE_OF_TEN, method="lower")) for axis in (0, 1))
    return {
        "height": height,
        "width": width,
        "same_size": len(set(map(tuple, sizes))) == 1,
        "channels": 1 if gray and source.image_shape is None else channels,
        "bits": 16 if source.dtype == "uint16" else 8,
        "flat": round(float(np.mean(np.sqrt(cells[:, 1]) < _FLAT * deviation)), 3),
        "reading": float(np.median(times[_TRACED:] or times)) if source.encoded else 0.0,
    }


def _channels(contents: tf.Tensor, source: Source) -> int:
    """3, or the number of a TIFF file that has more than colours and alpha."""
    data = contents.numpy() if source.encoded else b""
    if not data.startswith(MARKS):
        return 3
    samples = int(Directory(contents).one(SAMPLES))
    return 3 if samples <= 4 else samples


def _cells(image: np.ndarray) -> np.ndarray:
    """Mean and variance of each cell of an 8 x 8 grid of an image, float64 `(64, 2)`."""
    height, width, channels = image.shape
    rows, columns = max(height // _CELLS, 1), max(width // _CELLS, 1)
    image = image[: height // rows * rows, : width // columns * columns].astype("float64")
    cells = image.reshape(height // rows, rows, width // columns, columns, channels)
    return np.stack([cells.mean((1, 3, 4)), cells.var((1, 3)).mean(-1)], axis=-1).reshape(-1, 2)


def _of_machine(strategy: tf.distribute.Strategy) -> dict[str, Any]:
    memory, replicas, accelerator = find_memory(), strategy.num_replicas_in_sync, has_accelerator()
    dtype = choose_dtype(strategy)
    return {
        "memory": None if memory is None else memory.free,
        "taken": memory_of_process(),
        "accelerator": accelerator,
        "dtype_policy": dtype.policy,
        "dtype_why": dtype.why,
        "replicas": replicas,
        "replicas_here": 1 if accelerator or is_multiworker(strategy) else replicas,
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "products": _products(dtype.policy.removeprefix("mixed_") if accelerator else "float32", large=accelerator),
        "numbers": _numbers(large=accelerator),
    }


def _products(dtype: str, large: bool) -> float:
    """Multiplications and additions a second of a product like those of a transformer."""
    tokens, width, hidden = (16384, 1024, 4096) if large else (2048, 256, 1024)
    left, right, count = tf.ones((tokens, width), dtype), tf.ones((width, hidden), dtype), 8

    @tf.function
    def multiplied():
        first = tf.zeros((tokens, hidden), dtype)
        return tf.while_loop(lambda n, _: n < count, lambda n, _: (n + 1, left @ right), (0, first))[1][0, 0]

    return 2 * count * tokens * width * hidden / _seconds(multiplied)


def _numbers(large: bool) -> float:
    """Numbers a second that an element-wise function goes through."""
    count = 2**26 if large else 2**22
    numbers = tf.linspace(-2.0, 2.0, count)

    @tf.function
    def passed():
        return (tf.tanh(numbers) * numbers + numbers)[0]

    return count / _seconds(passed)


def _seconds(function: Callable[[], tf.Tensor]) -> float:
    """The median time of five calls, after one that traces the function."""
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        function().numpy()
        times.append(time.perf_counter() - begin)
    return float(np.median(times[1:]))
