"""The MAE paper's ablations at small scale: one change of a recipe at a time, over several seeds.

    python -m benchmarks.ablations --data=digits --seeds=3 --output=runs/ablations

Each row pretrains an encoder, and measures it by a linear probe: logistic regression on the mean of the patch tokens.
The rows of Figure 9 fine-tune the baseline's last blocks. Results lie in `<output>/<row>/<seed>/`: what is there is
taken as it is, and a run that was interrupted is continued. After every result, `table.md` and `table.png` are
written anew, with the paper's numbers beside.

With other data name another recipe, such as --data=folder:PATH --recipe=mae_small_images.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from benchmarks.ablation_report import write_report
from benchmarks.ablation_rows import BASELINE, ROWS, Row
from keras_mae.data import open_source
from keras_mae.optimizers import adamw
from keras_mae.trainers import evaluation, recipes, run
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.config import PretrainConfig, to_json
from keras_mae.trainers.features import features_of
from keras_mae.trainers.finetune import finetune
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.settings import changed, replaced

_RESULT, _STEP_TIMES = "accuracy.json", "step_times.json"
_ROUNDS = 30
_DIGITS = ("epochs=6", "warmup_epochs=0.5")  # a seventh of the recipe's: enough to tell good features from bad ones


def measure(row: Row, seed: int, base: PretrainConfig, tuning: FinetuneConfig, data: str, output: str) -> dict:
    """The result of a row for a seed, taken from its folder if it is there.

    Args:
        row: what is changed.
        seed: of everything random.
        base: the recipe.
        tuning: the recipe of the rows that fine-tune.
        data: a data specification with labels.
        output: the folder of all rows.

    Raises:
        ValueError: if the folder holds a result of other settings.
    """
    folder = run.RunFolder(_folder(output, row.name, seed))
    config: PretrainConfig | FinetuneConfig = row.config(base, seed)
    if row.num_trainable_layers is not None:
        config = replaced(
            tuning, run=_folder(output, BASELINE, seed), num_trainable_layers=row.num_trainable_layers, seed=seed
        )
    settings = {"data": data, "config": json.loads(json.dumps(to_json(config)))}
    if os.path.exists(folder / _RESULT):
        with open(folder / _RESULT, encoding="utf-8") as file:
            result = json.load(file)
        if result["settings"] != settings:
            raise ValueError(f"{folder.path} holds a result of other settings; name another --output")
        return result
    begin = time.perf_counter()
    started = os.path.exists(folder / run.CONFIG)
    if isinstance(config, FinetuneConfig):
        accuracy = finetune(config, data, folder.path, resume=started)["top1"]
    else:
        trained = pretrain(config, data, folder.path, resume=started)
        accuracy = linear_probe(trained.encoder, data, config.data.crop_ratio)
    result = {"accuracy": accuracy, "seconds": round(time.perf_counter() - begin, 1), "settings": settings}
    folder.write_json(_RESULT, result)
    shutil.rmtree(folder / run.CHECKPOINTS, ignore_errors=True)
    keras.backend.clear_session()
    return result


def linear_probe(encoder, data: str, crop_ratio: float) -> float:
    """Test accuracy of logistic regression on the mean of the patch tokens, standardised."""
    (train_x, train_y), (test_x, test_y) = (
        features_of(encoder, open_source(data, split=split), "mean", crop_ratio) for split in ("train", "validation")
    )
    train_x, test_x = evaluation.standardized(train_x, test_x)
    return evaluation.linear_accuracy(train_x, train_y, test_x, test_y)


def step_times(base: PretrainConfig) -> dict[str, float]:
    """Median milliseconds of a training step without and with mask tokens in the encoder, in turns."""
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(0, 256, (base.optimizer.batch_size, *base.encoder.image_shape), dtype="uint8"))
    steps = {}
    for name, inside in (("outside", False), ("inside", True)):
        mae = build(replaced(base, mask_tokens_in_encoder=inside))
        mae.compile(optimizer=adamw(mae, base.optimizer.peak_learning_rate), jit_compile=bool(base.run.jit_compile))
        mae.optimizer.build(mae.trainable_variables)
        steps[name] = tf.function(mae.train_step, jit_compile=bool(base.run.jit_compile))
        for _ in range(3):
            steps[name](images)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(_ROUNDS):
        for name, step in steps.items():
            begin = time.perf_counter()
            float(step(images)["loss"])
            seconds[name].append(time.perf_counter() - begin)
    return {name: round(1e3 * statistics.median(times), 2) for name, times in seconds.items()}


def _folder(output: str, name: str, seed: int) -> str:
    slug = "".join(letter if letter.isalnum() else "_" for letter in name)
    return os.path.join(output, slug, str(seed))


def main(arguments: list[str] | None = None) -> None:
    """Measures what is missing, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="a data specification with labels")
    parser.add_argument("--output", default="runs/ablations")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="mae_digits", help="the baseline")
    parser.add_argument("--finetune_recipe", default="finetune_digits", help="of the rows that fine-tune")
    parser.add_argument("--set", action="append", default=[], help="key=value in place of the recipe's; repeatable")
    parser.add_argument("--rows", default="", help="only the rows with this in their names")
    given = parser.parse_args(arguments)

    short = _DIGITS if given.recipe == "mae_digits" else ()
    base = changed(recipes.load(given.recipe, PretrainConfig), [*short, *given.set])
    tuning = replaced(recipes.load(given.finetune_recipe, FinetuneConfig), epochs=5, warmup_epochs=0.5)
    root = run.RunFolder(given.output)
    os.makedirs(given.output, exist_ok=True)
    if not os.path.exists(root / _STEP_TIMES):
        root.write_json(_STEP_TIMES, step_times(base))
    with open(root / _STEP_TIMES, encoding="utf-8") as file:
        times = json.load(file)
    accuracies: dict[str, list[float]] = {}
    for row in ROWS:
        if row.name != BASELINE and given.rows not in row.name:
            continue
        for seed in range(given.seeds):
            result = measure(row, seed, base, tuning, given.data, given.output)
            accuracies.setdefault(row.name, []).append(result["accuracy"])
            print(f"{row.name}, seed {seed}: {100 * result['accuracy']:.1f} %", flush=True)
            print(write_report(accuracies, times, given.output) if seed == given.seeds - 1 else "", end="", flush=True)


if __name__ == "__main__":
    main()
