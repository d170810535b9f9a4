"""Executions of several steps: the same run whatever their number; and how often a run waits for the device."""

import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import open_source
from keras_mae.trainers import budget, callbacks, checkpoints, finetune, loop, run
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.programs import compile_model
from keras_mae.trainers.replay import replay
from keras_mae.trainers.settings import changed, replaced
from keras_mae.trainers.step_callbacks import fit_steps
from keras_mae.training import skipped_steps
from tests.base import small_mae, weights_of
from tests.trainers.labelled import CLASSES, quick
from tests.trainers.pretraining import CONFIG, after_step, log_of

FIVE = changed(CONFIG, ["batch_size=4"])  # steps in an epoch of 20 pictures
KEYS = ("epoch", "step", "learning_rate", "skipped_steps")


def in_executions(count, *more):
    return changed(FIVE, [f"steps_per_execution={count}", *more])


@pytest.fixture(scope="module")
def one_by_one(arrays, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("executions") / "one")
    return run.RunFolder(output), pretrain(FIVE, arrays, output)


def steps_of(folder):
    with open(folder / run.STEPS) as file:
        return [json.loads(line) for line in file]


def assert_same_run(output, model, expected):
    """Weights, log and lines of all steps; 1e-6: round-off of sums that threads split in another way."""
    folder, (other, of_other) = run.RunFolder(output), expected
    assert int(model.optimizer.iterations) == int(of_other.optimizer.iterations) == 15
    for ours, theirs in zip(weights_of(model), weights_of(of_other), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    logs = [log_of(one) for one in (folder, other)]
    assert [[record[key] for key in KEYS] for record in logs[0]] == [
        [record[key] for key in KEYS] for record in logs[1]
    ]
    np.testing.assert_allclose(*([record["loss"] for record in log] for log in logs), atol=2e-6)  # six decimals
    lines = [steps_of(one) for one in (folder, other)]
    assert [line["step"] for line in lines[0]] == list(range(1, 16))
    for key in ("loss", "gradient_norm"):
        np.testing.assert_allclose(*([line[key] for line in each] for each in lines), rtol=1e-5)


@pytest.fixture(scope="module")
def in_twos_and_threes(arrays, tmp_path_factory):
    """A run that gets a SIGTERM after four steps of five, and is resumed with executions of another number.

    Yields its folder, its model, the checkpoints at the SIGTERM, and what was said then. Two and three do not divide
    the five steps of an epoch.
    """
    output = str(tmp_path_factory.mktemp("executions") / "two")
    with pytest.MonkeyPatch.context() as patch:
        after_step(patch, 9, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(run.Preempted) as preempted:
            pretrain(in_executions(2, "checkpoint_steps=6"), arrays, output)
    names = os.listdir(os.path.join(output, "checkpoints"))
    checkpoints = sorted(name for name in names if name.endswith(".index"))
    model = pretrain(in_executions(3), arrays, output, resume=True)
    return output, model, checkpoints, str(preempted.value)


@pytest.mark.medium
def test_executions_of_several_steps_are_the_run_of_single_ones_when_resumed_too(in_twos_and_threes, one_by_one):
    output, model, *_ = in_twos_and_threes
    assert_same_run(output, model, one_by_one)
    assert model.steps_left is None  # in a `fit` that follows, Keras counts


@pytest.mark.medium
def test_checkpoints_come_after_executions_and_so_does_that_of_a_sigterm(in_twos_and_threes):
    *_, checkpoints, said = in_twos_and_threes
    # of every sixth step the execution that has it: 6 -> 7; after the end of the epoch, 5, two executions of two
    assert checkpoints == ["ckpt-7.index", "ckpt-9.index"]
    assert "saved step 9 in" in said


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 5, 64])
def test_another_number_of_steps_up_to_an_epochs_and_more(count, one_by_one, arrays, tmp_path, capsys):
    output = str(tmp_path / "run")
    assert_same_run(output, pretrain(in_executions(count), arrays, output), one_by_one)
    assert "epoch 3/3" in capsys.readouterr().err


@pytest.mark.medium
def test_a_step_of_a_run_in_executions_is_replayed_alone(in_twos_and_threes, tmp_path):
    found = replay(in_twos_and_threes[0], 8, str(tmp_path / "batch.png"))
    assert found.step.number == 8 and found.agreement.endswith(("as in steps.jsonl", "equal up to round-off"))


