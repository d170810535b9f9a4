"""`hours`: the run that was decided on is the run whose epochs were typed, to the bit, and it ends in time."""

import json
import logging
import re
import time

import numpy as np
import pytest

from keras_mae.trainers import budget, run
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.pretrain import pretrain
from keras_mae.trainers.settings import replaced
from tests.base import weights_of
from tests.trainers.pretraining import CONFIG, STEPS, after_step, interrupt, log_of, of

LONGER = replaced(CONFIG, epochs=6, warmup_epochs=2.0, hours=1.0)  # of 3 epochs it has a warm-up of 1, as CONFIG


@pytest.fixture
def three_epochs(monkeypatch):
    """As if three epochs fitted; yields what was measured."""
    measured = []

    def fitting(speed, hours, used, steps_per_epoch, evaluations):
        measured.append((speed, hours, used, steps_per_epoch))
        return 3

    monkeypatch.setattr(budget, "_fitting", fitting)
    monkeypatch.setattr(budget, "_LONGEST", 0.2)
    return measured


@pytest.mark.slow
def test_it_is_the_run_of_so_many_epochs_and_resumes(three_epochs, arrays, finished, tmp_path, monkeypatch):
    output = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(BaseException) as interruption:
        after_step(patch, 3, interrupt)
        pretrain(replaced(LONGER, checkpoint_steps=1), arrays, str(output))
    assert type(interruption.value).__name__ == "Interrupted"
    assert len(three_epochs) == 1
    resumed = pretrain(replaced(LONGER, checkpoint_steps=1), arrays, str(output), resume=True)  # measures nothing
    assert len(three_epochs) == 1
    assert int(resumed.optimizer.iterations) == 3 * STEPS and int(resumed.skipped_steps) == 0
    assert [record["epoch"] for record in log_of(output)] == [1, 2, 3]


@pytest.mark.medium
def test_nothing_that_was_measured_is_left(three_epochs, arrays, finished, tmp_path):
    """And what was decided on is kept: a resumed run measures nothing."""
    output = tmp_path / "run"
    decided = pretrain(LONGER, arrays, str(output))
    ((speed, hours, used, steps),) = three_epochs
    assert (hours, steps) == (1.0, STEPS) and speed.steps >= 5
    assert 0 < speed.step < speed.starting < used and speed.saving > 0
    config = run.RunFolder(str(output)).config()[0]
    assert of(config, "epochs warmup_epochs hours") == (3, 1.0, 1.0)
    for one, other in zip(weights_of(decided), weights_of(finished[1]), strict=True):
        assert (one == other).all()
    logs = [log_of(folder) for folder in (output, finished[0])]
    for key in ("epoch", "step", "loss", "learning_rate", "skipped_steps"):
        assert [record[key] for record in logs[0]] == [record[key] for record in logs[1]]
    assert int(decided.training_calls) == 0 and not decided.stop_training
    resumed = pretrain(LONGER, arrays, str(output), resume=True)
    assert len(three_epochs) == 1 and int(resumed.optimizer.iterations) == 3 * STEPS
    with pytest.raises(ValueError, match="run.hours: 1.0 there, 2.0 now"):
        pretrain(replaced(LONGER, hours=2.0), arrays, str(output), resume=True)


@pytest.mark.slow
def test_it_ends_in_time(arrays, tmp_path):
    """Within a wide tolerance, as other programs may compute beside it."""
    begin = time.perf_counter()
    config = replaced(CONFIG, epochs=1000, warmup_epochs=50.0, hours=0.02, pictures_every=1000)
    pretrain(config, arrays, str(tmp_path))
    assert 36 < time.perf_counter() - begin < 144  # of 72 seconds
    decided = run.RunFolder(str(tmp_path)).config()[0]
    assert of(decided, "warmup_epochs")[0] == pytest.approx(of(decided, "epochs")[0] / 20)


def test_too_short_a_time_says_what_is_possible():
    speed = budget.Speed(step=0.5, saving=1.0, starting=20.0, steps=9)
    with pytest.raises(ValueError) as caught:
        budget._fitting(speed, 0.01, used=30.0, steps_per_epoch=100)
    assert str(caught.value).startswith(
        "hours=0.01 is too short: an epoch of 100 steps takes about 53 seconds here, and to start takes 50; type --set "
        "hours=0.03,"
    )
    typed = float(re.search(r"--set hours=([\d.]+)", str(caught.value))[1])
    assert budget._fitting(speed, typed, used=30.0, steps_per_epoch=100) == 1
    # 7200 - 50 seconds, 51 x 1.03 an epoch
    assert budget._fitting(speed, 2.0, used=30.0, steps_per_epoch=100) == 136
    # evaluations that are asked for take a quarter of an epoch's steps here
    assert budget._fitting(speed, 2.0, used=30.0, steps_per_epoch=100, evaluations=0.25) == 109
    assert budget._fitting(speed, 90_000.0, used=30.0, steps_per_epoch=100) == 1_000_000  # not 6 million


def test_all_that_counts_epochs_is_scaled():
    config = replaced(PretrainConfig(), epochs=100, warmup_epochs=10.0, milestones=(50, 70.0), frozen_epochs=5.0)
    scaled = budget.with_epochs(config, 20)
    assert of(scaled, "epochs warmup_epochs milestones frozen_epochs") == (20, 2.0, (10.0, 14.0), 1.0)
    assert budget.with_epochs(config, 100) is config
    assert of(budget.with_epochs(PretrainConfig(), 80), "warmup_epochs milestones frozen_epochs") == (4.0, None, None)


def test_a_line_when_the_run_begins_to_be_late_or_early(monkeypatch, caplog):
    # the first epoch takes 30 seconds, as it compiles; then 10 an epoch are in time, until two take 20 and 30
    clock = iter(np.cumsum([0, 30, 10, 10, 20, 30, 0, 0, 0]).tolist())
    monkeypatch.setattr(budget.time, "perf_counter", lambda: next(clock))
    punctual = budget.Punctuality(hours=120 / 3600, epochs=9, used=10.0)  # 10 + 30 + 8 x 10
    said = []
    with caplog.at_level(logging.INFO, "keras_mae"):
        for epoch in range(8):
            before = len(caplog.records)
            punctual.on_epoch_end(epoch)
            said += [(epoch + 1, record.getMessage()) for record in caplog.records[before:]]
    # after epoch 4: 10 + 70 + 5 x 40 / 3 = 146.7; after 5: 110 + 4 x 17.5 = 180; after 6: 110 + 3 x 14 = 152, still
    # late; after 7: 110 + 2 x 11.7 = 133; after 8: 110 + 10 = 120, in time
    assert said == [(4, "at the present speed the run ends 22 % late: in 0.041 hours, and not in 0.033")]


def test_the_seconds_of_a_log(tmp_path):
    folder = run.RunFolder(str(tmp_path))
    assert budget.seconds_so_far(folder) == 0.0
    (tmp_path / "log.jsonl").write_text("".join(json.dumps({"seconds": s}) + "\n" for s in (1.5, 2)) + '{"sec')
    assert budget.seconds_so_far(folder) == 3.5
