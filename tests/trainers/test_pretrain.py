"""Pretraining on a folder of pictures: the run folder, interruption and resumption, bad input."""

import io
import json
import os
import resource
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.python.summary.summary_iterator import summary_iterator

import keras_mae
from keras_mae import cli
from keras_mae.trainers import callbacks, recipes, run
from keras_mae.trainers.checkpoints import Checkpoints
from keras_mae.trainers.config import changed
from keras_mae.trainers.pretrain import build, pretrain
from tests.base import weights_of
from tests.drawn import TINY, write_pictures

CONFIG = changed(recipes.load("mae_small_images"), [*TINY, "jit_compile=False"])
STEPS = 2  # an epoch, of 8 out of 20 pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), 20)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """An uninterrupted run: its folder, and the model that `pretrain` returned."""
    output = str(tmp_path_factory.mktemp("runs") / "whole")
    return run.RunFolder(output), pretrain(CONFIG, f"folder:{folder}", output)


def log_of(output):
    with open(output / run.LOG) as file:
        return [json.loads(line) for line in file]


@pytest.mark.medium
def test_the_run_folder_holds_what_it_should(finished, folder):
    output, _ = finished
    names = {
        "config.json",
        "log.jsonl",
        "tensorboard",
        "checkpoints",
        "model.keras",
        "encoder.keras",
        "reconstructions",
    }
    assert set(os.listdir(output.path)) == names
    assert output.config() == (CONFIG, f"folder:{folder}")
    assert sorted(os.listdir(output / "reconstructions")) == ["epoch_0002.png", "epoch_0003.png"]
    with Image.open(output / "reconstructions/epoch_0003.png") as picture:
        assert picture.size == (4 * (3 * 112 + 28) - 4, 4 * (112 + 8) + 30)  # 16 pictures in four rows
    checkpoints = [name for name in os.listdir(output / "checkpoints") if name.endswith(".index")]
    assert sorted(checkpoints) == ["ckpt-4.index", "ckpt-6.index"]


@pytest.mark.medium
def test_the_log_has_one_line_an_epoch(finished):
    log = log_of(finished[0])
    assert [record["epoch"] for record in log] == [1, 2, 3]
    assert [record["step"] for record in log] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert all(
        set(record) == {"epoch", "step", "loss", "skipped_steps", "learning_rate", "seconds", "images_per_second"}
        for record in log
    )
    assert all(0 < record["loss"] < 10 and record["images_per_second"] > 0 for record in log)
    # warm-up ends after the first epoch, and the cosine at 0
    assert log[0]["learning_rate"] == pytest.approx(CONFIG.peak_learning_rate, rel=1e-6)
    assert log[-1]["learning_rate"] == pytest.approx(0, abs=1e-9)


@pytest.mark.medium
def test_tensorboard_has_the_same_numbers(finished):
    output, _ = finished
    (name,) = os.listdir(output / "tensorboard")
    found = {}
    for event in summary_iterator(os.path.join(output / "tensorboard", name)):
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = float(
                np.frombuffer(value.tensor.tensor_content, "float32")[0]
            )
    for tag in ("loss", "learning_rate"):
        expected = {record["step"]: record[tag] for record in log_of(output)}
        assert found[tag] == pytest.approx(expected, abs=1e-6)  # the log's losses have six decimals


@pytest.mark.medium
def test_the_models_load_and_are_those_that_were_trained(finished):
    output, mae = finished
    loaded = keras.saving.load_model(output.model_path(run.MODEL))
    assert isinstance(loaded, keras_mae.MaskedAutoencoder)
    for part in ("encoder", "decoder", "mask_sampler", "target"):
        assert getattr(loaded, part).get_config() == getattr(mae, part).get_config()
    encoder = keras.saving.load_model(output.model_path(run.ENCODER))
    assert isinstance(encoder, keras_mae.ViTEncoder)
    for one, other in ((loaded, mae), (encoder, mae.encoder)):
        assert all((a == b).all() for a, b in zip(weights_of(one), weights_of(other), strict=True))
    fresh = build(CONFIG)
    assert any((a != b).any() for a, b in zip(weights_of(fresh), weights_of(mae), strict=True))


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


@pytest.mark.medium
@pytest.mark.parametrize(
    "where",
    ["in the second epoch", pytest.param("between its log line and its checkpoint", marks=pytest.mark.slow)],
)
def test_interrupted_and_resumed_gives_the_same_weights_and_log(where, finished, folder, tmp_path, monkeypatch):
    output, data = str(tmp_path / "run"), f"folder:{folder}"
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
    assert sorted(os.listdir(interrupted / "reconstructions")) == ["epoch_0002.png", "epoch_0003.png"]


