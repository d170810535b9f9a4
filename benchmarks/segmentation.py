"""What a pretrained encoder is worth in segmentation with 100 labelled images, over several seeds.

    python -m benchmarks.segmentation --output=runs/segmentation --seeds=3

The images are photographs with handwritten digits on them, 32 x 32 pixels, and the classes of their pixels the digits
and the background (`benchmarks.pasted_digits`). Each seed pretrains a masked autoencoder on 4,000 such images without
labels; trains a segmenter with each head on 100 others with labels, from this encoder, all of it or the head alone, and
from scratch; and tests it on 500, with other digits on other parts of the photographs. Everything that trains has the
same steps and rates. Results that are in the output folder are taken as they are. Prints, and writes to `results.json`,
mean and standard deviation (of the sample) of the mean IoU over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time

import keras
import numpy as np

from benchmarks.continued import summary, table
from benchmarks.pasted_digits import CLASSES, SIDE, scenes
from keras_mae.models import ImageSegmenter
from keras_mae.optimizers import WarmupCosine
from keras_mae.trainers import recipes, run
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.encoder_choice import load_encoder
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.settings import replaced

UNLABELLED, LABELLED, TESTED = 4000, 100, 500
PRETRAINING: dict[str, object] = {"epochs": 25}  # settings in place of those of mae_digits
EPOCHS, BATCH, RATE = 60, 10, 1e-3
# each way to train: whether the encoder is pretrained, and how many of its layers are trained
WAYS: dict[str, tuple[bool, int | None]] = {
    "from scratch": (False, None),
    "pretrained": (True, None),
    "pretrained, frozen": (True, 0),
}
HEADS = ("linear", "mask_transformer")


def measure(output: str, seed: int) -> dict[str, dict[str, float]]:
    """The mean IoU on the test, by way and head.

    Args:
        output: a folder for everything that belongs to this seed.
        seed: of images and weights.
    """
    os.makedirs(output, exist_ok=True)
    data, encoder, results = (os.path.join(output, name) for name in ("unlabelled.npz", "mae", run.RESULTS))
    config = _pretraining(seed)
    weights = os.path.join(encoder, run.ENCODER)
    if not os.path.exists(weights):
        np.savez(data, images=scenes(UNLABELLED, 2 * seed, of_test=False)[0])
        pretrain(config, f"npz:{data}", encoder, overwrite=True)
        shutil.rmtree(os.path.join(encoder, run.CHECKPOINTS), ignore_errors=True)
    found: dict[str, dict[str, float]] = {}
    if os.path.exists(results):
        with open(results, encoding="utf-8") as file:
            found = json.load(file)
    for way, (is_pretrained, count) in WAYS.items():
        for head in HEADS:
            if head in found.get(way, {}):
                continue
            keras.utils.set_random_seed(seed)
            model = ImageSegmenter(
                load_encoder(weights) if is_pretrained else build(config).encoder, len(CLASSES), head, count, seed
            )
            found.setdefault(way, {})[head] = _mean_iou(model, seed)
            with open(results, "w", encoding="utf-8") as file:
                json.dump(found, file, indent=2)
            keras.backend.clear_session()
    return found


def _pretraining(seed: int) -> PretrainConfig:
    sizes = {"image_size": (SIDE, SIDE), "mean": (0.3,), "std": (0.2,)}
    return replaced(recipes.load("mae_digits", PretrainConfig), seed=seed, pictures_every=1000, **sizes, **PRETRAINING)


def _mean_iou(model: ImageSegmenter, seed: int) -> float:
    """Trains a segmenter, and returns its mean IoU on the test."""
    steps = EPOCHS * LABELLED // BATCH
    rate = WarmupCosine(RATE, steps // 10, steps)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.05), clip_norm=1.0)
    model.fit(*scenes(LABELLED, 2 * seed + 1, of_test=False), batch_size=BATCH, epochs=EPOCHS, verbose=0)
    logs = model.evaluate(*scenes(TESTED, seed, of_test=True), batch_size=50, verbose=0, return_dict=True)
    return float(logs["mean_iou"])


def main() -> None:
    """Runs all seeds, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="runs/segmentation")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    seeds = []
    for seed in range(arguments.seeds):
        seeds.append(measure(os.path.join(arguments.output, str(seed)), seed))
        results = summary(seeds)
        with open(os.path.join(arguments.output, run.RESULTS), "w", encoding="utf-8") as file:
            json.dump({"summary": results, "seeds": seeds}, file, indent=2)
            file.write("\n")
        minutes = time.process_time() / 60
        print(f"\n{seed + 1} of {arguments.seeds} seeds, {minutes:.0f} minutes of processor time", flush=True)
        print(table(results, "mean IoU on the test, %"), flush=True)


if __name__ == "__main__":
    main()
