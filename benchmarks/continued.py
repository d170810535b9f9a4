"""What it is worth to go on from an encoder that was pretrained on other images, over several seeds.

    python -m benchmarks.continued --output=runs/continued --seeds=3 --epochs=100

Each seed pretrains on 4,000 digits, white on black, by the recipe mae_digits; and then on 300 letters, black on white
(`benchmarks.letters`), from these weights by the recipe mae_continue, or from fresh ones. Features are the means of the
patch tokens. Neighbours (k = 5) are the 300 letters with their labels; logistic regression has 10 labels a class, drawn
five times; 1,000 other letters are the test. Results that are in the output folder are taken as they are. Prints, and
writes to `results_<epochs>.json`, mean and standard deviation (of the sample) over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Mapping

import keras
import numpy as np

from benchmarks.letters import letters
from keras_mae.trainers import evaluation, recipes, run
from keras_mae.trainers.encoder_choice import load_encoder
from keras_mae.trainers.first_weights import continued
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.settings import changed, replaced
from keras_mae.trainers.training_parts import Weights

PER_CLASS, TESTED_PER_CLASS, FEW, DRAWS, NEIGHBOURS = 30, 100, 10, 5, 5
DIGITS: tuple[str, ...] = ()  # settings in place of the recipe's
# On letters; of the digits' model, whose peak rate is 1e-3, on images that are neither cropped nor mirrored
EPOCHS, WARMUP = 300, "warmup_epochs=5"
SMALL = (
    *("batch_size=25", "base_learning_rate=0.01024", "normalize_target=False"),
    *("crop_scale=None", "flip=False", "crop_ratio=1.0", "jit_compile=True"),
)
DECODER = ("decoder.hidden_dim=64", "decoder.num_layers=1", "decoder.num_heads=2")
# each way to train on the letters: the file of the digits' run to begin with, and settings
WAYS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "from scratch": (None, ()),
    "continued, fresh decoder, all at once": (run.ENCODER, (*DECODER, "frozen_epochs=0")),
    "continued, fresh decoder first": (run.ENCODER, DECODER),
    "continued, the file's decoder": (run.MODEL, ()),
    "continued, the file's decoder, one rate": (run.MODEL, ("layer_decay=None",)),
}
UNTOUCHED = "pretrained on digits, untouched"
Accuracies = dict[str, float]


def measure(output: str, seed: int, epochs: int = EPOCHS) -> dict[str, Accuracies]:
    """Test accuracies of a seed, by the way the encoder was trained.

    Args:
        output: a folder for everything that belongs to this seed.
        seed: of the letters, of pretraining, and of the choice of labels.
        epochs: on the letters.
    """
    length = (f"epochs={epochs}", WARMUP, f"pictures_every={epochs}")
    os.makedirs(output, exist_ok=True)
    images, labels = letters(PER_CLASS, 2 * seed)
    train, test = (255 - images, labels), letters(TESTED_PER_CLASS, 2 * seed + 1)
    test = (255 - test[0], test[1])
    data = os.path.join(output, "letters.npz")
    np.savez(data, images=train[0], labels=train[1])
    digits = os.path.join(output, "digits")
    base = replaced(recipes.load("mae_digits"), seed=seed)
    _run(digits, lambda folder: pretrain(changed(base, DIGITS), "digits", folder, overwrite=True))
    accuracies = {
        "not trained": _accuracies(build(base).encoder, train, test),
        UNTOUCHED: _accuracies(load_encoder(digits), train, test),
    }
    for way, (file, settings) in WAYS.items():
        if file is None:
            config = changed(base, [*length, *_statistics(train[0]), *settings])
        else:
            config = continued(
                Weights(init=os.path.join(digits, file)), [*length, *SMALL, *settings, f"seed={seed}"], "mae_continue"
            )
        folder = os.path.join(output, "".join(letter if letter.isalnum() else "_" for letter in f"{way} {epochs}"))
        _run(folder, lambda folder, config=config: pretrain(config, f"npz:{data}", folder, overwrite=True))
        accuracies[way] = _accuracies(load_encoder(folder), train, test)
        keras.backend.clear_session()
    return accuracies


def _run(folder: str, program) -> None:
    if not os.path.exists(os.path.join(folder, run.ENCODER)):
        program(folder)
        shutil.rmtree(os.path.join(folder, run.CHECKPOINTS), ignore_errors=True)


def _statistics(images: np.ndarray) -> tuple[str, str]:
    """Mean and standard deviation of the pixels, as settings; runs that begin with weights measure them alike."""
    return f"mean=({images.mean() / 255:.6f},)", f"std=({images.std() / 255:.6f},)"


def _accuracies(encoder, train, test) -> Accuracies:
    (train_x, train_y), (test_x, test_y) = ((_features(encoder, images), labels) for images, labels in (train, test))
    knn = evaluation.knn_accuracy(train_x, train_y, test_x, test_y, NEIGHBOURS)
    train_x, test_x = evaluation.standardized(train_x, test_x)
    draws = [evaluation.few_labels(train_y, FEW, seed) for seed in range(DRAWS)]
    few = [evaluation.linear_accuracy(train_x[i], train_y[i], test_x, test_y) for i in draws]
    return {"kNN": knn, f"{FEW} labels a class": float(np.mean(few))}


def _features(encoder, images: np.ndarray) -> np.ndarray:
    return encoder.predict(images, batch_size=100, verbose=0)["patch_tokens"].mean(axis=1)


def summary(seeds: list[dict[str, Accuracies]]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and standard deviation in percent, by way and evaluation."""

    def of(values: list[float]) -> tuple[float, float]:
        return round(100 * float(np.mean(values)), 1), round(
            100 * float(np.std(values, ddof=1 if values[1:] else 0)), 1
        )

    return {way: {kind: of([seed[way][kind] for seed in seeds]) for kind in seeds[0][way]} for way in seeds[0]}


def table(results: Mapping[str, Mapping[str, tuple[float, float]]], what: str = "test accuracy on letters, %") -> str:
    """The results as Markdown; `what` they are stands above the rows' names."""
    kinds = next(iter(results.values()))
    lines = [f"| {what} | {' | '.join(kinds)} |", f"|---|{'---|' * len(kinds)}"]
    for way, accuracies in results.items():
        lines.append(f"| {way} | {' | '.join(f'{mean:.1f} ± {std:.1f}' for mean, std in accuracies.values())} |")
    return "\n".join(lines)


def main() -> None:
    """Runs all seeds, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="runs/continued")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="on the letters")
    arguments = parser.parse_args()
    seeds = []
    for seed in range(arguments.seeds):
        seeds.append(measure(os.path.join(arguments.output, str(seed)), seed, arguments.epochs))
        results = summary(seeds)
        with open(os.path.join(arguments.output, f"results_{arguments.epochs}.json"), "w", encoding="utf-8") as file:
            json.dump({"summary": results, "seeds": seeds}, file, indent=2)
            file.write("\n")
        print(f"\n{seed + 1} of {arguments.seeds} seeds\n{table(results)}", flush=True)


if __name__ == "__main__":
    main()