@pytest.mark.medium
def test_the_speed_of_executions_is_that_of_their_steps(arrays, monkeypatch):
    """A clock that goes on by a second at every step, and by a minute in the first execution."""
    mae = build(FIVE)
    compile_model(mae, in_executions(3), 5)
    clock = budget._Clock(0.0)
    clock.set_model(mae)
    now = [clock._begin]
    monkeypatch.setattr(budget.time, "perf_counter", lambda: now[0])
    for execution, last in enumerate((2, 5, 8, 11)):
        now[0] += 60 if execution == 0 else 3
        clock.on_train_batch_end(last, {"loss": tf.constant(1.0)})
    assert clock.starting == pytest.approx(60) and clock.mean == pytest.approx(1) and clock.steps == 6
    assert mae.stop_training


@pytest.mark.medium
@pytest.mark.parametrize("accelerator", [pytest.param(False, marks=pytest.mark.slow), True])
def test_on_an_accelerator_no_step_is_waited_for(accelerator, arrays, tmp_path, monkeypatch):
    """20 steps an epoch: between which of them tensors are read."""
    reads, tensor = [0], type(tf.constant(0.0))
    # not __bool__: Keras asks after each step whether the data had one, which the host knows
    for name in ("numpy", "__float__", "__int__", "__array__"):

        def counted(self, *arguments, original=getattr(tensor, name), **keywords):
            reads[0] += 1
            return original(self, *arguments, **keywords)

        monkeypatch.setattr(tensor, name, counted)
    for module in (skipped_steps, loop):
        monkeypatch.setattr(module, "has_accelerator", lambda: accelerator)
    after_each = []
    monkeypatch.setattr(
        callbacks.StopOnTooManyCorrupt, "on_train_batch_end", lambda self, batch, logs: after_each.append(reads[0])
    )
    pretrain(changed(CONFIG, ["batch_size=1", "epochs=2"]), arrays, str(tmp_path / "run"))
    assert len(after_each) == 40
    waited = [step for step in range(1, 40) if after_each[step] > after_each[step - 1]]
    # before and after the end of every 16th step, and of an epoch's last
    assert waited == ([15, 16, 19, 20, 35, 36, 39] if accelerator else list(range(1, 40)))


@pytest.mark.medium
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # as a run ignores it
def test_validation_after_executions_of_several_steps(given):
    """Three steps an epoch, in executions of two; the images to test on are fewer than one of these."""
    config = quick(FinetuneConfig, given, epochs=2, base_learning_rate=0.1, rand_augment=None, random_erasing=0.0)
    config = replaced(config, mixup=0.0, cutmix=0.0)
    heads = []
    for count in (1, 2):
        head = finetune.build(config, CLASSES)
        compile_model(head, replaced(config, steps_per_execution=count), 3)
        data = finetune.prepared(head, config, *(open_source(given[name]) for name in ("data", "validation_data")))
        fit_steps(head, data.training.at(0), [], 3, 2, validation_data=data.validation)
        assert int(head.batches_seen) == 6
        heads.append(head)
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(*(head.history.history[name] for head in heads), atol=2e-6, err_msg=name)
    # the last steps, with their losses and gradient norms: round-off of another graph in float32
    np.testing.assert_allclose(*(head.step_record.variable for head in heads), rtol=1e-5)


def test_several_workers_ask_each_other_at_every_look_alone(tmp_path, monkeypatch):
    """A worker is asked to end after step 20; with an accelerator all save at step 32, and were asked at 16."""
    mae, asked = small_mae(), []
    mae.compile(optimizer=keras.optimizers.SGD(0.1))
    saver = checkpoints.Checkpoints(str(tmp_path), mae, 100, every_minutes=1e6, leaving=lambda: saver.step >= 20)

    def any_worker(strategy, flags):
        asked.append(saver.step)
        return list(flags)

    monkeypatch.setattr(checkpoints, "is_multiworker", lambda strategy: True)
    monkeypatch.setattr(checkpoints, "any_worker", any_worker)
    monkeypatch.setattr(checkpoints, "look_every", lambda: 16)
    with pytest.raises(run.Preempted, match="saved step 32"):
        for last in range(1, 100, 2):  # executions of two steps
            saver.step = last + 1
            saver.on_train_batch_end(last)
    assert asked == [16, 32]