@pytest.mark.medium
@pytest.mark.parametrize(
    "step", [STEPS + 1, pytest.param(2 * STEPS, marks=pytest.mark.slow)], ids=["within an epoch", "at its end"]
)
def test_sigterm_saves_and_leaves(step, finished, folder, tmp_path, monkeypatch):
    output, data = str(tmp_path / "run"), f"folder:{folder}"
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        after_step(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(run.Preempted, match=rf"asked to end \(SIGTERM\): saved step {step} in .*; continue with"):
            pretrain(CONFIG, data, output)
    assert signal.getsignal(signal.SIGTERM) == before
    assert os.path.exists(os.path.join(output, "checkpoints", f"ckpt-{step}.index"))
    assert_finished_alike(output, pretrain(CONFIG, data, output, resume=True), finished)


def test_the_command_ends_as_after_sigterm(monkeypatch, capsys, tmp_path):
    def pretrain(*arguments, **keywords):
        raise run.Preempted("asked to end (SIGTERM): saved step 3")

    monkeypatch.setattr("keras_mae.trainers.pretrain.pretrain", pretrain)
    arguments = ["--data=digits", f"--output={tmp_path / 'run'}", "--recipe=mae_small_images"]
    assert cli.main(["pretrain", *arguments]) == 143  # 128 + SIGTERM
    assert capsys.readouterr().err == "keras-mae pretrain: asked to end (SIGTERM): saved step 3\n"


@pytest.mark.medium
def test_the_mean_loss_of_an_epoch_that_was_resumed_is_exact(folder, tmp_path, monkeypatch, finished):
    """One epoch of two steps in the log, of which a run took the first and its continuation the second."""
    output, config = str(tmp_path / "run"), changed(CONFIG, ["checkpoint_steps=1"])
    with monkeypatch.context() as patch:
        after_step(patch, 2, interrupt)
        with pytest.raises(Interrupted):
            pretrain(config, f"folder:{folder}", output)
    assert os.listdir(os.path.join(output, "checkpoints")) and not os.path.exists(os.path.join(output, run.LOG))
    with monkeypatch.context() as patch:
        after_step(patch, 3, interrupt)
        with pytest.raises(Interrupted):
            pretrain(config, f"folder:{folder}", output, resume=True)
    (resumed,), whole = log_of(run.RunFolder(output)), log_of(finished[0])[0]
    assert resumed["step"] == STEPS and resumed["loss"] == pytest.approx(whole["loss"], abs=2e-6)


@pytest.mark.medium
def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(finished, folder, tmp_path, monkeypatch):
    """Files may not grow beyond 8 KB from step 3 on: a real error of the operating system."""
    output, data, config = str(tmp_path / "run"), f"folder:{folder}", changed(CONFIG, ["pictures_every=100"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with monkeypatch.context() as patch:
            after_step(patch, STEPS + 1, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1])))
            message = (
                r"the checkpoint of step 4 could not be written \(.+\); the last good checkpoint is .*ckpt-2: make"
            )
            with pytest.raises(OSError, match=message):
                pretrain(config, data, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(os.listdir(os.path.join(output, "checkpoints"))) == [
        "checkpoint",
        "ckpt-2.data-00000-of-00001",
        "ckpt-2.index",
    ]
    assert_finished_alike(output, pretrain(CONFIG, data, output, resume=True), finished)


@pytest.mark.medium
def test_another_file_that_cannot_be_written_names_the_checkpoint_too(folder, tmp_path, monkeypatch):
    def full(self, epoch, logs=None):
        if epoch:
            raise OSError(28, "No space left on device", self.path)
        original(self, epoch, logs)

    original = callbacks.JsonLines.on_epoch_end
    monkeypatch.setattr(callbacks.JsonLines, "on_epoch_end", full)
    with pytest.raises(OSError, match=r"No space left on device: .*; the last good checkpoint is .*ckpt-2, continue"):
        pretrain(CONFIG, f"folder:{folder}", str(tmp_path / "run"))


@pytest.mark.medium
def test_steps_that_are_not_finite_end_the_run_and_name_the_checkpoint(folder, tmp_path, monkeypatch):
    original = keras_mae.MaskedAutoencoder.batch_loss

    def batch_loss(self, *arguments, **keywords):
        loss = original(self, *arguments, **keywords)
        return tf.where(self.batches_seen > 2, float("nan"), loss)

    monkeypatch.setattr(keras_mae.MaskedAutoencoder, "batch_loss", batch_loss)
    config = changed(CONFIG, ["epochs=6", "max_skipped_steps=2"])
    with pytest.raises(
        ValueError, match=r"the last 3 steps, up to step 6, were skipped: .* checkpoint is .*ckpt-4\. Look"
    ):
        pretrain(config, f"folder:{folder}", str(tmp_path / "run"))
    log = log_of(run.RunFolder(str(tmp_path / "run")))
    assert [record["skipped_steps"] for record in log] == [0, 1]
    assert all(np.isfinite(record["loss"]) for record in log)


@pytest.mark.medium
def test_resuming_a_finished_run_changes_nothing(finished, folder):
    output, mae = finished
    before = log_of(output)
    again = pretrain(CONFIG, f"folder:{folder}", output.path, resume=True)
    assert all((a == b).all() for a, b in zip(weights_of(again), weights_of(mae), strict=True))
    assert log_of(output) == before


@pytest.mark.medium
def test_corrupt_images_are_named_and_counted(tmp_path, caplog):
    folder = write_pictures(tmp_path / "pictures", 120, size=(8, 8), corrupt=(57,))
    config = changed(CONFIG, ["epochs=2", "batch_size=40", "pictures_every=100"])
    caplog.set_level("INFO", logger="keras_mae")
    pretrain(config, f"folder:{folder}", str(tmp_path / "run"))
    messages = [record.message for record in caplog.records if record.name == "keras_mae"]
    assert messages.count(f"skipped, cannot be decoded: {folder}/057.png") == 1
    assert messages[-1] == "1 of 120 images were skipped because they cannot be decoded"
    assert any(message.startswith("120 images, 3 steps an epoch, 2 epochs; ") for message in messages)


@pytest.mark.medium
def test_too_many_corrupt_images_end_the_run_even_if_only_training_finds_them(tmp_path):
    looked_at = set(np.linspace(0, 119, 16).astype(int)) | set(range(16))
    bad = [number for number in range(50, 70) if number not in looked_at]
    folder = write_pictures(tmp_path / "pictures", 120, size=(8, 8), corrupt=bad)
    config = changed(CONFIG, ["epochs=2", "batch_size=20"])
    with pytest.raises(
        ValueError, match=r"of 120 images cannot be decoded, more than the tolerated 1 %: .*/05\d.png, "
    ):
        pretrain(config, f"folder:{folder}", str(tmp_path / "run"))
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["batch_size=64"],
            r"a batch of 64 needs as many images, the data has 20; set a smaller .* --set batch_size=4",
        ),
        (["warmup_epochs=3"], "warm-up must be shorter than the run: got 6 warm-up steps of 6"),
        (["image_size=(15,16)"], "15"),
        (["hidden_dim=15"], "15"),
        (["mask_ratio=1.0"], r"a mask ratio lies in \[0, 1\)"),
        (["mask_ratio=0.99"], "leaves none of the 16 patches visible"),
        (["preset=vit_bas"], "no preset is called 'vit_bas'; did you mean vit_base_patch16"),
        (["channels=2", "mean=None"], r"none of the 20 images can be decoded, such as .*000.png \(.+\)"),
        (["crop_ratio=0"], r"a crop ratio lies in \(0, 1\], got 0"),
        (["accumulation_steps=3"], "divisible by 1 replicas x accumulation_steps=3: got batch_size=8; .* is 3 x 3"),
        (["accumulation_steps=0"], "accumulation_steps counts the parts of a batch, from 1 on; got 0"),
        (["clip_norm=0"], "clip_norm is a positive bound"),
        (["checkpoint_steps=0"], "checkpoint_steps counts from 1 on, or is None; got 0"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(settings, message, folder, tmp_path):
    with pytest.raises(ValueError, match=message):
        pretrain(changed(CONFIG, settings), f"folder:{folder}", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_progress_shows_loss_rate_and_remaining_time(monkeypatch):
    """Two epochs of a model that does nothing, at a clock that is ours: 8 images in 0.5 s."""
    seconds, text = [0.0], io.StringIO()

    class Bar(callbacks.tqdm):
        """Writes to `text` at every step, by our clock."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "file": text, "mininterval": 0, "ncols": 120, "dynamic_ncols": False})
            self._time = lambda: seconds[0]
            self.start_t = self.last_print_t = seconds[0]

    monkeypatch.setattr(callbacks, "tqdm", Bar)
    progress = callbacks.Progress(batch_size=8, steps_per_epoch=5, epochs=2)
    for epoch in range(2):
        for batch in range(5):
            seconds[0] += 60 if (epoch, batch) == (0, 0) else 0.5  # the first step compiles for a minute
            progress.on_train_batch_end(batch, {"loss": 1 - 0.1 * batch})
    progress.close()
    lines = text.getvalue().split("\r")
    # after four of ten steps, six of half a second are left; the minute counts for nothing
    line = next(line for line in lines if "epoch 1/2, loss 0.7000" in line)
    assert " 40%  16.0 images/s, 00:03 left" in line
    last = lines[-1] if "epoch 2/2" in lines[-1] else lines[-2]
    assert "epoch 2/2, loss 0.6000" in last and "100%  16.0 images/s, 00:00 left" in last
