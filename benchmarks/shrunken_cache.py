"""Large image files against a cache of smaller ones: random resized crops of 224 pixels, images a second and core.

    python -m benchmarks.shrunken_cache

Gray PNG files (8 bits) and colour JPEG files of 2,000 x 1,500 pixels, made of scikit-learn's photographs, and `disk:`
with `shrink=512` and `shrink=256` of each. One thread makes the images, all files lie in the page cache: what a slow
storage adds to the large files is not counted. By processor time; the sides alternate, rates are medians.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from keras_mae.data import Augmentation, TrainingData, open_source

_FILES, _SIZE = 16, (2000, 1500)
_FORMS = {"gray_png": ("L", "png", 1), "jpeg": ("RGB", "jpg", 3)}
_SIDES = (None, 512, 256)


def result(rounds: int = 3, images: int = 16) -> str:
    """Rates and bytes an image as a JSON object."""
    record: dict = {"benchmark": "shrunken_cache"}
    with tempfile.TemporaryDirectory() as folder:
        for form, (mode, extension, channels) in _FORMS.items():
            _write(os.path.join(folder, form), mode, extension)
            streams = {}
            for side in _SIDES:
                name = "files" if side is None else f"shrink_{side}"
                cache = os.path.join(folder, f"{form}-{side}")
                prefix = "" if side is None else f"disk:{cache}:shrink={side}:"
                source = open_source(f"{prefix}folder:{folder}/{form}")
                streams[name] = TrainingData(source, (224, 224, channels), 1, 0, Augmentation()).at()
                stored = os.path.join(folder, form) if side is None else os.path.join(cache, "all")
                size = sum(entry.stat().st_size for entry in os.scandir(stored))
                record[f"{form}_{name}_kilobytes"] = round(size / _FILES / 1000)
            for name, rate in _alternate(streams, rounds, images).items():
                record[f"{form}_{name}_images_per_second"] = round(rate, 1)
    return json.dumps(record)


def _write(folder: str, mode: str, extension: str) -> None:
    os.mkdir(folder)
    rng = np.random.default_rng(0)
    for number in range(_FILES):
        photograph = Image.fromarray(load_sample_images().images[number % 2])
        left, top = rng.integers(0, 140), rng.integers(0, 52)
        part = photograph.crop((left, top, left + 500, top + 375)).resize(_SIZE, Image.Resampling.BICUBIC)
        part.convert(mode).save(os.path.join(folder, f"{number:02}.{extension}"), quality=90)


def _alternate(streams: dict[str, tf.data.Dataset], rounds: int, images: int) -> dict[str, float]:
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    rates: dict[str, list[float]] = {name: [] for name in streams}
    for number in range(rounds + 1):
        for name, stream in streams.items():
            iterator = iter(stream.with_options(options))
            next(iterator)
            begin = time.process_time()
            for _ in range(images):
                next(iterator)
            seconds = time.process_time() - begin
            del iterator
            if number:  # the first round fills caches
                rates[name].append(images / seconds)
    return {name: statistics.median(values) for name, values in rates.items()}


if __name__ == "__main__":
    print(result())
