"""`keras-mae predict` as a user types it."""

import csv
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_mae import cli
from keras_mae.data import evaluation_dataset, open_source
from keras_mae.export.computing import model_in_dtype
from keras_mae.models import ImageClassifier
from keras_mae.trainers.config import PretrainConfig
from tests.base import fill_randomly, small_encoder
from tests.trainers.labelled import drawn_images
from tests.trainers.test_trained_model import write_run
from tests.typed import refused


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """The flags of a classifier in no run's folder and of labelled images."""
    folder = tmp_path_factory.mktemp("given")
    ImageClassifier(small_encoder((8, 8, 1)), 6).save(folder / "classifier.keras")
    images, labels = drawn_images(24, seed=1)
    np.savez(folder / "data.npz", images=images, labels=labels)
    return [f"--run={folder / 'classifier.keras'}", f"--data=npz:{folder / 'data.npz'}"]


@pytest.mark.medium
def test_predictions(given, tmp_path, capfd):
    output = tmp_path / "predictions.csv"
    assert cli.main(["predict", *given, f"--output={output}", "--k=2"]) == 0
    first, second, heads, *table, wrote = capfd.readouterr().out.splitlines()
    report = json.loads((tmp_path / "predictions_report.json").read_text())
    assert first == (
        f"top-1 {100 * report['top1']:.1f} %, top-5 {100 * report['top5']:.1f} %; the largest class: 16.7 % of 24 "
        f"images; expected calibration error {100 * report['ece']:.1f} %"
    )
    assert second.startswith("mean over the classes: precision ") and f"AUC {report['auc']:.4f}" in second
    assert heads.split() == ["class", "images", "precision", "recall", "F1", "AUC"]
    assert [line.split()[:2] for line in table[:6]] == [[str(k), "4"] for k in range(6)]
    assert table[6:] == report["notes"]
    assert wrote.startswith(f"wrote {output}, ") and wrote.endswith("_report.json: 24 images, 0 skipped")
    lines = output.read_text().splitlines()
    assert len(lines) == 25 and lines[0] == "name,label,predicted,probability,predicted_2,probability_2"

    line = refused(capfd, "predict", *given, f"--output={output}")
    assert (
        line == f"keras-mae predict: {output} is there already: name another --output, or replace it with --overwrite"
    )
    os.remove(output)  # a report of other predictions is kept as well
    assert "predictions_confusions.png is there already" in refused(capfd, "predict", *given, f"--output={output}")


@pytest.mark.slow
def test_a_classifier_of_half_precision_computes_as_it_is_served(given, tmp_path):
    half = {"dtype": "mixed_float16"}
    trained = fill_randomly(ImageClassifier(small_encoder((8, 8, 1), **half), 6, **half))
    trained.save(tmp_path / "half.keras")
    output = tmp_path / "p.csv"
    assert cli.main(["predict", f"--run={tmp_path / 'half.keras'}", given[1], f"--output={output}"]) == 0
    with open(output, newline="") as file:
        found = [float(row["probability"]) for row in csv.DictReader(file)]
    (images,) = evaluation_dataset(open_source(given[1].removeprefix("--data=")), (8, 8, 1), 24)
    expected, halved = (
        tf.nn.softmax(tf.cast(model(images), tf.float32)).numpy().max(axis=1)
        for model in (model_in_dtype(trained, "float32"), trained)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(halved - expected).max() > 1e-4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output=out"], "--output=out is not the name of a CSV file; type --output=out.csv"),
        (["--output=p.csv", "--run=nowhere"], "nowhere is not the folder of a run: it holds no config.json"),
        (["--output=p.csv", "--run=x.keras"], "there is no file x.keras"),
        (["--output=p.csv", "--k=0"], "flag --k=0: 0 is not"),
        (["--output=p.csv", "--split=test"], "flag --split=test: value should be one of <train|validation>"),
        (
            ["--output=photos/p.csv", "--data=folder:photos/"],
            "photos/p.csv lies in the folder of the images, to which its picture would belong; name another --output",
        ),
        (["--run=x.keras"], "needs --output; see keras-mae predict --help"),
    ],
)
def test_flags_that_are_refused(given, capfd, flags, message):
    assert message in refused(capfd, "predict", *given, *flags)


def test_a_run_without_a_classifier(capfd, tmp_path):
    folder = write_run(tmp_path / "run", PretrainConfig())
    line = refused(capfd, "predict", f"--run={folder}", "--data=digits", f"--output={tmp_path / 'p.csv'}")
    assert line == (
        f"keras-mae predict: {folder} is a run of keras-mae pretrain, and predict tells classes, labels, numbers and "
        "masks: it needs a run of finetune, linear-probe or segment"
    )
