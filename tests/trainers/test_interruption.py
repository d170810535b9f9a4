"""Pretraining that is interrupted, by a signal, a full disk or numbers that are not finite, and that is resumed."""

import os
import resource
import signal

import numpy as np
import pytest
import tensorflow as tf

import keras_mae
from keras_mae import cli
from keras_mae.trainers import callbacks, run
from keras_mae.trainers.checkpoints import Checkpoints
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.programs import compile_model
from keras_mae.trainers.settings import changed
from tests.base import weights_of
from tests.trainers.pretraining import (
    CONFIG,
    STEPS,
    WITH_PICTURES,
    Interrupted,
    after_step,
    assert_finished_alike,
    interrupt,
    log_of,
)


@pytest.mark.medium
@pytest.mark.parametrize(
    "where",
    ["in the second epoch", pytest.param("between its log line and its checkpoint", marks=pytest.mark.slow)],
)
def test_interrupted_and_resumed_gives_the_same_weights_and_log(where, finished, arrays, folder, tmp_path, monkeypatch):
    """One of both reads the pictures from files, of which the finished run has read an array."""
    output, data = str(tmp_path / "run"), arrays if where == "in the second epoch" else f"folder:{folder}"
    with monkeypatch.context() as patch:
        if where == "in the second epoch":
            after_step(patch, STEPS + 1, interrupt)
        else:
            save = Checkpoints.on_epoch_end
            patch.setattr(
                Checkpoints, "on_epoch_end", lambda self, epoch, logs: interrupt() if epoch else save(self, epoch, logs)
            )
        with pytest.raises(Interrupted):
            pretrain(CONFIG, data, output)
    interrupted = run.RunFolder(output)
    assert len(log_of(interrupted)) == (1 if where == "in the second epoch" else 2)
    with pytest.raises(ValueError, match="run holds no model.keras: the run has not finished"):
        interrupted.model_path(run.MODEL)
    assert_finished_alike(output, pretrain(CONFIG, data, output, resume=True), finished)
    assert sorted(os.listdir(interrupted / "reconstructions")) == ["epoch_0003.png"]


@pytest.mark.medium
@pytest.mark.parametrize(
    "step", [STEPS + 1, pytest.param(2 * STEPS, marks=pytest.mark.slow)], ids=["within an epoch", "at its end"]
)
def test_sigterm_saves_and_leaves(step, finished, arrays, tmp_path, monkeypatch):
    output = str(tmp_path / "run")
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        after_step(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(run.Preempted, match=rf"asked to end \(SIGTERM\): saved step {step} in .*; continue with"):
            pretrain(CONFIG, arrays, output)
    assert signal.getsignal(signal.SIGTERM) == before
    assert os.path.exists(os.path.join(output, "checkpoints", f"ckpt-{step}.index"))
    assert_finished_alike(output, pretrain(CONFIG, arrays, output, resume=True), finished)


def test_the_command_ends_as_after_sigterm(monkeypatch, capsys, tmp_path):
    def pretrain(*arguments, **keywords):
        raise run.Preempted("asked to end (SIGTERM): saved step 3")

    monkeypatch.setattr("keras_mae.trainers.pretrain.pretrain", pretrain)
    arguments = ["--data=digits", f"--output={tmp_path / 'run'}", "--recipe=mae_small_images"]
    assert cli.main(["pretrain", *arguments]) == 143  # 128 + SIGTERM
    assert capsys.readouterr().err == "keras-mae pretrain: asked to end (SIGTERM): saved step 3\n"


@pytest.mark.slow
def test_the_mean_loss_of_an_epoch_that_was_resumed_is_exact(arrays, tmp_path, monkeypatch, finished):
    """One epoch of two steps in the log, of which a run took the first and its continuation the second."""
    output, config = str(tmp_path / "run"), changed(CONFIG, ["checkpoint_steps=1"])
    with monkeypatch.context() as patch:
        after_step(patch, 2, interrupt)
        with pytest.raises(Interrupted):
            pretrain(config, arrays, output)
    assert os.listdir(os.path.join(output, "checkpoints")) and not os.path.exists(os.path.join(output, run.LOG))
    with monkeypatch.context() as patch:
        after_step(patch, 3, interrupt)
        with pytest.raises(Interrupted):
            pretrain(config, arrays, output, resume=True)
    (resumed,), whole = log_of(run.RunFolder(output)), log_of(finished[0])[0]
    # losses have six decimals
    assert resumed["step"] == STEPS and resumed["loss"] == pytest.approx(whole["loss"], abs=2e-6)


@pytest.mark.medium
def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(arrays, tmp_path, monkeypatch):
    """Files may not grow beyond 8 KB from step 3 on: a real error of the operating system."""
    output = str(tmp_path / "run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with monkeypatch.context() as patch:
            after_step(patch, STEPS + 1, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1])))
            message = (
                r"the checkpoint of step 4 could not be written \(.+\); the last good checkpoint is .*ckpt-2: make"
            )
            with pytest.raises(OSError, match=message):
                pretrain(CONFIG, arrays, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(os.listdir(os.path.join(output, "checkpoints"))) == [
        "checkpoint",
        "ckpt-2.data-00000-of-00001",
        "ckpt-2.index",
    ]
    mae = build(CONFIG)
    compile_model(mae, CONFIG, STEPS)
    assert Checkpoints(os.path.join(output, "checkpoints"), mae, STEPS).restore() == STEPS


@pytest.mark.medium
def test_another_file_that_cannot_be_written_names_the_checkpoint_too(arrays, tmp_path, monkeypatch):
    def full(self, epoch, logs=None):
        if epoch:
            raise OSError(28, "No space left on device", self.path)
        original(self, epoch, logs)

    original = callbacks.JsonLines.on_epoch_end
    monkeypatch.setattr(callbacks.JsonLines, "on_epoch_end", full)
    with pytest.raises(OSError, match=r"No space left on device: .*; the last good checkpoint is .*ckpt-2, continue"):
        pretrain(CONFIG, arrays, str(tmp_path / "run"))


@pytest.mark.medium
def test_steps_that_are_not_finite_end_the_run_and_name_the_checkpoint(arrays, tmp_path, monkeypatch):
    original = keras_mae.MaskedAutoencoder.batch_loss

    def batch_loss(self, *arguments, **keywords):
        loss = original(self, *arguments, **keywords)
        return tf.where(self.batches_seen > 2, float("nan"), loss)

    monkeypatch.setattr(keras_mae.MaskedAutoencoder, "batch_loss", batch_loss)
    config = changed(CONFIG, ["epochs=6", "max_skipped_steps=2"])
    with pytest.raises(
        ValueError, match=r"the last 3 steps, up to step 6, were skipped: .* checkpoint is .*ckpt-4\. Look"
    ):
        pretrain(config, arrays, str(tmp_path / "run"))
    log = log_of(run.RunFolder(str(tmp_path / "run")))
    assert [record["skipped_steps"] for record in log] == [0, 1]
    assert all(np.isfinite(record["loss"]) for record in log)


@pytest.mark.medium
def test_resuming_a_finished_run_changes_nothing(finished, arrays):
    output, mae = finished
    before = log_of(output)
    again = pretrain(WITH_PICTURES, arrays, output.path, resume=True)
    assert all((a == b).all() for a, b in zip(weights_of(again), weights_of(mae), strict=True))
    assert log_of(output) == before
