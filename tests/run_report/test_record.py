"""A run's state and facts, whatever is missing in its folder."""

import json
import os

import pytest

from keras_mae.run_report.record import RunRecord
from keras_mae.trainers import recipes
from keras_mae.trainers.settings import changed
from tests.run_report.folders import epoch, write, write_run

TWELVE = ("epochs=12",)


@pytest.mark.parametrize(
    ("epochs", "finished", "state"),
    [
        ([], False, "not finished: no epoch of 12 is logged yet"),
        ([epoch(1), epoch(2)], False, "not finished: epoch 2 of 12"),
        ([epoch(12)], True, "finished, 12 epochs"),
        ([epoch(5)], True, "finished, 5 of 12 epochs"),
    ],
)
def test_the_state_of_a_pretraining_run(tmp_path, epochs, finished, state):
    one = RunRecord(write_run(tmp_path / "run", epochs, settings=TWELVE, finished=finished))
    assert (one.state, one.finished, one.name, one.program) == (state, finished, "run", "pretrain")
    assert one.written.endswith(" UTC")


def test_a_head_is_finished_once_it_has_results(tmp_path):
    path = write_run(tmp_path / "run", [epoch(1)], recipe="finetune_digits", settings=("epochs=1",))
    assert RunRecord(path).state == "not finished: epoch 1 of 1"
    write(path, "results.json", '{"program": "finetune", "top1": 0.5}')
    assert RunRecord(path).state == "finished, 1 epoch"


def test_steps_in_an_epoch(tmp_path):
    assert RunRecord(write_run(tmp_path / "a", [epoch(1), epoch(2)])).steps_per_epoch == 10
    assert RunRecord(write_run(tmp_path / "b")).steps_per_epoch == 1  # 40 images, 25 in a batch
    assert RunRecord(write_run(tmp_path / "c", seen={})).steps_per_epoch is None


def test_classes_are_counted_in_their_order(tmp_path):
    path = write_run(tmp_path / "run")
    assert list(RunRecord(path).class_counts.items()) == [("cat", 30), ("dog", 10)]
    (tmp_path / "run" / "seen.gz").write_bytes(b"torn")
    assert RunRecord(path).class_counts == {}
    os.remove(tmp_path / "run" / "seen.gz")
    assert RunRecord(path).class_counts == {}
    assert RunRecord(write_run(tmp_path / "numbers", seen={"task": "numbers"})).class_counts == {}


def test_a_config_of_another_version_is_shown_as_it_is(tmp_path):
    path = write_run(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert RunRecord(path).config == recipes.load("mae_digits")
    record["config"]["encoder"]["of_the_future"] = 7
    write(path, "config.json", json.dumps(record))
    one = RunRecord(path)
    assert one.config is None and one.settings["encoder.of_the_future"] == 7 and one.settings["masking"] == "random"
    write(path, "config.json", json.dumps({"config": {"program": "pretrain"}, "seen": [], "init": None}))
    one = RunRecord(path)
    assert (one.data, one.seen, one.init, one.total_epochs) == ("unknown", {}, {}, None)


def test_what_is_no_run(tmp_path):
    os.mkdir(tmp_path / "empty")
    for name, text in (("file", None), ("damaged", "{"), ("list", "[]"), ("other", '{"model_type": "vit"}')):
        if text is None:
            (tmp_path / name).write_text("x")
        else:
            os.mkdir(tmp_path / name)
            write(tmp_path / name, "config.json", text)
    for name, message in (
        ("gone", "there is no such folder"),
        ("file", "is a file; name the folder of a run"),
        ("empty", "is not the folder of a run: it holds no config.json"),
        ("damaged", "is no JSON"),
        ("list", "is no JSON object"),
        ("other", "it has no config"),
    ):
        with pytest.raises(ValueError, match=message):
            RunRecord(str(tmp_path / name))


def test_results_that_cannot_be_read_are_none(tmp_path):
    for text in ("", "[1]", "{"):
        path = write_run(tmp_path / "run")
        write(path, "results.json", text)
        assert RunRecord(path).results == {}


def test_the_settings_are_those_of_the_config(tmp_path):
    one = RunRecord(write_run(tmp_path / "run", settings=("masking=units", "mask_ratio=0.5")))
    config = changed(recipes.load("mae_digits"), ["masking=units", "mask_ratio=0.5"])
    assert one.config == config and one.settings["masking"] == "units" and one.settings["masking.mask_ratio"] == 0.5
