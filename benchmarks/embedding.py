"""`keras-mae embed` against the bare encoder on the same batches.

    python -m benchmarks.embedding

JPEG files of 500 x 375 pixels through ViT-S, 224 pixels: read, decoded, embedded and written, against the encoder's
function on the decoded batches in memory. The rounds alternate; rates are medians, in images a second, from the second
batch on: the first one is compiled.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.photo_input import write_photographs
from keras_mae.data import evaluation_dataset, open_source
from keras_mae.encoders import ViTEncoder
from keras_mae.retrieval.embedder import embedder_of
from keras_mae.retrieval.embedding import embed_source

_HEADER = {"weights": {"kind": "run", "source": "fresh", "digest": ""}, "data": "", "dtype": "float32"}


def result(preset: str = "vit_small_patch16", batch_size: int = 32, batches: int = 5, rounds: int = 5) -> str:
    """The rates and their ratio as a JSON object."""
    encoder = ViTEncoder.from_preset(preset)
    embedder = embedder_of(encoder)
    rates: dict[str, list[float]] = {"embed": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        images = os.path.join(folder, "images")
        write_photographs(images, (500, 375), batch_size * (batches + 1))
        source = open_source(f"folder:{images}")
        in_memory = list(evaluation_dataset(source, encoder.image_shape, batch_size))
        for number in range(rounds + 1):
            times: list[float] = []

            def embed(images: tf.Tensor, times: list[float] = times) -> tf.Tensor:
                vectors = embedder.function(images)
                times.append(time.perf_counter())
                return vectors

            output = os.path.join(folder, f"{number}.parquet")
            embed_source(embedder, source, output, _HEADER, batch_size, function=embed)
            end = time.perf_counter()
            bare = _seconds(embedder.function, in_memory)
            if number:  # the first round fills caches
                rates["embed"].append(batches * batch_size / (end - times[0]))
                rates["bare"].append(batches * batch_size / bare)
    medians = {side: statistics.median(values) for side, values in rates.items()}
    record: dict[str, Any] = {f"{side}_images_per_second": round(rate, 1) for side, rate in medians.items()}
    ratios = [one / other for one, other in zip(*rates.values(), strict=True)]
    record |= {"embed_over_bare": round(statistics.median(ratios), 2), "smallest": round(min(ratios), 2)}
    return json.dumps({"benchmark": f"embedding_{preset}_batch_{batch_size}", "cores": os.cpu_count(), **record})


def _seconds(function: Any, batches: list[tf.Tensor]) -> float:
    """The time from the second batch on."""
    np.asarray(function(batches[0]))
    begin = time.perf_counter()
    for batch in batches[1:]:
        np.asarray(function(batch))
    return time.perf_counter() - begin


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="vit_small_patch16")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    print(result(**vars(parser.parse_args())))
