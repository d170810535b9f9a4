"""Copies that are planted among crops of photographs: how many of them `keras-mae duplicates` finds.

    python -m benchmarks.planted_duplicates --output=runs/planted --photographs=FOLDER

2,000 crops of photographs, which share no place, and 600 copies of them: 200 resized to half, 200 as JPEG of quality
50, 200 mirrored, each of another crop. An encoder of the demo's kind, 128 wide and 3 deep, 28 x 28 pixels in colour, is
pretrained by MAE on 6,000 crops of another part of the same photographs. Recall is the share of planted pairs that are
in one group, precision the share of planted ones among all pairs that are in one group, at the default threshold, and
for others. The bundled photographs alone have room for some hundred crops: `--crops=200`. What is in the output folder
is taken as it is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os

import numpy as np
from PIL import Image

from benchmarks.photo_crops import crops, crops_apart, halves, photographs, write_planted
from keras_mae import cli
from keras_mae.commands.mirrored import mirrored_vectors
from keras_mae.retrieval import open_vectors
from keras_mae.retrieval.duplicates import THRESHOLD, duplicate_groups, whitened
from keras_mae.trainers import recipes, run
from keras_mae.trainers.pretrain import pretrain
from keras_mae.trainers.settings import changed

THRESHOLDS = (0.95, 0.96, THRESHOLD, 0.98, 0.99)
TRAINED_ON, STORED = 6000, (48, 48)  # crops, and their size in pixels, before they are scaled to the encoder's
SETTINGS = (
    *("channels=3", "mean=(0.4,0.4,0.4)", "std=(0.28,0.28,0.28)", "flip=True", "epochs=20", "warmup_epochs=1"),
    *("batch_size=100", "base_learning_rate=2.56e-3", "pictures_every=1000"),
)
Figures = dict[str, float]


def figures(names: list[str], groups: list[np.ndarray], planted: dict[str, dict[str, str]]) -> Figures:
    """Precision over all pairs in one group, and recall of the planted ones, for all and by kind."""
    group_of = {names[index]: number for number, group in enumerate(groups) for index in group}
    found = {
        kind: [copy in group_of and group_of[copy] == group_of.get(original) for copy, original in pairs.items()]
        for kind, pairs in planted.items()
    }
    right = sum(map(sum, found.values()))
    pairs = sum(len(group) * (len(group) - 1) // 2 for group in groups)
    recall = {f"recall_{kind}": round(float(np.mean(each)), 4) for kind, each in found.items()}
    everything = list(itertools.chain(*found.values()))
    return {"precision": round(right / max(pairs, 1), 4), "recall": round(float(np.mean(everything)), 4), **recall}


def prepare(output: str, folder: str | None, count: int, each: int) -> dict[str, dict[str, str]]:
    """Writes the crops for training and those with copies, unless they are there; returns the planted names."""
    record = os.path.join(output, "planted.json")
    if not os.path.exists(record):
        os.makedirs(output, exist_ok=True)
        left, right = halves(photographs(folder))
        small = [crop.resize(STORED, Image.Resampling.BOX) for crop in crops(left, TRAINED_ON, seed=1)]
        np.savez(os.path.join(output, "train.npz"), images=np.stack([np.asarray(crop) for crop in small]))
        planted = write_planted(os.path.join(output, "crops"), crops_apart(right, count, seed=0), each)
        with open(record, "w", encoding="utf-8") as file:
            json.dump(planted, file)
    with open(record, encoding="utf-8") as file:
        return json.load(file)


def measure(output: str, folder: str | None, count: int, each: int) -> dict[str, dict[str, Figures]]:
    """Figures by threshold, without and with mirrored vectors."""
    planted = prepare(output, folder, count, each)
    trained, vectors_file = os.path.join(output, "run"), os.path.join(output, "vectors.parquet")
    if not os.path.exists(os.path.join(trained, run.ENCODER)):
        config = changed(recipes.load("mae_digits"), SETTINGS)
        pretrain(config, f"npz:{os.path.join(output, 'train.npz')}", trained, overwrite=True)
    words = [f"--run={trained}", f"--data=folder:{os.path.join(output, 'crops')}", f"--output={vectors_file}"]
    if cli.main(["embed", *words]):
        raise RuntimeError("keras-mae embed failed")
    vectors = open_vectors(vectors_file)
    array = vectors.array()
    sides = {"vectors": array, "with --mirrored": (array + mirrored_vectors(vectors)) / 2}
    results: dict[str, dict[str, Figures]] = {}
    for side, each_array in sides.items():
        units = whitened(each_array)
        taken = {kind: pairs for kind, pairs in planted.items() if kind != "mirrored" or side == "with --mirrored"}
        results[side] = {
            str(threshold): figures(vectors.names, duplicate_groups(units, threshold), taken)
            for threshold in THRESHOLDS
        }
    return results


def main() -> None:
    """Prints a line for each threshold, and writes `results.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="runs/planted")
    parser.add_argument("--photographs", help="a folder of photographs, no two of which show the same")
    parser.add_argument("--crops", type=int, default=2000)
    parser.add_argument("--copies", type=int, help="of each kind; a tenth of the crops if not given")
    arguments = parser.parse_args()
    each = arguments.copies or arguments.crops // 10
    results = measure(arguments.output, arguments.photographs, arguments.crops, each)
    with open(os.path.join(arguments.output, run.RESULTS), "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)
        file.write("\n")
    for side, rows in results.items():
        for threshold, row in rows.items():
            print(f"{side}, threshold {threshold}: {json.dumps(row)}")


if __name__ == "__main__":
    main()
