"""The papers' ablations on crops of photographs: one change of the baseline at a time, over several seeds.

    apt-get download plasma-workspace-wallpapers gnome-backgrounds mate-backgrounds
    for package in *.deb; do dpkg -x "$package" photographs; done
    python -m benchmarks.photographs --data=photographs --output=runs/photographs

The task is to tell from which photograph a crop comes: `labelled_crops` says which photographs these are, and which
parts of them are for the test. Each row pretrains an encoder, and measures its features by k nearest neighbours, by
logistic regression, and by attentive pooling. `--short` takes fewer rows, two seeds and a shorter pretraining.
On a machine of few cores it is fastest to give each a process of its own, which takes its share of the rows:

    for core in 0 1; do taskset -c $core python -m benchmarks.photographs --part=$core/2 ... & done

Results lie in `<output>/<row>/<seed>.json`: what is there is taken as it is. After each row `table.md` and `table.png`
are written anew, with the papers' numbers beside. The baseline of seed 0 leaves `model.keras` and
`reconstructions.png`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import time
from pathlib import Path

import keras
import numpy as np

from benchmarks import labelled_crops
from benchmarks.photograph_report import write_report
from benchmarks.photograph_rows import BASELINE, PIXELS, ROWS, UNTRAINED, Row
from benchmarks.photograph_run import Crops, Pretraining, Probes, recipe
from keras_mae.trainers.config import PretrainConfig, to_json
from keras_mae.trainers.pretrain import build, draw_reconstructions
from keras_mae.trainers.settings import changed, replaced
from keras_mae.whole_file import replace_file

_SHORT_EPOCHS, _SHORT_SEEDS, _SEEDS = 1, 2, 3


class Results:
    """What was measured, in a folder.

    Args:
        folder: of all rows.
        data: what the images are, for the check that results are of the same.
    """

    def __init__(self, folder: str, data: dict[str, object]) -> None:
        self.folder, self.data = folder, data
        os.makedirs(folder, exist_ok=True)

    def path(self, row: Row, seed: int) -> str:
        """The file of a result."""
        slug = "".join(letter if letter.isalnum() else "_" for letter in row.name)
        return os.path.join(self.folder, slug, f"{seed}.json")

    def find(self, row: Row, seed: int, config: PretrainConfig) -> dict | None:
        """The result that is there, or None.

        Raises:
            ValueError: if it is of other settings or images.
        """
        path = self.path(row, seed)
        if not os.path.exists(path):
            return None
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        if result["settings"] != self._settings(config):
            raise ValueError(f"{path} holds a result of other settings; name another --output")
        return result

    def of(self, row: Row, seeds: list[int], config: PretrainConfig) -> list[dict]:
        """The results of a row, of the seeds up to the first one that is missing; errors as for `find`."""
        found = (self.find(row, seed, config) for seed in seeds)
        return [result for result in itertools.takewhile(lambda result: result is not None, found) if result]

    def save(self, row: Row, seed: int, config: PretrainConfig, result: dict) -> None:
        """Writes a result."""
        result = {**result, "settings": self._settings(config)}
        os.makedirs(os.path.dirname(self.path(row, seed)), exist_ok=True)
        replace_file(self.path(row, seed), lambda path: Path(path).write_text(f"{json.dumps(result, indent=2)}\n"))

    def _settings(self, config: PretrainConfig) -> dict:
        return {"data": self.data, "config": json.loads(json.dumps(to_json(config)))}


def measure(row: Row, seeds: list[int], base: PretrainConfig, crops: dict[int, Crops], results: Results) -> None:
    """Measures a row for the seeds of which there is no result yet.

    A result has the `accuracy` of each probe, the `loss` of each epoch, and `seconds` and `processor_seconds`.
    """
    config = row.config(base)
    missing = [seed for seed in seeds if results.find(row, seed, config) is None]
    if not missing:
        return
    clock, processor = time.perf_counter(), time.process_time()
    pretraining = None if row.name == PIXELS else Pretraining(config)
    probes = Probes(None if pretraining is None else pretraining.model.encoder)
    for seed in missing:
        losses: list[float] = []
        if pretraining is not None and row.name == UNTRAINED:
            pretraining.model.set_weights(build(replaced(config, seed=seed)).get_weights())
        elif pretraining is not None:
            losses = pretraining(crops[seed], seed)
        accuracy = probes(crops[seed], seed)
        if row.name == BASELINE and seed == 0 and pretraining is not None:
            _keep(pretraining, crops[seed], results.folder)
        now, used = time.perf_counter(), time.process_time()
        times = {"seconds": round(now - clock, 1), "processor_seconds": round(used - processor, 1)}
        results.save(row, seed, config, {"accuracy": accuracy, "loss": losses, **times})
        clock, processor = now, used
    keras.backend.clear_session()


def _keep(pretraining: Pretraining, crops: Crops, folder: str) -> None:
    """The trained model, and a picture of reconstructions of crops for the test."""
    model = pretraining.model
    seed, model.seed = model.seed, 0
    model.save(os.path.join(folder, "model.keras"))
    draw_reconstructions(model, crops.test[0][:12], os.path.join(folder, "reconstructions.png"))
    model.seed = seed


def main(arguments: list[str] | None = None) -> None:
    """Measures what is missing, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder of photographs, at any depth; without it those that are bundled")
    parser.add_argument("--output", default="runs/photographs")
    parser.add_argument("--seeds", type=int, help=f"{_SEEDS}, of the short form {_SHORT_SEEDS}")
    parser.add_argument("--side", type=int, default=labelled_crops.SIDE, help="pixels of a crop: 32 to 96, of eights")
    parser.add_argument("--set", action="append", default=[], help="key=value in place of the recipe's; repeatable")
    parser.add_argument("--rows", default="", help="only the rows with this in their names, and the baseline")
    parser.add_argument("--short", action="store_true", help="fewer rows, two seeds, half the steps")
    parser.add_argument("--part", default="0/1", help="0/2 and 1/2: two processes at once share the rows")
    given = parser.parse_args(arguments)
    share = re.fullmatch(r"(\d+)/(\d+)", given.part)
    part, parts = map(int, share.groups()) if share else (1, 0)
    if part >= parts:
        parser.error(f"--part is 0/2 or 1/2 for two processes, and so on; got {given.part}")
    if given.side % 8 or not 32 <= given.side <= 96:
        parser.error(f"--side is a multiple of 8 from 32 to 96, got {given.side}")

    short = [f"epochs={_SHORT_EPOCHS}"] if given.short else []
    base = changed(recipe(given.side), [*short, *given.set])
    seeds = list(range(given.seeds or (_SHORT_SEEDS if given.short else _SEEDS)))
    pictures = labelled_crops.photographs(given.data, given.side)
    checksum = round(float(sum(np.mean(picture, dtype="float64") for picture in pictures)), 3)
    results = Results(given.output, {"photographs": len(pictures), "side": given.side, "sum of means": checksum})
    crops = {seed: Crops.of(pictures, seed, given.side) for seed in seeds}
    rows = [row for row in ROWS if row.name == BASELINE or (given.rows in row.name and (row.short or not given.short))]
    for row in rows[part::parts]:
        measure(row, seeds, base, crops, results)
        measured = {one.name: results.of(one, seeds, one.config(base)) for one in rows}
        measured = {name: found for name, found in measured.items() if len(found) >= min(2, len(seeds))}
        if BASELINE in measured:
            print(write_report(measured, given.output), flush=True)


if __name__ == "__main__":
    main()
