"""Which epoch is the best, and when waiting ends."""

import json
import math

import pytest

from keras_mae.trainers.best_model import BestModel, Measure
from keras_mae.trainers.tasks import Numbers, SeveralLabels


class Model:
    stop_training = False


NAN = math.nan


@pytest.mark.parametrize(
    ("task", "logs", "best"),
    [
        (SeveralLabels(["a"]), [(0.5, 0.1), (0.8, 0.9), (0.8, 0.7), (NAN, 0.1)], {"epoch": 3, "auc": 0.8, "loss": 0.7}),
        (
            Numbers(["a"]),
            [(9, 0.64), (9, 0.25), (9, 0.36), (9, NAN)],
            {"epoch": 2, "normalised_rmse": 0.5, "loss": 0.25},
        ),
    ],
)
def test_other_tasks_have_their_own_measure(tmp_path, task, logs, best):
    """A resumed run reads it from the log."""
    lines = [{"epoch": k + 1, "val_auc": auc, "val_loss": loss} for k, (auc, loss) in enumerate(logs)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = BestModel(print, str(tmp_path / "log.jsonl"), len(logs), task.measure)
    assert not made.start(len(logs)) and made.result == best
    made = BestModel(print, str(tmp_path / "log.jsonl"), 1, task.measure)
    assert made.start(len(logs))


def run(path, accuracies, stop_after=None, resumed_after=0, losses=None):
    """Feeds a callback with an epoch's accuracies after another; returns it, the epochs saved, and when it stopped."""
    losses = losses or [0.5] * len(accuracies)
    saved, epoch, model = [], 0, Model()
    best = BestModel(lambda: saved.append(epoch), str(path / "log.jsonl"), stop_after)
    best.set_model(model)
    stopped = best.start(resumed_after)
    for epoch in range(resumed_after + 1, len(accuracies) + 1):
        if stopped or model.stop_training:
            break
        best.on_epoch_end(epoch - 1, {"val_accuracy": accuracies[epoch - 1], "val_loss": losses[epoch - 1]})
    return best, saved, model.stop_training or stopped


def test_the_first_of_the_highest(tmp_path):
    best, saved, stopped = run(tmp_path, [0.5, 0.7, 0.6, 0.7, 0.2])
    assert (best.epoch, best.result["top1"], saved, stopped) == (2, 0.7, [1, 2], False)


@pytest.mark.parametrize(
    ("accuracies", "losses", "saved"),
    [
        ([0.5, 0.7, 0.7, 0.7], [0.9, 0.8, 0.6, 0.7], [1, 2, 3]),  # of equal accuracies the lowest loss
        ([0.5, 0.7, 0.7], [0.1, 0.8, 0.8], [1, 2]),  # of equal losses, too, the first
        ([1 / 3, 0.3333333334], [0.50000001, 0.5], [1]),  # equal to the six decimals of the log
        ([0.9, 0.5, 0.6], [NAN, 0.7, 0.8], [1, 2, 3]),  # NaN is no accuracy, however high
        ([0.5, NAN, 0.9], [0.7, 0.1, math.inf], [1]),
    ],
)
def test_ties_are_broken_by_the_loss(tmp_path, accuracies, losses, saved):
    best, found, _ = run(tmp_path, accuracies, losses=losses)
    assert (found, best.epoch) == (saved, saved[-1])
    assert (best.result["top1"], best.result["loss"]) == (
        pytest.approx(accuracies[saved[-1] - 1], abs=1e-6),  # six decimals
        pytest.approx(losses[saved[-1] - 1], abs=1e-6),
    )


def test_no_epoch_of_finite_loss(tmp_path):
    best, saved, stopped = run(tmp_path, [0.2, 0.3, 0.4], 2, losses=[NAN] * 3)
    assert (
        (best.epoch, saved, stopped) == (1, [1], True)
        and math.isnan(best.result["top1"])
        and math.isnan(best.result["loss"])
    )


def test_a_lower_loss_is_worth_waiting_for(tmp_path):
    accuracies = [0.7] * 6
    assert run(tmp_path, accuracies, 2, losses=[0.5, 0.5, 0.4, 0.4, 0.4, 0.3])[0].epoch == 3
    assert run(tmp_path, accuracies, 2, losses=[0.5, 0.5, 0.5, 0.4, 0.4, 0.3])[0].epoch == 1


def test_an_epoch_of_no_hits_is_the_best_so_far(tmp_path):
    best, saved, _ = run(tmp_path, [0.0, 0.0])
    assert (best.epoch, best.result["top1"], saved) == (1, 0.0, [1])
    assert BestModel(print, "nowhere").epoch == 0


@pytest.mark.parametrize(
    ("stop_after", "best_epoch", "stops"), [(1, 2, True), (2, 4, True), (3, 4, True), (4, 4, False), (None, 4, False)]
)
def test_stops(tmp_path, stop_after, best_epoch, stops):
    best, _, stopped = run(tmp_path, [0.5, 0.7, 0.6, 0.8, 0.8, 0.7, 0.75], stop_after)
    assert (best.epoch, stopped) == (best_epoch, stops)


@pytest.mark.parametrize("resumed_after", range(8))
def test_a_resumed_run_ends_as_a_whole_one(tmp_path, resumed_after):
    """The log may hold an epoch more than the checkpoint that is taken up."""
    accuracies, losses = [0.5, 0.7, NAN, 0.7, 0.7, 0.7, 0.6, 0.9], [0.9, 0.8, NAN, 0.7, 0.8, 0.75, 0.1, 0.1]
    whole, _, _ = run(tmp_path, accuracies, 3, losses=losses)
    assert whole.epoch == 4
    pairs = list(zip(accuracies, losses))[: resumed_after + 1]
    lines = [{"epoch": i + 1, "val_accuracy": a, "val_loss": loss} for i, (a, loss) in enumerate(pairs)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"epo')
    resumed, _, _ = run(tmp_path, accuracies, 3, resumed_after, losses)
    assert (resumed.epoch, resumed.result["top1"]) == (whole.epoch, whole.result["top1"])


NOW_AND_THEN = Measure("knn", "knn", of_validation=False)


@pytest.mark.parametrize("resumed_after", range(8))
def test_epochs_without_the_measure_are_passed_over(tmp_path, resumed_after):
    """Evaluated after epochs 2, 4, 6 and 7, of which 4 is the best; patience counts evaluations."""
    lines = [{"epoch": epoch, "loss": 1 / epoch} for epoch in range(1, 9)]
    for epoch, knn in {2: 0.4, 4: 0.9, 6: NAN, 7: 0.9}.items():
        lines[epoch - 1]["knn"] = knn
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[: resumed_after + 1]))
    saved, epoch, last, model = [], 0, resumed_after, Model()
    best = BestModel(lambda: saved.append(epoch), str(tmp_path / "log.jsonl"), 2, NOW_AND_THEN)
    best.set_model(model)
    stopped = best.start(resumed_after)
    for epoch in range(resumed_after + 1, 9):
        if stopped or model.stop_training:
            break
        last = epoch
        best.on_epoch_end(epoch - 1, lines[epoch - 1])
    assert (best.epoch, best.result["knn"]) == (4, 0.9)
    assert saved == [number for number in (2, 4) if number > resumed_after]
    assert (stopped or model.stop_training) and last == 7  # the second evaluation after the best one
