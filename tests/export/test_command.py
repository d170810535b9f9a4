"""`keras-mae export` on the files of models; tests/test_cli.py has it on the folder of a run."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

import keras_mae.export
from keras_mae import cli
from keras_mae.export.signatures import ServedEncoder
from keras_mae.models import ImageClassifier, ImageSegmenter
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.settings import replaced
from tests.base import fill_randomly, random_images, run_python, small_encoder, small_mae
from tests.drawn import write, write_pictures
from tests.trainers.test_trained_model import write_run
from tests.typed import refused

SHAPE = (8, 12, 3)
ROUND_OFF = 1e-5  # of values of about 1: another order of float32 sums

pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("png_and_jpeg")]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with `encoder.keras`, `classifier.keras` and `mae.keras`, and the models by name."""
    folder = tmp_path_factory.mktemp("files")
    models = {
        "encoder": small_encoder(),
        "classifier": fill_randomly(ImageClassifier(small_encoder(), 3)),
        "mae": small_mae(),
        "segmenter": fill_randomly(ImageSegmenter(small_encoder(), 3)),
    }
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
    return folder, models


def export(files, name, *flags):
    return cli.main(["export", f"--run={files[0]}/{name}.keras", *map(str, flags)])


@pytest.mark.slow
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


def test_classifier_with_labels(files, tmp_path, asked):
    """They are served as those of a run, below."""
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    flags = ["--model=classifier", f"--labels={tmp_path}/names.txt", f"--output={tmp_path}/model"]
    assert export(files, "classifier", *flags) == 0
    assert [found["labels"] for found in asked] == [["ant", "bee", "cat"]]


def test_autoencoder(files, tmp_path, unverified):
    assert export(files, "mae", "--model=autoencoder", "--dtype=bfloat16", f"--output={tmp_path}/model") == 0
    assert set(tf.saved_model.load(str(tmp_path / "model" / "1")).signatures) == {"reconstruct"}


def test_litert_file(files, tmp_path, capsys):
    assert export(files, "encoder", "--format=litert", f"--output={tmp_path}/model") == 0
    assert capsys.readouterr().out == f"wrote {tmp_path}/model/1, and checked it in its runtime\n"
    assert os.listdir(tmp_path) == ["model"]  # nothing for TF Serving
    assert sorted(os.listdir(tmp_path / "model" / "1")) == ["metadata.json", "model.tflite"]


@pytest.fixture(scope="module")
def tuned(files, tmp_path_factory):
    """The folder of a fine-tuning run on 16-bit files of two classes, and its best model."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    model = fill_randomly(ImageClassifier(small_encoder((8, 12, 1)), 3, pooling="cls"))
    images = random_images(16, (8, 12, 1)).astype("uint16") * 257
    model.head.bias.assign_sub(model(images).numpy().mean(axis=0))  # so that no class wins always
    seen = {"dtype": "uint16", "class_names": ["bacterial", "normal", "viral"]}
    own = {"crop_ratio": 0.625, "pooling": "cls", "background": 7, "max_megapixels": 0.5}
    write_run(folder, replaced(FinetuneConfig(), **own), seen, files=())
    model.save(folder / "best.keras")
    return folder, model, images


@pytest.fixture
def asked(monkeypatch):
    """What the command asks of the export, which writes nothing: a dict of arguments a call."""
    calls = []
    for name in ("export_encoder", "export_classifier"):
        monkeypatch.setattr(
            keras_mae.export, name, lambda model, folder, **arguments: calls.append(arguments) or folder
        )
    return calls


def metadata_of(path):
    with open(path / "assets" / "metadata.json") as file:
        return json.load(file)


def test_a_classifier_in_a_runs_folder(tuned, tmp_path, unverified, caplog):
    """The crop ratio, the bits and the names of the classes are the run's."""
    caplog.set_level("INFO", logger="keras_mae")
    command = ["export", f"--run={tuned[0]}/best.keras", "--model=classifier", f"--output={tmp_path}/model"]
    images, classes = tuned[2], tuned[1](tuned[2]).numpy().argmax(axis=1)
    assert len(set(classes)) > 1
    assert cli.main(command) == 0
    path, names = tmp_path / "model" / "1", ["bacterial", "normal", "viral"]
    outputs = tf.saved_model.load(str(path)).signatures["classify"](images=tf.constant(images))
    assert [label.decode() for label in outputs["label"].numpy()] == [names[k] for k in classes]
    assert (path / "assets" / "labels.txt").read_text().splitlines() == names == metadata_of(path)["labels"]
    assert (metadata_of(path)["crop_ratio"], metadata_of(path)["pixel_dtype"]) == (0.625, "uint16")
    assert metadata_of(path)["decoding"].items() >= {"max_pixels": 500_000, "background": 7}.items()
    assert not [record.message for record in caplog.records if "lies in no run" in record.message]


def test_a_classifier_in_a_runs_folder_under_other_names(tuned, tmp_path, asked):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    command = ["export", f"--run={tuned[0]}/best.keras", "--model=classifier", f"--output={tmp_path}/model"]
    assert cli.main([*command, f"--labels={tmp_path}/names.txt"]) == 0
    (found,) = asked
    assert (found["labels"], found["crop_ratio"], found["pixel_dtype"]) == (["a", "b", "c"], 0.625, "uint16")


