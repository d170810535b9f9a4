"""Several labels and numbers through `keras-mae finetune`, `linear-probe` and `predict`, as a user types them."""

import csv
import json
import os

import keras
import numpy as np
import pytest
from sklearn import metrics
from sklearn.linear_model import Ridge

from keras_mae import cli
from keras_mae.models import ImageClassifier, ImageRegressor
from keras_mae.trainers.best_model import BestModel
from tests.base import run_forked, small_encoder, weights_of
from tests.trainers.bars import (
    AS_THEY_ARE,
    LABELS,
    NUMBERS,
    OF_LABELS,
    OF_NUMBERS,
    SIDE,
    bars,
    settings,
    write_bars,
)
from tests.trainers.pretraining import Interrupted, log_of
from tests.typed import refused

TESTED = 64


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bars")
    flags = write_bars(folder, 160, TESTED)
    small_encoder((SIDE, SIDE, 1)).save(folder / "encoder.keras")  # of one layer
    return flags


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    return head, rows


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.medium
def test_several_labels(given, tmp_path, capfd):
    """With mixed images, whose labels are vectors. The AUC of the log is that of scikit-learn."""
    output = tmp_path / "run"
    quick = settings(**AS_THEY_ARE, epochs=2, batch_size=32, base_learning_rate=0.01)
    assert (
        cli.main(["finetune", "--recipe=finetune_small_images", *given, *OF_LABELS, *quick, f"--output={output}"]) == 0
    )
    shown, wrote = capfd.readouterr().out.splitlines()
    results, lines = results_of(output), log_of(output)
    assert shown.startswith(f"mean AUC {results['auc']:.4f}, average precision ") and shown.endswith("; 64 images")
    assert results["num_labels"] == 3 and results["best"]["auc"] == max(line["val_auc"] for line in lines)
    assert sorted(os.listdir(output / "report")) == ["calibration.png", "curves.png", "labels.csv"]
    images, _, truth = bars(TESTED, 1)
    for name, found in (("model", lines[-1]["val_auc"]), ("best", results["best"]["auc"])):
        model = keras.saving.load_model(output / f"{name}.keras", compile=False)
        assert isinstance(model, ImageClassifier) and model.multi_label
        shares = np.asarray(keras.ops.sigmoid(model(images)))
        assert found == pytest.approx(metrics.roc_auc_score(truth, shares), abs=1e-6)
        if name == "model":
            assert results["auc"] == results["report"]["auc"] == found
            average_precision = metrics.average_precision_score(truth, shares)
            assert results["average_precision"] == pytest.approx(average_precision, abs=1e-6)
            last = shares

    predictions = tmp_path / "p.csv"
    assert cli.main(["predict", f"--run={output}", given[1], "--split=validation", f"--output={predictions}"]) == 0
    out = capfd.readouterr().out.splitlines()
    assert out[1].split()[:3] == ["label", "with", "it"] and [line.split()[0] for line in out[2:5]] == LABELS
    head, rows = table(predictions)
    assert head == ["name", "label", "predicted", *(f"probability_{name}" for name in LABELS)] and len(rows) == TESTED
    np.testing.assert_allclose([list(map(float, row[3:])) for row in rows], last, atol=1e-5)
    for column, values in ((1, truth), (2, last)):
        named = ["; ".join(name for name, has in zip(LABELS, one > 0.5) if has) for one in values]
        assert [row[column] for row in rows] == named
    report = json.loads((tmp_path / "p_report.json").read_text())
    assert report["auc"] == results["auc"] and report["per_label"] == results["report"]["per_label"]
    assert {"p_labels.csv", "p_curves.png", "p_calibration.png"} <= set(os.listdir(tmp_path))


