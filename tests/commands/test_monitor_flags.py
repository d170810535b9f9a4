"""Measuring features while pretraining, as a user types it, and what a model card says of it."""

import json

import pytest

from keras_mae.commands import run_facts
from keras_mae.commands.command import config_of
from keras_mae.commands.pretraining import PRETRAIN
from keras_mae.trainers import run
from keras_mae.trainers.config import PretrainConfig, from_json, to_json
from keras_mae.trainers.settings import replaced
from tests.trainers.test_trained_model import write_run
from tests.typed import refused


def test_flags_are_settings():
    values = PRETRAIN.make_flags()
    values(
        ["pretrain", "--recipe=mae_digits", "--labelled_data=npz:a.npz", "--label_columns=age", "--set=task=numbers"]
    )
    own = config_of(values, "pretrain").evaluation
    assert (own.labelled_data, own.label_columns, own.task) == ("npz:a.npz", "age", "numbers")
    assert (own.evaluate_every, own.monitor, own.stop_after, own.labels) == (None,) * 4


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--labels=/no/such.csv"], "--labels=/no/such.csv: there is no such file"),
        (["--set=monitor=alignment"], "no evaluation.monitor is called 'alignment'; did you mean rankme or ridge?"),
        (["--set=evaluate_every=0", "--set=stop_after=3"], "stop_after is for evaluations, and evaluate_every=0 makes"),
        (["--labelled_data=npz:RUN"], "--output=RUN is what --labelled_data is read from; name another folder"),
        (["--set=evaluate_every=-1"], "evaluation.evaluate_every lies in [0, 1000000]"),
    ],
)
def test_what_cannot_work_is_refused_at_once(capfd, typed, message):
    assert message in refused(capfd, "pretrain", "--data=digits", "--recipe=mae_digits", "--output=RUN", *typed)


def test_configs_of_earlier_versions_are_read(tmp_path):
    record = to_json(PretrainConfig())
    del record["evaluation"]
    assert from_json(json.loads(json.dumps(record))) == PretrainConfig()


def test_a_card_has_the_last_epoch_and_the_best(tmp_path):
    config = replaced(PretrainConfig(), labelled_data="npz:/secret/place/flowers.npz")
    folder = run.RunFolder(str(write_run(tmp_path / "run", config)))
    best = {"epoch": 20, "knn": 0.8312, "ridge": 0.85, "loss": 0.5}
    measured = {"program": "pretrain", "knn": 0.825, "ridge": 0.8561, "best": best, "validation_images": 500}
    folder.write_json(run.RESULTS, {**measured, "evaluations": 4, "epochs": 40})
    (tmp_path / "run" / run.BEST).write_bytes(b"")
    assert "secret" not in " ".join(run_facts.typed_settings(config)[1])
    where = "(pretrain, 500 images of `npz:flowers.npz`"
    assert run_facts.quality_of(folder, []) == [
        (f"kNN top-1 {where}, the last epoch)", "82.5 %"),
        (f"ridge probe top-1 {where}, the last epoch)", "85.6 %"),
        (f"kNN top-1 {where}, the best of 4 epochs on these images)", "83.1 %"),
        (f"ridge probe top-1 {where}, the best of 4 epochs on these images)", "85.0 %"),
    ]
