"""The progress of a run, by a clock that is ours: a bar, plain lines, and what is slow."""

import io
import json
import types

import keras
import pytest

from keras_mae import progress as module
from keras_mae.trainers import callbacks, idle_time
from keras_mae.training.step_record import Step


class Terminal(io.StringIO):
    def isatty(self):
        return True


def in_time(monkeypatch, seconds):
    """Lets the clock of lines and callbacks be `seconds[0]`."""
    monkeypatch.setattr(module.time, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: seconds[0])


def test_progress_shows_loss_rate_and_remaining_time(monkeypatch):
    """Two epochs of a model that does nothing, at a clock that is ours: 8 images in 0.5 s."""
    seconds, text = [0.0], Terminal()

    class Bar(module.tqdm):
        """Writes to `text` at every step, by our clock."""

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "file": text, "mininterval": 0, "ncols": 120, "dynamic_ncols": False})
            self._time = lambda: seconds[0]
            self.start_t = self.last_print_t = seconds[0]

    monkeypatch.setattr(module, "tqdm", Bar)
    monkeypatch.setattr(module.sys, "stderr", text)
    in_time(monkeypatch, seconds)
    progress = callbacks.Progress(batch_size=8, steps_per_epoch=5, epochs=2)
    for epoch in range(2):
        progress.on_epoch_begin(epoch)
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


def finished_epoch(monkeypatch, waited, advice="buy a faster disk", validated=0):
    """The logs of an epoch of five steps of 20 seconds, whose input was waited for, from the second step on."""
    seconds, waiting = [0.0], types.SimpleNamespace(seconds=0.0)
    in_time(monkeypatch, seconds)
    monkeypatch.setattr(callbacks, "used_memory", lambda: 1_234_000_000)
    model = types.SimpleNamespace(step_record=types.SimpleNamespace(running_median=lambda: 1.5))
    steps = types.SimpleNamespace(last=Step(5, 0.5, 1.7, None, None, None))
    progress = callbacks.Progress(8, 5, 2, steps=steps, waiting=waiting, advice=advice)
    progress.set_model(model)
    logs = {"loss": 0.5}
    for epoch in range(2):
        progress.on_epoch_begin(epoch)
        for batch in range(5):
            waiting.seconds += 100 if (epoch, batch) == (0, 0) else waited * 20
            seconds[0] += 120 if (epoch, batch) == (0, 0) else 20
            progress.on_train_batch_end(batch, logs)
        seconds[0] += validated
        logs = {"loss": 0.5}
        progress.on_epoch_end(epoch, logs)
    progress.close()
    return logs


def test_a_pipe_gets_plain_lines(monkeypatch, capsys):
    finished_epoch(monkeypatch, 0.0)
    facts = ", gradient norm 1.7 (median 1.5), 1.2 GB"
    assert capsys.readouterr().err.splitlines() == [
        f"epoch 1/2, loss 0.5000: 30%, 0.4 images/s, 02:20 left{facts}",
        f"epoch 1/2, loss 0.5000: 50%, 0.4 images/s, 01:40 left{facts}",
        f"epoch 2/2, loss 0.5000: 70%, 0.4 images/s, 01:00 left{facts}",
        f"epoch 2/2, loss 0.5000: 90%, 0.4 images/s, 00:20 left{facts}",
        f"epoch 2/2, loss 0.5000: 100%, 0.4 images/s{facts}",
    ]


def test_epochs_of_one_step_are_named_from_the_first(capsys):
    progress = callbacks.Progress(batch_size=8, steps_per_epoch=1, epochs=4)
    for epoch, loss in ((0, 0.5), (1, 0.25)):
        progress.on_epoch_begin(epoch)
        progress.on_train_batch_end(0, {"loss": loss})
        progress.on_epoch_end(epoch, {})
    progress.close()
    first, last = capsys.readouterr().err.splitlines()
    assert first == "epoch 1/4, loss 0.5000: 25%" and last.startswith("epoch 2/4, loss 0.2500: 50%, ")


@pytest.mark.parametrize(
    ("waited", "said"),
    [
        (0.0, "the steps waited for their images 0.0 % of the time: reading images is not what is slow"),
        (0.25, "the steps waited for their images 25 % of the time: buy a faster disk"),
    ],
)
def test_what_is_slow_is_said_once(waited, said, monkeypatch, caplog):
    """The first step, which compiles and opens the data, counts for nothing."""
    caplog.set_level("INFO", logger="keras_mae")
    logs = finished_epoch(monkeypatch, waited)
    assert logs["waiting_for_data"] == pytest.approx(waited)
    assert [record.message for record in caplog.records] == [said]


@pytest.mark.parametrize(("step", "images", "idle"), [(1.0, 0.25, 0.0), (1.0, 1.5, 0.35), (0.25, 1.0, 0.75)])
def test_how_long_an_accelerator_has_nothing_to_do(step, images, idle, monkeypatch):
    """16 steps of `step` seconds, images of which come every `images` seconds; a host that runs ahead of both."""
    now, waiting = [0.0], types.SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(idle_time.time, "perf_counter", lambda: now[0])
    counted, ready, idles = idle_time.IdleTime(waiting), 0.0, 0.0
    for _ in range(16):
        waiting.seconds += images
        now[0] += images
        idles += max(now[0] - ready, 0.0)
        ready = max(now[0], ready) + step
    waited = ready - now[0]  # for the last step
    now[0] = ready
    counted.end(16, waited)
    # the images of the first step are waited for in any case
    assert counted.seconds == pytest.approx(idles if idle else 0.0)
    assert idles / ready == pytest.approx(idle, abs=0.05)


def test_the_time_of_validation_is_no_time_of_steps(monkeypatch, tmp_path):
    assert finished_epoch(monkeypatch, 0.25, validated=1000)["waiting_for_data"] == pytest.approx(0.25)
    clock = [0.0]
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: clock[0])
    lines, logs = callbacks.JsonLines(str(tmp_path / "log.jsonl"), 8), {"loss": 1.0}
    model = types.SimpleNamespace(batches_seen=0, skipped_steps=keras.Variable(0), optimizer=keras.optimizers.SGD())
    lines.set_model(model)
    lines.on_epoch_begin(0)
    for batch in range(5):
        clock[0] += 2
        model.batches_seen += 1
        lines.on_train_batch_end(batch)
    clock[0] += 90  # of validation
    lines.on_epoch_end(0, logs)
    record = json.loads((tmp_path / "log.jsonl").read_text())
    assert (record["images_per_second"], record["seconds"]) == (4.0, 100.0)


def test_small_norms_keep_their_digits(tmp_path):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(optimizer="sgd")
    model.batches_seen, model.skipped_steps = 0, keras.Variable(0)
    lines = callbacks.JsonLines(str(tmp_path / "log.jsonl"), 8)
    lines.set_model(model)
    lines.on_epoch_begin(0)
    logs = {"loss": 0.123456789, "gradient_norm": 1.23456e-7}
    lines.on_epoch_end(0, logs)
    text = (tmp_path / "log.jsonl").read_text()
    assert '"loss": 0.123457, "gradient_norm": 1.235e-07' in text and '"memory": ' in text
    assert logs["images_per_second"] == 0.0  # for TensorBoard