@pytest.mark.medium
def test_numbers(given, tmp_path, capfd):
    """Errors are in the units of the numbers; the predictions have the same report."""
    quick = settings(**AS_THEY_ARE, epochs=2, batch_size=32, base_learning_rate=0.016)
    typed = ["finetune", "--recipe=finetune_small_images", *given, *OF_NUMBERS, *quick, f"--output={tmp_path / 'run'}"]
    assert cli.main(typed) == 0
    shown, _ = capfd.readouterr().out.splitlines()
    results = results_of(tmp_path / "run")
    assert shown.startswith(f"RMSE: angle {results['rmse']['angle']:.4g}, length ") and shown.endswith("; 64 images")
    model = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert isinstance(model, ImageRegressor) and results["num_numbers"] == 2
    _, numbers, _ = bars(160, 0)
    spread = [numbers.astype("float64").mean(axis=0), numbers.astype("float64").std(axis=0)]
    np.testing.assert_allclose([model.mean, model.std], spread, rtol=1e-6)
    others, truth, _ = bars(TESTED, 1)
    errors = np.asarray(model(others)) - truth
    rmse = np.sqrt(np.mean(errors**2, axis=0))
    np.testing.assert_allclose([results["rmse"][name] for name in NUMBERS], rmse, rtol=1e-4)
    lines = log_of(tmp_path / "run")
    assert lines[-1]["val_loss"] == pytest.approx(np.mean((errors / model.std) ** 2), rel=1e-4)
    lowest = min(line["val_loss"] for line in lines)
    assert results["best"]["normalised_rmse"] == pytest.approx(np.sqrt(lowest), abs=2e-6)
    of_mean = np.abs(truth[:, 0] - model.mean[0]).mean()
    assert results["report"]["per_output"][0]["mae_of_mean"] == pytest.approx(of_mean, rel=1e-6)
    assert sorted(os.listdir(tmp_path / "run" / "report")) == ["outputs.csv", "scatter.png"]

    predictions = tmp_path / "p.csv"
    typed = ["predict", f"--run={tmp_path / 'run'}", given[1], "--split=validation", f"--output={predictions}"]
    assert cli.main(typed) == 0
    assert capfd.readouterr().out.splitlines()[1].split()[0] == "number"
    head, rows = table(predictions)
    assert head == ["name", "label_angle", "label_length", "predicted_angle", "predicted_length"]
    found = np.array([list(map(float, row[1:])) for row in rows])
    np.testing.assert_allclose(found, np.concatenate([truth, truth + errors], axis=1), rtol=1e-4, atol=1e-4)
    assert json.loads((tmp_path / "p_report.json").read_text())["per_output"] == results["report"]["per_output"]


def of_ridge(images, numbers, others, truth):
    """RMSE of ridge regression of pixels, the best of five strengths, `(2,)`."""
    pixels = [array.reshape(len(array), -1) / 255 for array in (images, others)]
    found = [Ridge(alpha).fit(pixels[0], numbers).predict(pixels[1]) for alpha in (0.1, 1, 10, 100, 1000)]
    return np.sqrt([np.mean((one - truth) ** 2, axis=0) for one in found]).min(axis=0)


