"""What pretraining is worth on the built-in digits, by kNN, linear probe and fine-tuning, over several seeds.

    python -m benchmarks.digits_evaluation --output=runs/digits_evaluation --seeds=3

Each seed pretrains an encoder with the recipe mae_digits, and compares it with one that was not trained. Pretraining
that is finished in the output folder, and every result there, is taken as it is; pretraining that was interrupted is
resumed. Prints, and writes to `results.json`, mean and standard deviation (of the population) over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os

import numpy as np

from keras_mae.trainers import recipes, run
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.finetune import finetune
from keras_mae.trainers.knn import knn
from keras_mae.trainers.knn_config import KnnConfig
from keras_mae.trainers.linear_probe import linear_probe
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.settings import replaced

FEW, FEW_EPOCHS, ALL_EPOCHS = 10, 40, 5
ENCODERS = ("pretrained", "not pretrained")


def measure(output: str, seed: int) -> dict[str, dict[str, float]]:
    """Test accuracies of both encoders of a seed, by the kind of evaluation.

    Args:
        output: a folder for everything that belongs to this seed.
        seed: of pretraining, of the choice of labels, and of the evaluations.
    """
    os.makedirs(output, exist_ok=True)
    config = replaced(recipes.load("mae_digits"), seed=seed)
    pretrained = os.path.join(output, "pretrained")
    if not os.path.exists(os.path.join(pretrained, run.ENCODER)):
        pretrain(config, "digits", pretrained, resume=os.path.exists(os.path.join(pretrained, run.CONFIG)))
    fresh = os.path.join(output, "fresh.keras")
    if not os.path.exists(fresh):
        build(config).encoder.save(fresh)
    return {name: _evaluations(path, output, name, seed) for name, path in zip(ENCODERS, (pretrained, fresh))}


def _evaluations(encoder: str, output: str, name: str, seed: int) -> dict[str, float]:
    tuned = replaced(recipes.load("finetune_digits", FinetuneConfig), run=encoder, seed=seed)
    few = replaced(tuned, labels_per_class=FEW, epochs=FEW_EPOCHS, warmup_epochs=FEW_EPOCHS / 10)
    every = replaced(tuned, epochs=ALL_EPOCHS, warmup_epochs=1.0)
    probe = replaced(recipes.load("probe_digits", ProbeConfig), run=encoder, seed=seed)
    runs = {
        "linear probe": (linear_probe, probe),
        "kNN": (knn, replaced(KnnConfig(), run=encoder, crop_ratio=1.0, k=(1, 5, 10, 20), seed=seed)),
        f"fine-tuned, {FEW} labels a class": (finetune, few),
        "fine-tuned, all labels": (finetune, every),
    }
    accuracies = {}
    for kind, (program, config) in runs.items():
        folder = os.path.join(output, f"{kind}, {name}".replace(",", "").replace(" ", "_"))
        results = _results(folder)
        if results is None:
            results = program(config, "digits", folder, overwrite=True)
        top1 = results["top1"]
        accuracies |= {f"kNN, k = {k}": v for k, v in top1.items()} if isinstance(top1, dict) else {kind: top1}
    return accuracies


def _results(folder: str) -> dict | None:
    path = os.path.join(folder, run.RESULTS)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def summary(seeds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and standard deviation in percent, by encoder and evaluation."""
    return {
        name: {
            kind: {
                "mean": round(100 * float(np.mean([seed[name][kind] for seed in seeds])), 1),
                "std": round(100 * float(np.std([seed[name][kind] for seed in seeds])), 1),
            }
            for kind in seeds[0][name]
        }
        for name in ENCODERS
    }


def main() -> None:
    """Runs all seeds, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="runs/digits_evaluation")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    seeds = [measure(os.path.join(arguments.output, str(seed)), seed) for seed in range(arguments.seeds)]
    table = summary(seeds)
    with open(os.path.join(arguments.output, run.RESULTS), "w", encoding="utf-8") as file:
        json.dump({"summary": table, "seeds": seeds}, file, indent=2)
        file.write("\n")
    width = max(map(len, table[ENCODERS[0]]))
    print(f"{'test accuracy, %':{width}}" + "".join(f"{name:>18}" for name in ENCODERS))
    for kind in table[ENCODERS[0]]:
        cells = (f"{table[name][kind]['mean']:.1f} ± {table[name][kind]['std']:.1f}" for name in ENCODERS)
        print(f"{kind:{width}}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
