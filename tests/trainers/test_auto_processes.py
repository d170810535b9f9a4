"""Two workers choose the same settings, and decide on the same number of epochs; so do two devices."""

import json
import os

import numpy as np
import pytest

from keras_mae.trainers import budget, run
from keras_mae.trainers.auto_recipe import AutoRecipe
from keras_mae.trainers.pretrain import pretrain
from keras_mae.trainers.strategy import make_strategy, of_chief
from tests.base import random_images, run_forked, weights_of

GIVEN = {
    "encoder.hidden_dim": 16, "encoder.num_layers": 1, "encoder.num_heads": 2, "decoder.hidden_dim": 8,
    "decoder.num_layers": 1, "decoder.num_heads": 2, "jit_compile": False, "batch_size": 8, "hours": 100.0,
    "pictures_every": 100,
}  # fmt: skip


def chosen_run(output, data, strategy):
    """Pretrains with what is chosen; at most two epochs. Returns weights, chosen settings and what was measured."""
    measured, fitting, said = [], budget._fitting, of_chief(make_strategy(strategy), f"of process {os.getpid()}")

    def few(speed, *arguments):
        measured.append(speed)
        return min(fitting(speed, *arguments), 2)

    budget._fitting, budget._LONGEST = few, 0.2
    mae = pretrain(AutoRecipe(GIVEN), data, output, strategy=strategy)
    with open(os.path.join(output, run.CONFIG)) as file:
        optimizer = json.load(file)["config"]["optimizer"]
    weights = np.concatenate([weight.ravel() for weight in weights_of(mae)]).tolist()
    return [said, weights, int(mae.batches_seen), optimizer, measured]


def children(which, folder):
    from tests.forked import Child, two_workers

    data = f"npz:{folder}/images.npz"
    np.savez(os.path.join(folder, "images.npz"), images=random_images(20, (8, 8, 3)))
    if which == "devices":
        return [Child(chosen_run, f"{folder}/mirrored", data, "mirrored", devices=2).result()]
    workers = [
        Child(chosen_run, f"{folder}/workers", data, "multiworker", environment=environment)
        for environment in two_workers()
    ]
    return [worker.result() for worker in workers]


@pytest.mark.medium
@pytest.mark.parametrize("which", [pytest.param("devices", marks=pytest.mark.slow), "workers"])
def test_all_agree(which, tmp_path):
    process = run_forked("-m", "tests.forked", "tests.trainers.test_auto_processes", which, str(tmp_path))
    assert process.returncode == 0, process.stderr[-6000:]
    one, *others = json.loads(process.stdout.split("RESULT", 1)[1])
    assert all(other == one for other in others)  # the chief's text and speed among them
    said, _, steps, optimizer, _ = one
    assert said.startswith("of process ")
    assert 1 <= optimizer["epochs"] <= 2 and steps == 2 * optimizer["epochs"]
    assert optimizer["batch_size"] == 8 and optimizer["warmup_epochs"] == pytest.approx(optimizer["epochs"] / 20)
