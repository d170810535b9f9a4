"""The measures of a run on a model card, of every task."""

import pytest

from keras_mae.commands import run_facts
from keras_mae.trainers import run
from keras_mae.trainers.classifier_config import FinetuneConfig
from tests.trainers.test_trained_model import write_run

LABELS = {"auc": 0.93125, "f1": 0.5, "best": {"epoch": 2, "auc": 0.95, "loss": 0.3}}
NUMBERS = {"rmse": {"age": 3.25, "size": 120.5}, "best": {"epoch": 2, "normalised_rmse": 0.25, "loss": 0.0625}}
KNN = {"rmse": {"1": {"age": 3.0}, "5": {"age": 2.5}}}


@pytest.mark.parametrize(
    ("results", "of_best", "expected"),
    [
        (LABELS, False, [("mean AUC", "0.9313")]),
        (LABELS, True, [("mean AUC", "0.95")]),
        (NUMBERS, False, [("RMSE of age", "3.25"), ("RMSE of size", "120.5")]),
        (NUMBERS, True, [("RMSE, in shares of the labels' standard deviations", "25.0 %")]),
        (KNN, False, [("RMSE of age, k = 1", "3"), ("RMSE of age, k = 5", "2.5")]),
        ({"auc": {"5": 0.75, "20": None}}, False, [("mean AUC, k = 5", "0.75"), ("mean AUC, k = 20", "-")]),
    ],
)
def test_rows(tmp_path, results, of_best, expected):
    folder = run.RunFolder(str(write_run(tmp_path / "run", FinetuneConfig())))
    folder.write_json(run.RESULTS, {"program": "finetune", "validation_images": 9, "epochs": 3, **results})
    rows = run_facts._rows(folder, of_best)
    assert [(said.partition(" (finetune, 9 images of ")[0], shown) for said, shown in rows] == expected
