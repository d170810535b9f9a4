"""Runs that MLflow and Weights & Biases follow, in a store on this disk and offline."""

import glob
import json
import logging
import os
import struct

import pytest
import tensorflow as tf

from keras_mae import cli
from keras_mae.trainers import run
from keras_mae.trainers.pretrain import pretrain
from keras_mae.trainers.settings import replaced, values_of
from keras_mae.trainers.tracker import tracked
from tests.base import small_mae
from tests.trainers.pretraining import CONFIG, STEPS, Interrupted, after_step, interrupt, log_of

_KEYS = ("loss", "skipped_steps", "learning_rate")


def _records(path):
    """The records of a file in LevelDB's log format, after the 7 bytes of its own that Weights & Biases begins with."""
    with open(path, "rb") as file:
        data = file.read()
    at, record = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768  # a header never crosses blocks
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])  # after the checksum
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def _tracked(name):
    return replaced(CONFIG, tracker=name, epochs=2, warmup_epochs=1.0, crop_scale=None, flip=False)


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)  # artifacts
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    mlflow.set_tracking_uri(None)
    yield mlflow
    mlflow.end_run()


@pytest.mark.medium
def test_mlflow_has_settings_and_the_numbers_of_each_epoch_also_after_a_resume(arrays, mlflow, tmp_path, monkeypatch):
    output, config = str(tmp_path / "followed"), _tracked("mlflow")
    with monkeypatch.context() as patch:
        after_step(patch, STEPS + 1, interrupt)
        with pytest.raises(Interrupted):
            pretrain(config, arrays, output)
    (found,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert (found.info.run_name, found.info.status) == ("followed", "FAILED")
    assert mlflow.get_experiment(found.info.experiment_id).name == "keras_mae"
    pretrain(replaced(config, pictures_every=7), arrays, output, resume=True)  # a setting that may change

    (found,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert found.info.status == "FINISHED"
    said = {name: found.data.params[name] for name in values_of(config)}
    assert said == {name: str(value) for name, value in values_of(config).items()}
    log = log_of(run.RunFolder(output))
    for key in _KEYS:
        history = sorted(mlflow.MlflowClient().get_metric_history(found.info.run_id, key), key=lambda one: one.step)
        assert [one.step for one in history] == [0, 1]
        assert [one.value for one in history] == pytest.approx([record[key] for record in log], abs=1e-6)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.mark.medium
def test_wandb_writes_offline_into_the_run_folder(arrays, tmp_path, monkeypatch, caplog):
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    output = str(tmp_path / "followed")
    with caplog.at_level(logging.INFO, "keras_mae"):
        pretrain(_tracked("wandb"), arrays, output)
    folder = run.RunFolder(output)
    assert f"wandb follows the run: offline, in {folder / 'wandb'}" in caplog.text
    with open(folder / run.TRACKER) as file:
        known = json.load(file)
    (path,) = glob.glob(folder / f"wandb/offline-run-*-{known['id']}/*.wandb")
    rows, config, exit_codes = [], {}, []
    for data in _records(path):
        record = wandb_internal_pb2.Record.FromString(data)
        if record.HasField("history"):
            items = record.history.item
            rows.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items})
        elif record.HasField("run"):
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            assert (record.run.project, record.run.display_name) == ("keras_mae", "followed")
        elif record.HasField("exit"):
            exit_codes.append(record.exit.exit_code)
    assert config["optimizer"]["epochs"] == 2 and exit_codes == [0]
    for key in _KEYS:
        found = [row[f"epoch/{key}"] for row in rows]
        assert found == pytest.approx([record[key] for record in log_of(folder)], abs=1e-6)


@pytest.mark.medium
def test_a_tracker_that_fails_does_not_end_the_run(mlflow, tmp_path, monkeypatch, caplog):
    from mlflow.keras import MlflowCallback

    def fail(self, epoch, logs=None):
        raise ConnectionError("the server is gone\nand more")

    monkeypatch.setattr(MlflowCallback, "on_epoch_end", fail)
    folder, model = run.RunFolder(str(tmp_path)), small_mae()
    model.compile(optimizer="sgd")
    with tracked(tf.distribute.get_strategy(), _tracked("mlflow"), folder) as (tracker,):
        tracker.set_model(model)
        for epoch in range(2):
            tracker.on_epoch_end(epoch, {"loss": 1.0})
    said = "mlflow failed (the server is gone): the run goes on without it, and log.jsonl has all"
    assert [record.message for record in caplog.records if "failed" in record.message] == [said]


def test_a_tracker_that_cannot_start_is_refused(arrays, mlflow, tmp_path, monkeypatch):
    mlflow.set_tracking_uri("nowhere://store")
    with pytest.raises(ValueError, match="--tracker=mlflow cannot start: .*nowhere.*; mend that, or leave out --track"):
        pretrain(_tracked("mlflow"), arrays, str(tmp_path / "followed"))


@pytest.mark.parametrize("program", ["pretrain", "finetune", "linear-probe", "segment"])
def test_a_tracker_that_is_not_installed_is_refused_at_once(program, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code = cli.main([program, "--data=digits", f"--output={tmp_path / 'run'}", "--tracker=wandb"])
    assert code == 2
    assert (
        "--tracker=wandb needs wandb: pip install 'keras-mae[wandb]', or leave out --tracker" in capsys.readouterr().err
    )
    assert not os.path.exists(tmp_path / "run")
