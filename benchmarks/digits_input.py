"""Batches of small images in memory, as they are or cropped and flipped: by the batch against image by image."""

from __future__ import annotations

import json
import statistics
import time

import numpy as np

from keras_mae.data import ArraySource, Augmentation, TrainingData

_BATCH, _BATCHES, _ROUNDS = 50, 40, 7


class _OneByOne(ArraySource):
    """The same array, of which the pipeline does not know that all images have one shape."""

    def __init__(self, images: np.ndarray) -> None:
        super().__init__(images)
        self.image_shape = None


def result() -> str:
    """Median images a second of both, and their ratio."""
    images = np.random.default_rng(0).integers(0, 256, (2000, 28, 28, 1), dtype="uint8")
    record: dict[str, float] = {}
    for name, augmentation in (
        ("", Augmentation(crop_scale=None, flip=False, crop_ratio=1.0)),
        ("cropped_", Augmentation(crop_scale=(0.5, 1.0), flip=True)),
    ):
        medians = _medians(images, augmentation)
        record |= {f"{name}{side}_images_per_second": round(median) for side, median in medians.items()}
        record[f"{name}ratio"] = round(medians["by_batch"] / medians["one_by_one"], 1)
    return json.dumps({"benchmark": "digits_input", **record})


def _medians(images: np.ndarray, augmentation: Augmentation) -> dict[str, float]:
    streams = {}
    for side, source in (("by_batch", ArraySource(images)), ("one_by_one", _OneByOne(images))):
        streams[side] = iter(TrainingData(source, (28, 28, 1), _BATCH, 0, augmentation).at())
        next(streams[side])
    rates: dict[str, list[float]] = {side: [] for side in streams}
    for _ in range(_ROUNDS):
        for side, stream in streams.items():
            begin = time.perf_counter()
            for _ in range(_BATCHES):
                next(stream)
            rates[side].append(_BATCH * _BATCHES / (time.perf_counter() - begin))
    return {side: statistics.median(values) for side, values in rates.items()}
