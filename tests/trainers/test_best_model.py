"""Which epoch is the best, and when waiting ends."""

import json

import pytest

from keras_mae.trainers.best_model import BestModel


class Model:
    stop_training = False


def run(path, accuracies, stop_after=None, resumed_after=0):
    """Feeds a callback with an epoch's accuracies after another; returns it, the epochs saved, and when it stopped."""
    saved, epoch, model = [], 0, Model()
    best = BestModel(lambda: saved.append(epoch), str(path / "log.jsonl"), stop_after)
    best.set_model(model)
    stopped = best.start(resumed_after)
    for epoch, accuracy in enumerate(accuracies[resumed_after:], resumed_after + 1):
        if stopped or model.stop_training:
            break
        best.on_epoch_end(epoch - 1, {"val_accuracy": accuracy})
    return best, saved, model.stop_training or stopped


def test_the_first_of_the_highest(tmp_path):
    best, saved, stopped = run(tmp_path, [0.5, 0.7, 0.6, 0.7, 0.2])
    assert (best.epoch, best.accuracy, saved, stopped) == (2, 0.7, [1, 2], False)


def test_an_epoch_of_no_hits_is_the_best_so_far(tmp_path):
    best, saved, _ = run(tmp_path, [0.0, 0.0])
    assert (best.epoch, best.accuracy, saved) == (1, 0.0, [1])
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
    accuracies = [0.5, 0.7, 0.6, 0.8, 0.7, 0.75, 0.9]
    whole, _, _ = run(tmp_path, accuracies, 3)
    lines = [{"epoch": i + 1, "val_accuracy": a} for i, a in enumerate(accuracies[: resumed_after + 1])]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"epo')
    resumed, _, _ = run(tmp_path, accuracies, 3, resumed_after)
    assert (resumed.epoch, resumed.accuracy) == (whole.epoch, whole.accuracy)