def test_a_run_that_has_not_noted_what_it_saw(tuned, tmp_path, asked):
    """Of an earlier version: names and depth are those of its data, if these are still there."""
    for number, name in enumerate(("bacterial", "normal", "viral")):
        file = tf.io.encode_png(tuned[2][number]).numpy()
        write(str(tmp_path / "x-rays" / name / "0.png"), file)
    folder = write_run(tmp_path / "run", FinetuneConfig(), files=(), data=f"folder:{tmp_path}/x-rays")
    shutil.copy(tuned[0] / "best.keras", folder / "model.keras")
    command = ["export", f"--run={folder}", "--model=classifier", f"--output={tmp_path}/model"]
    assert cli.main(command) == 0
    found = asked[0]
    assert (found["labels"], found["pixel_dtype"]) == (["bacterial", "normal", "viral"], "uint16")
    shutil.rmtree(tmp_path / "x-rays")
    assert cli.main(command) == 0
    found = asked[1]
    assert (found["labels"], found["pixel_dtype"]) == (None, "auto")


def test_transparent_pixels_are_served_as_the_run_saw_them(tmp_path, asked):
    """On the run's background: on another, a picture does not find itself."""
    folder = write_run(tmp_path / "run", replaced(PretrainConfig(), background=0, crop_ratio=1.0), files=())
    encoder = small_encoder()
    encoder.save(folder / "encoder.keras")
    pixels = np.concatenate([random_images(1, SHAPE)[0], 255 * np.eye(8, 12, dtype="uint8")[..., None]], axis=-1)
    assert cli.main(["export", f"--run={folder}", f"--output={tmp_path}/model"]) == 0
    (found,) = asked
    module = ServedEncoder(encoder, found["pooling"], found["crop_ratio"], decoding=found["decoding"])
    served = module.signatures()["serving_default"]
    embedding = served(image_bytes=tf.io.encode_png(pixels)[None])["embedding"].numpy()
    black = np.where(pixels[..., 3:] > 0, pixels[..., :3], 0)[None].astype("uint8")
    np.testing.assert_allclose(embedding, encoder.features(black).numpy(), atol=ROUND_OFF)


def test_the_encoder_in_a_runs_file(tuned, tmp_path, asked):
    """Pooled as the classifier pools, unless another pooling or crop ratio is given."""
    for flags in ([], ["--pooling=mean", "--crop_ratio=0.5"]):
        assert cli.main(["export", f"--run={tuned[0]}/best.keras", f"--output={tmp_path}/model", *flags]) == 0
    assert [(one["pooling"], one["crop_ratio"], one["pixel_dtype"]) for one in asked] == [
        ("cls", 0.625, "uint16"),
        ("mean", 0.5, "uint16"),
    ]


def test_as_many_names_in_the_run_as_classes(tuned, tmp_path, capfd):
    folder = write_run(tmp_path / "run", FinetuneConfig(), {"dtype": "uint8", "class_names": ["cat", "dog"]}, files=())
    shutil.copy(tuned[0] / "best.keras", folder / "model.keras")
    line = refused(capfd, "export", f"--run={folder}", "--model=classifier", f"--output={tmp_path}/model")
    assert "name 2 classes and the model has 3: give all names in order with --labels=FILE, one a line" in line
    assert os.listdir(tmp_path) == ["run"]


def test_a_file_of_no_run_says_what_it_is_exported_with(files, tmp_path, caplog, asked):
    caplog.set_level("INFO", logger="keras_mae")
    assert export(files, "classifier", "--model=classifier", f"--output={tmp_path}/model") == 0
    (said,) = [record.message for record in caplog.records if "lies in no run's folder" in record.message]
    assert said.endswith(
        "how it was trained: image files keep the bits that they have, the crop ratio is 0.875 (--crop_ratio), and "
        "transparent pixels are white, labels are numbers (--labels)"
    )


@pytest.mark.slow
def test_segmenter(files, tmp_path):
    (tmp_path / "names.txt").write_text("sky\ncat\ndog\n")
    flags = [f"--output={tmp_path}/models/scenes", "--model=segmenter", f"--labels={tmp_path}/names.txt"]
    assert export(files, "segmenter", *flags) == 0
    folder, images = tmp_path / "models" / "scenes" / "1", random_images(2, SHAPE)
    assert (folder / "assets" / "labels.txt").read_text() == "sky\ncat\ndog\n"
    outputs = tf.saved_model.load(str(folder)).signatures["segment"](images=tf.constant(images))
    live = files[1]["segmenter"](images).numpy()
    np.testing.assert_array_equal(outputs["class_map"], live.argmax(axis=-1))


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
            "--model=autoencoder is written as a SavedModel only, not as onnx",
        ),
        ("mae", ["--model=autoencoder", "--normalize"], "--normalize is for --model=encoder; the model is autoencoder"),
        (
            "encoder",
            ["--model=segmenter"],
            "--model=segmenter needs ImageSegmenter, and .*encoder.keras holds ViTEncoder",
        ),
        (
            "segmenter",
            ["--model=segmenter", "--format=onnx"],
            "--model=segmenter is written as a SavedModel only, not as",
        ),
        ("segmenter", ["--model=segmenter", "--crop_ratio=0.5"], "--crop_ratio is for .*; the model is segmenter"),
        ("segmenter", ["--model=segmenter", "--labels=two.txt"], "one label a class is needed: got 2 for 3 classes"),
        ("classifier", ["--model=classifier", "--pooling=cls"], "--pooling is for --model=encoder; the model is class"),
        ("classifier", ["--model=classifier", "--labels=two.txt"], "one label a class is needed: got 2 for 3 classes"),
        ("classifier", ["--model=classifier", "--labels=no.txt"], "--labels: there is no file no.txt"),
        ("encoder", ["--labels=two.txt"], "--labels is for --model=classifier or regressor or segmenter; the model"),
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
