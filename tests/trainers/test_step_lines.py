"""A line for every step: what is in it, when it is written, and what is left of it after a resume."""

import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.trainers.step_lines import StepLines
from keras_mae.training import skipped_steps
from tests.training.test_skipped_steps import Count


def taken(norms, lines, steps_per_epoch, model=None, **arguments):
    """A model after steps whose loss and gradient are these numbers; and the history of its logs."""
    if model is None:
        model = Count()
        model.compile(optimizer=keras.optimizers.SGD(0.0), jit_compile=False, **arguments)
    batches = tf.data.Dataset.from_tensor_slices(np.array(norms, "float32")[:, None]).repeat()
    epochs = len(norms) // steps_per_epoch
    history = model.fit(batches, epochs=epochs, steps_per_epoch=steps_per_epoch, verbose=0, callbacks=[lines])
    return model, history.history


def lines_in(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


NAN = float("nan")


@pytest.mark.parametrize("look_every", [1, 16], ids=["processor", "accelerator"])
def test_every_step_has_a_line_and_every_epoch_a_median(look_every, tmp_path, monkeypatch):
    monkeypatch.setattr(skipped_steps, "has_accelerator", lambda: look_every == 16)
    norms = [*np.linspace(1, 1.3, 20), 0.1, NAN, 50.0, *np.linspace(2, 2.16, 17)]
    odd = []
    lines = StepLines(str(tmp_path / "steps.jsonl"), 20, on_odd=odd.append)
    _, history = taken(norms, lines, 20, spike_factor=4.0)
    found = lines_in(tmp_path / "steps.jsonl")
    assert [line["step"] for line in found] == list(range(1, 41))
    assert found[21] == {"step": 22, "loss": None, "gradient_norm": None, "skipped": "not finite"}
    assert found[22] == {"step": 23, "loss": 50.0, "gradient_norm": 50.0, "skipped": "spike"}
    assert all(set(line) == {"step", "loss", "gradient_norm"} for line in found[:21] + found[23:])
    kept = [line["gradient_norm"] for line in found if line["gradient_norm"] is not None]
    np.testing.assert_array_equal(np.float32(kept), np.float32([norm for norm in norms if np.isfinite(norm)]))
    assert [(step.number, step.skipped) for step in odd] == [(22, "not finite"), (23, "spike")]
    finite = [norms[:20], [norm for norm in norms[20:] if np.isfinite(norm)]]
    assert history["gradient_norm"] == pytest.approx([np.median(epoch) for epoch in finite], rel=1e-6)
    assert history["largest_gradient_norm"] == pytest.approx([1.3, 50.0], rel=1e-6)


def test_a_clipped_step_says_so(tmp_path):
    lines = StepLines(str(tmp_path / "steps.jsonl"), 17)
    taken([1.0] * 16 + [9.0], lines, 17, spike_factor=2.0, spike_action="clip")
    assert lines_in(tmp_path / "steps.jsonl")[-1] == {"step": 17, "loss": 9.0, "gradient_norm": 9.0, "clipped": "spike"}


def test_a_resumed_run_continues_the_file_and_the_median(tmp_path):
    """It was killed within an epoch of ten, while it wrote the line of its eighth step; its checkpoint has six."""
    path, whole = tmp_path / "steps.jsonl", tmp_path / "whole.jsonl"
    norms = [3.0, 1.0, 4.0, 1.5, 9.0, 2.0, 6.0, 5.0, 3.5, 8.0]
    model, history = taken(norms, StepLines(str(whole), 10), 10)
    text = whole.read_text().splitlines(keepends=True)
    path.write_text("".join(text[:7]) + text[7][:10])
    lines = StepLines(str(path), 10, done=6)
    assert path.read_text() == "".join(text[:6])
    again = Count()
    again.compile(optimizer=keras.optimizers.SGD(0.0), jit_compile=False)
    again.optimizer.iterations.assign(6)
    _, resumed = taken(norms[6:], lines, 4, again)
    assert path.read_text() == whole.read_text()
    assert resumed["gradient_norm"] == history["gradient_norm"] and resumed["largest_gradient_norm"] == [9.0]


def test_an_epoch_without_a_finite_step_has_no_norm(tmp_path):
    _, history = taken([NAN, NAN], StepLines(str(tmp_path / "steps.jsonl"), 2), 2)
    assert "gradient_norm" not in history and history["skipped_steps"] == [2]


def test_what_a_full_disk_took_is_taken_back_and_other_lines_are_left_out(tmp_path, monkeypatch):
    path = tmp_path / "steps.jsonl"
    whole = [f'{{"step": {step}, "loss": 1.0, "gradient_norm": {step}.0}}\n' for step in (1, 2, 3)]
    path.write_text(whole[0] + '{"step": 2, "lo' + whole[1] + "[" * 5000 + "\n" + whole[2])
    lines = StepLines(str(path), 2, done=3)
    assert path.read_text() == whole[0] + whole[2]
    lines.set_model(None)
    lines._lines = ["half a line"]
    flush = io.BufferedWriter.flush

    def full(file):
        flush(file)
        raise OSError(28, "No space left on device")

    class Full(io.BufferedWriter):
        flush = full

    monkeypatch.setattr("builtins.open", lambda name, mode: Full(io.FileIO(name, "ab")))
    with pytest.raises(OSError, match="No space left"):
        lines._write()
    monkeypatch.undo()
    assert path.read_text() == whole[0] + whole[2]
