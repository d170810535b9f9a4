"""Attentive against linear probes of encoders early in pretraining, over several seeds.

    python -m benchmarks.attentive_probe --output=runs/attentive_probe --seeds=3

Each seed pretrains a masked autoencoder of the recipe mae_digits for some epochs, on the built-in digits and on crops
of photographs (`benchmarks.labelled_crops`: which photograph is it from; other regions are for the test), and
probes it: linearly, from the mean of the patch tokens or the class token; and with attentive pooling by 32 queries,
from the patch tokens before the final norm, as published (linear probes read them after it). All probes have the
settings of the recipe probe_digits, 90 epochs. Accuracies are of the last epoch. Results that are in the output folder
are taken as they are. Prints, and writes to `results.json`, mean and standard deviation (of the sample) over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil

import numpy as np

from benchmarks.continued import summary, table
from benchmarks.labelled_crops import SIDE, crops, photographs
from keras_mae.trainers import recipes, run
from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.linear_probe import linear_probe
from keras_mae.trainers.pretrain import pretrain
from keras_mae.trainers.settings import replaced

EPOCHS = {"digits": (2, 6), "photographs": (6,)}
TRAINED, TESTED = 200, 60  # crops of each photograph
LAST = 3  # the last layer of mae_digits
PROBES = {
    "linear, mean": {"pooling": "mean"},
    "linear, class token": {"pooling": "cls"},
    "attentive": {"pooling": "attentive", "layer": LAST},
}
PRETRAINING: dict[str, object] = {}  # settings in place of the recipe's


def measure(output: str, seed: int) -> dict[str, dict[str, float]]:
    """Test accuracies of a seed, by the data and the epochs of pretraining, and by the probe.

    Args:
        output: a folder for everything that belongs to this seed.
        seed: of the crops, of pretraining, and of the probes.
    """
    os.makedirs(output, exist_ok=True)
    accuracies = {}
    for data, lengths in EPOCHS.items():
        trained, tested, sizes = _data(data, output, seed)
        for epochs in lengths:
            encoder = os.path.join(output, f"{data}_{epochs}")
            if not os.path.exists(os.path.join(encoder, run.ENCODER)):
                pretrain(_pretraining(epochs, seed, sizes), trained, encoder, overwrite=True)
                shutil.rmtree(os.path.join(encoder, run.CHECKPOINTS), ignore_errors=True)
            accuracies[f"{data}, {epochs} epochs"] = {
                probe: _accuracy(encoder, trained, tested, seed, settings, f"{encoder}_{'_'.join(probe.split())}")
                for probe, settings in PROBES.items()
            }
    return accuracies


def _data(data: str, output: str, seed: int) -> tuple[str, str | None, dict[str, object]]:
    """Data specifications to train and to test on, and the settings of the model's images."""
    if data == "digits":
        return "digits", None, {}
    paths = [os.path.join(output, f"{name}.npz") for name in ("trained", "tested")]
    for path, count in zip(paths, (TRAINED, TESTED), strict=True):
        if not os.path.exists(path):
            images, labels = crops(photographs(), count, seed, of_test=path == paths[1], flat=0)
            np.savez(path, images=images, labels=labels)
    trained, tested = (f"npz:{path}" for path in paths)
    return trained, tested, {"image_size": (SIDE, SIDE), "mean": (0.5,), "std": (0.2,)}


def _pretraining(epochs: int, seed: int, sizes: dict[str, object]) -> PretrainConfig:
    recipe = recipes.load("mae_digits", PretrainConfig)
    short = {"epochs": epochs, "warmup_epochs": min(recipe.optimizer.warmup_epochs, epochs / 2)}
    return replaced(recipe, **short, seed=seed, pictures_every=1000, **sizes, **PRETRAINING)


def _accuracy(
    encoder: str, trained: str, tested: str | None, seed: int, settings: dict[str, object], output: str
) -> float:
    results = os.path.join(output, run.RESULTS)
    if not os.path.exists(results):
        recipe = recipes.load("probe_digits", ProbeConfig)
        config = replaced(recipe, run=encoder, validation_data=tested, seed=seed, **settings)
        linear_probe(config, trained, output, overwrite=True)
        shutil.rmtree(os.path.join(output, run.CHECKPOINTS), ignore_errors=True)
    with open(results, encoding="utf-8") as file:
        return float(json.load(file)["top1"])


def with_gain(accuracies: dict[str, float]) -> dict[str, float]:
    """A seed's accuracies, and what attention is worth over the better linear probe."""
    linear = max(value for probe, value in accuracies.items() if probe.startswith("linear"))
    return {**accuracies, "gain": accuracies["attentive"] - linear}


def main() -> None:
    """Runs all seeds, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="runs/attentive_probe")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    seeds = []
    for seed in range(arguments.seeds):
        seeds.append(measure(os.path.join(arguments.output, str(seed)), seed))
        results = summary([{name: with_gain(found) for name, found in one.items()} for one in seeds])
        with open(os.path.join(arguments.output, run.RESULTS), "w", encoding="utf-8") as file:
            json.dump({"summary": results, "seeds": seeds}, file, indent=2)
            file.write("\n")
        print(f"\n{seed + 1} of {arguments.seeds} seeds\n{table(results, 'test accuracy, %')}", flush=True)


if __name__ == "__main__":
    main()
