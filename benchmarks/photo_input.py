"""Photographs to random resized crops of 224 pixels, flipped or not, in uint8 batches.

    python -m benchmarks.photo_input

JPEG files of 500 x 375 pixels: `TrainingData` against Pillow with a worker process for each core, and against
what is left if everything but `decode_and_crop_jpeg` and the resize is taken out of it. Files of 12 megapixels: one
thread each, against Pillow's full decode. The rounds alternate; rates are medians, in images a second.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks import pillow_pipeline
from keras_mae.data import Augmentation, FolderSource, TrainingData
from keras_mae.data.augmentation import RATIO, crop_draws, crop_window
from keras_mae.data.preprocessing import resize_at_once
from keras_mae.example_seed import ExampleSeed

_SIZE, _BATCH, _FILES = 224, 32, 192
_SCALE = (0.2, 1.0)


def result(rounds: int = 5, batches: int = 30) -> str:
    """Both comparisons as a JSON object."""
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(os.path.join(folder, "small"), (500, 375), _FILES)
        write_photographs(os.path.join(folder, "large"), (4000, 3000), 4)
        record = _small(os.path.join(folder, "small"), rounds, batches)
        record |= _large(os.path.join(folder, "large"), rounds)
    return json.dumps({"benchmark": "photo_input", "cores": os.cpu_count(), **record})


def _small(folder: str, rounds: int, batches: int) -> dict[str, float]:
    source = FolderSource(folder)
    ours = TrainingData(source, (_SIZE, _SIZE, 3), _BATCH, 0, Augmentation(_SCALE)).at()
    bare = _bare(source.paths)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        sides: dict[str, Callable[[], Iterator]] = {
            "ours": lambda: iter(ours),
            "bare_loop": lambda: iter(bare),
            "pillow": lambda: pool.imap(pillow_pipeline.batch, _tasks(source.paths, batches + 1)),
        }
        rates = _alternate(sides, rounds, batches, _BATCH)
    return {
        **{f"{side}_images_per_second": round(rate) for side, rate in rates.items()},
        "over_pillow": round(rates["ours"] / rates["pillow"], 2),
        "over_bare_loop": round(rates["ours"] / rates["bare_loop"], 2),
    }


def _large(folder: str, rounds: int) -> dict[str, float]:
    source = FolderSource(folder)
    dataset = TrainingData(source, (_SIZE, _SIZE, 3), 1, 0, Augmentation(_SCALE)).at()
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    ours = dataset.with_options(options)
    sides: dict[str, Callable[[], Iterator]] = {
        "ours": lambda: iter(ours),
        "pillow": lambda: map(pillow_pipeline.batch, _tasks(source.paths, 10**6, 1)),
    }
    rates = _alternate(sides, rounds, 4 * source.num_images, 1)
    return {
        **{f"{side}_12_megapixels_per_second": round(rate, 1) for side, rate in rates.items()},
        "over_pillow_12_megapixels": round(rates["ours"] / rates["pillow"], 2),
    }


def _bare(paths: list[str]) -> tf.data.Dataset:
    """Only what has to be: read, decode the crop, resize."""
    windows = [
        crop_window((375, 500), crop_draws(ExampleSeed.of(0, 0, number)), _SCALE, RATIO) for number in range(len(paths))
    ]

    def load(path, window):
        image = tf.image.decode_and_crop_jpeg(tf.io.read_file(path), window, channels=3, dct_method="INTEGER_ACCURATE")
        return resize_at_once(image, (_SIZE, _SIZE))

    dataset = tf.data.Dataset.from_tensor_slices((paths, tf.stack(windows))).repeat()
    return dataset.map(load, tf.data.AUTOTUNE, deterministic=True).batch(_BATCH).prefetch(tf.data.AUTOTUNE)


def _tasks(paths: list[str], batches: int, size: int = _BATCH) -> Iterator[tuple[list[str], int, int]]:
    for number in range(batches):
        yield [paths[(number * size + n) % len(paths)] for n in range(size)], _SIZE, number


def _alternate(
    sides: dict[str, Callable[[], Iterator]], rounds: int, batches: int, batch_size: int
) -> dict[str, float]:
    """Medians of images a second. Each turn has its own iterator: one that is kept works ahead in others' turns."""
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, begin_side in sides.items():
            iterator = begin_side()
            next(iterator)  # starts threads, fills the first buffers
            begin = time.perf_counter()
            for _ in range(batches):
                next(iterator)
            seconds = time.perf_counter() - begin
            del iterator
            if number:  # the first round fills caches
                rates[side].append(batches * batch_size / seconds)
    return {side: statistics.median(values) for side, values in rates.items()}


def write_photographs(folder: str, size: tuple[int, int], count: int) -> None:
    """JPEG files of parts of scikit-learn's two photographs, enlarged or not, that all differ."""
    os.mkdir(folder)
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    rng = np.random.default_rng(0)
    for number in range(count):
        left, top = rng.integers(0, 140), rng.integers(0, 52)
        part = photographs[number % 2].crop((left, top, left + 500, top + 375)).resize(size, Image.Resampling.BICUBIC)
        part.save(os.path.join(folder, f"{number:03}.jpg"), quality=90)


if __name__ == "__main__":
    print(result())
