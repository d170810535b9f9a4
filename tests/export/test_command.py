"""`keras-mae export` on the files of models; tests/test_cli.py has it on the folder of a run."""

import os
import re

import numpy as np
import pytest
import tensorflow as tf

from keras_mae import cli
from keras_mae.models import ImageClassifier
from tests.base import fill_randomly, random_images, run_python, small_encoder, small_mae
from tests.drawn import write_pictures

SHAPE = (8, 12, 3)
ROUND_OFF = 1e-5  # of values of about 1: another order of float32 sums

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with `encoder.keras`, `classifier.keras` and `mae.keras`, and the models by name."""
    folder = tmp_path_factory.mktemp("files")
    models = {
        "encoder": small_encoder(),
        "classifier": fill_randomly(ImageClassifier(small_encoder(), 3)),
        "mae": small_mae(),
    }
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
    return folder, models


def export(files, name, *flags):
    return cli.main(["export", f"--run={files[0]}/{name}.keras", *map(str, flags)])


def test_encoder_out_of_an_autoencoder(files, tmp_path, capsys):
    pictures = write_pictures(tmp_path / "pictures", 3)
    flags = [
        f"--output={tmp_path}/models/eye",
        "--version=3",
        "--pooling=both",
        "--normalize",
        f"--data=folder:{pictures}",
    ]
    assert export(files, "mae", *flags) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path}/models/eye/3, and checked it in a fresh process\n"
    assert sorted(os.listdir(tmp_path / "models")) == ["eye", "models.config"]
    assert 'config { name: "eye" base_path: "/models/eye"' in (tmp_path / "models" / "models.config").read_text()
    embedding = tf.saved_model.load(str(tmp_path / "models" / "eye" / "3"))(random_images(2, SHAPE))
    assert embedding.shape == (2, 32)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, rtol=ROUND_OFF)


def test_classifier_with_labels(files, tmp_path, unverified):
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    flags = ["--model=classifier", f"--labels={tmp_path}/names.txt", f"--output={tmp_path}/model"]
    assert export(files, "classifier", *flags) == 0
    images = random_images(5, SHAPE)
    outputs = tf.saved_model.load(str(tmp_path / "model" / "1")).signatures["classify"](images=tf.constant(images))
    expected = files[1]["classifier"](images).numpy().argmax(axis=1)
    assert [label.decode() for label in outputs["label"].numpy()] == [["ant", "bee", "cat"][k] for k in expected]


def test_autoencoder(files, tmp_path, unverified):
    assert export(files, "mae", "--model=autoencoder", "--dtype=bfloat16", f"--output={tmp_path}/model") == 0
    assert set(tf.saved_model.load(str(tmp_path / "model" / "1")).signatures) == {"reconstruct"}


def test_litert_file(files, tmp_path, capsys):
    assert export(files, "encoder", "--format=litert", f"--output={tmp_path}/model") == 0
    assert capsys.readouterr().out == f"wrote {tmp_path}/model/1, and checked it in its runtime\n"
    assert os.listdir(tmp_path) == ["model"]  # nothing for TF Serving
    assert sorted(os.listdir(tmp_path / "model" / "1")) == ["metadata.json", "model.tflite"]


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        (
            "encoder",
            ["--model=classifier"],
            "--model=classifier needs ImageClassifier, and .*encoder.keras holds ViTEnc",
        ),
        (
            "encoder",
            ["--model=autoencoder"],
            "--model=autoencoder needs MaskedAutoencoder or SimMIM, and .* holds ViTEncoder",
        ),
        (
            "mae",
            ["--model=autoencoder", "--format=onnx"],
            "an autoencoder is written as a SavedModel only, not as onnx",
        ),
        ("mae", ["--model=autoencoder", "--normalize"], "--normalize is for --model=encoder; the model is autoencoder"),
        ("classifier", ["--model=classifier", "--pooling=cls"], "--pooling is for --model=encoder; the model is class"),
        ("classifier", ["--model=classifier", "--labels=two.txt"], "one label a class is needed: got 2 for 3 classes"),
        ("classifier", ["--model=classifier", "--labels=no.txt"], "--labels: there is no file no.txt"),
        ("encoder", ["--labels=two.txt"], "--labels is for --model=classifier; the model is encoder"),
        ("encoder", ["--data=folder:nowhere"], "folder:nowhere: there is no such folder"),
        ("nothing", [], "there is no file .*/nothing.keras"),
    ],
)
def test_what_cannot_work(files, tmp_path, monkeypatch, capfd, name, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.txt").write_text("a\nb\n")
    capfd.readouterr()
    assert export(files, name, "--output=out/model", *flags) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("keras-mae")]
    assert re.search(message, line), line
    assert os.listdir() == ["two.txt"]  # not even the folders that were to hold the model


@pytest.mark.parametrize("run", ["nowhere", "nowhere/encoder.keras"])
def test_a_missing_run_is_refused_before_tensorflow_is_imported(run):
    program = (
        f"import sys; from keras_mae import cli; code = cli.main(['export', '--run={run}', '--output=x'])\n"
        "print(code, [name for name in ('tensorflow', 'keras', 'numpy') if name in sys.modules])"
    )
    done = run_python("-c", program)
    assert done.stdout == "2 []\n" and re.fullmatch(r"keras-mae export: .*nowhere.*\n", done.stderr)
