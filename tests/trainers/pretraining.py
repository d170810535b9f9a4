"""A small pretraining run, and how tests interrupt runs and compare them."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.trainers import callbacks, recipes, run
from keras_mae.trainers.settings import changed, short_names, values_of
from tests.base import weights_of
from tests.drawn import TINY

# pictures after the last epoch alone
PLAIN = ["jit_compile=False", "dtype_policy=float32", "pictures_every=100"]
CONFIG = changed(recipes.load("mae_small_images"), [*TINY, *PLAIN])
WITH_PICTURES = changed(CONFIG, ["pictures_every=2"])  # and after the last epoch
STEPS = 2  # an epoch, of 8 out of 20 pictures


def log_of(output):
    with open(output / run.LOG) as file:
        return [json.loads(line) for line in file]


def of(config, names):
    """The values of settings and the kinds of parts, by the names that `--set` takes."""
    values = {short: value for short, value in zip(short_names(config), values_of(config).values(), strict=True)}
    return tuple(values[name] for name in names.split())


class Interrupted(BaseException):
    """Stands for whatever ends a process; not an Exception, so that nothing handles it."""


def after_step(patch, step, act):
    """Lets `act` be called after `step` of a run, before anything that comes after a step."""
    original = callbacks.StopOnTooManyCorrupt.on_train_batch_end

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.batches_seen) == step:
            act()
        original(self, batch, logs)

    patch.setattr(callbacks.StopOnTooManyCorrupt, "on_train_batch_end", on_train_batch_end)


def interrupt():
    raise Interrupted


def rewound(finished, output, step):
    """Copies the folder of a finished run to `output`, as it was after the checkpoint of `step`, which is still there.

    What is resumed there is a run that was interrupted, in a third of the time. Its log and `best.keras` stay as they
    are, ahead of the checkpoint, as they may be after a kill.
    """
    shutil.copytree(finished, output)
    checkpoints = os.path.join(output, "checkpoints")
    tf.compat.v1.train.update_checkpoint_state(checkpoints, f"ckpt-{step}")
    later = [name for name in os.listdir(checkpoints) if name.startswith("ckpt-") and _step_of(name) > step]
    later = [os.path.join(checkpoints, name) for name in later]
    for path in (*later, *(os.path.join(output, name) for name in (run.MODEL, run.ENCODER, run.RESULTS))):
        if os.path.exists(path):
            os.remove(path)
    return output


def _step_of(name):
    return int(name.removeprefix("ckpt-").partition(".")[0])


def assert_finished_alike(output, resumed, finished):
    """Weights and log of a run that was interrupted are those of one that was not."""
    assert int(resumed.optimizer.iterations) == 3 * STEPS
    for after, expected in zip(weights_of(resumed), weights_of(finished[1]), strict=True):
        # bitwise equal on most machines; round-off of sums that threads split in another way is below 1e-6
        np.testing.assert_allclose(after, expected, rtol=0, atol=1e-6)
    keys = ("epoch", "step", "learning_rate", "skipped_steps")
    logs = [log_of(folder) for folder in (run.RunFolder(output), finished[0])]
    assert [[record[key] for key in keys] for record in logs[0]] == [
        [record[key] for key in keys] for record in logs[1]
    ]
    losses = [[record["loss"] for record in log] for log in logs]
    assert losses[0] == pytest.approx(losses[1], abs=2e-6)  # six decimals