@pytest.mark.slow
@pytest.mark.parametrize("task", [OF_LABELS, OF_NUMBERS], ids=["labels", "numbers"])
@pytest.mark.parametrize("program", ["finetune", "linear-probe"])
def test_runs_are_resumed_exactly(given, tmp_path, monkeypatch, program, task):
    """With mixed images, drop path and all of the recipe's augmentation; killed within the second of three epochs."""
    more, recipe = {}, "probe_digits"
    if program == "finetune":
        more, recipe = {"drop_path_rate": 0.3}, "finetune_small_images"
    quick = settings(epochs=3, batch_size=32, checkpoint_steps=2, **more)
    typed = [program, f"--recipe={recipe}", *given, *task, *quick]
    assert cli.main([*typed, f"--output={tmp_path / 'whole'}"]) == 0

    def killed(self, batch, logs=None):
        if int(self.model.batches_seen) == 8:  # of 5 in an epoch: after the checkpoint of step 7
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(BestModel, "on_train_batch_end", killed)
        with pytest.raises(Interrupted):
            cli.main([*typed, f"--output={tmp_path / 'parts'}"])
    assert cli.main([*typed, f"--output={tmp_path / 'parts'}", "--resume"]) == 0
    models = [keras.saving.load_model(tmp_path / name / "model.keras", compile=False) for name in ("whole", "parts")]
    for one, other in zip(*map(weights_of, models), strict=True):
        np.testing.assert_array_equal(one, other)
    whole, parts = (results_of(tmp_path / name) for name in ("whole", "parts"))
    assert {**whole, "seconds": 0} == {**parts, "seconds": 0}
    logs = [log_of(tmp_path / name) for name in ("whole", "parts")]
    for one, other in zip(*logs, strict=True):
        unlike = {key for key in one if one[key] != other[key]}
        assert unlike <= {"seconds", "images_per_second"}, unlike


@pytest.mark.slow
def test_angles_beat_ridge_regression_of_pixels(tmp_path, capfd):
    """Angle and length of 4,000 drawn bars, from fresh weights."""
    flags = write_bars(tmp_path, 4000, 1000)[1:]
    sizes = {"preset": "vit_tiny_patch16", "image_size": (16, 16), "channels": 1, "patch_size": (4, 4)}
    sizes |= {"hidden_dim": 32, "num_layers": 2, "num_heads": 2}
    long = settings(**{**AS_THEY_ARE, **sizes}, epochs=30, batch_size=64, base_learning_rate=8e-3)
    typed = ["finetune", "--recipe=finetune_small_images", *flags, *OF_NUMBERS, *long, f"--output={tmp_path / 'run'}"]
    assert cli.main(typed) == 0
    errors, results = of_ridge(*bars(4000, 0)[:2], *bars(1000, 1)[:2]), results_of(tmp_path / "run")
    print(f"RMSE of ridge regression: {dict(zip(NUMBERS, errors))}; of the model: {results['rmse']}")
    assert results["rmse"]["angle"] < 0.5 * errors[0] and results["rmse"]["length"] < 0.5 * errors[1]


def test_what_numbers_do_not_take(given, tmp_path, capfd):
    line = refused(capfd, "finetune", *given, *OF_NUMBERS, "--set=mixup=0.5", f"--output={tmp_path / 'run'}")
    assert line == "keras-mae finetune: mixup is for classes and labels, and task=numbers: leave out --set mixup=0.5"
    line = refused(capfd, "finetune", *given, "--label_columns=angle,length", f"--output={tmp_path / 'run'}")
    assert "type --set task=labels for several labels of 0 and 1, --set task=numbers for numbers" in line


TWO_DEVICES = """
import sys
import tensorflow as tf
processor = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_mae import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_two_devices_log_the_measures_of_one(given, tmp_path):
    quick = settings(**AS_THEY_ARE, epochs=2, batch_size=32, base_learning_rate=0.01)
    typed = ["finetune", "--recipe=finetune_small_images", *given, *OF_LABELS, *quick]
    assert cli.main([*typed, f"--output={tmp_path / 'one'}"]) == 0
    done = run_forked("-c", TWO_DEVICES, *typed, f"--output={tmp_path / 'two'}", "--strategy=mirrored")
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (results_of(tmp_path / name) for name in ("one", "two"))
    for name in ("auc", "average_precision", "f1", "loss"):
        assert two[name] == pytest.approx(one[name], rel=1e-3), name  # round-off of sums in other parts
    for first, second in zip(log_of(tmp_path / "one"), log_of(tmp_path / "two"), strict=True):
        assert second["val_auc"] == pytest.approx(first["val_auc"], abs=2e-3)  # a pair may change its order
    assert sorted(os.listdir(tmp_path / "two" / "report")) == ["calibration.png", "curves.png", "labels.csv"]
