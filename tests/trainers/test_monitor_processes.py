"""Measuring features changes no bit of the weights: on one device and on two, and with several workers."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.trainers import recipes, run
from keras_mae.trainers.pretrain import pretrain
from keras_mae.trainers.settings import changed
from tests.base import random_images, run_forked, weights_of
from tests.drawn import TINY

SETTINGS = [*TINY, "jit_compile=False", "image_size=(8,8)", "pictures_every=100", "epochs=2"]


def whole_run(output, data, strategy, every):
    """Pretrains; returns weights, log, files, and for a run that is measured the best epoch."""
    tf.config.experimental.enable_op_determinism()
    settings = [*SETTINGS, f"evaluate_every={every}"]
    mae = pretrain(changed(recipes.load("mae_small_images"), settings), data, output, strategy=strategy)
    with open(os.path.join(output, run.LOG)) as file:
        log = [json.loads(line) for line in file]
    files = sorted(os.listdir(output))
    return [np.concatenate([weight.ravel() for weight in weights_of(mae)]).tolist(), log, files]


def children(which, folder):
    from tests.forked import Child, two_workers

    data = f"npz:{folder}/images.npz"
    images = random_images(20, (8, 8, 3)) // (1 + np.arange(20, dtype="uint8") % 2)[:, None, None, None]
    np.savez(os.path.join(folder, "images.npz"), images=images, labels=np.arange(20) % 2)
    if which == "workers":
        workers = [
            Child(whole_run, f"{folder}/workers", data, "auto", 1, environment=environment)
            for environment in two_workers()
        ]
        alone = Child(whole_run, f"{folder}/alone", data, "single", 1)
        return [worker.result() for worker in workers] + [alone.result()]
    devices = {"single": 1, "mirrored": 2}[which]
    runs = [Child(whole_run, f"{folder}/{every}", data, which, every, devices=devices) for every in (0, 1)]
    return [run.result() for run in runs]


def in_own_process(which, folder):
    process = run_forked("-m", "tests.forked", "tests.trainers.test_monitor_processes", which, str(folder))
    assert process.returncode == 0, process.stderr[-6000:]
    return json.loads(process.stdout.split("RESULT", 1)[1])


@pytest.mark.medium
@pytest.mark.parametrize("strategy", [pytest.param("single", marks=pytest.mark.slow), "mirrored"])
def test_the_same_bits_with_and_without(strategy, tmp_path):
    (without, log, files), (measured, other, more) = in_own_process(strategy, tmp_path)
    assert measured == without  # bitwise
    assert [one["loss"] for one in other] == [one["loss"] for one in log]
    assert all("knn" in one for one in other) and not any("knn" in one for one in log)
    assert set(more) - set(files) == {"best.keras", "results.json"} and set(files) < set(more)


@pytest.mark.slow
def test_of_several_workers_the_chief_measures(tmp_path):
    one, other, alone = in_own_process("workers", tmp_path)
    assert one[0] == other[0] and one[2] == other[2] == alone[2]
    np.testing.assert_allclose(one[0], alone[0], rtol=0, atol=2e-4)  # round-off, which AdamW normalises
    assert [line["knn"] for line in one[1]] == [line["knn"] for line in alone[1]]
