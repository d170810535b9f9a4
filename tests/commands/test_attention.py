"""An attentive probe as a user types it: trained, exported, drawn; and what is refused where none was trained."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mae import cli
from keras_mae.export import export_encoder, saved_model
from keras_mae.layers import AttentivePooling
from keras_mae.models import ImageClassifier
from keras_mae.models.saved_files import load_model_file
from keras_mae.trainers import linear_probe as program
from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.free_memory import Memory
from keras_mae.trainers.labelled_data import labelled_sources
from keras_mae.trainers.linear_probe import linear_probe
from keras_mae.trainers.settings import replaced
from tests.base import PLANES, fill_randomly, random_images, small_encoder
from tests.trainers.labelled import IMAGE_SHAPE, quick, write_everything
from tests.trainers.test_trained_model import write_run
from tests.typed import refused

ROUND_OFF = 1e-5  # of values of about 1: another order of float32 sums

pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("png_and_jpeg")]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return write_everything(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def trained(given, tmp_path_factory, png_and_jpeg):
    """The folder of a probe that learned from tokens that were computed once."""
    folder = str(tmp_path_factory.mktemp("runs") / "probe")
    settings = ["pooling=attentive", "num_queries=4", "layer=2", "epochs=2", "batch_size=16", "warmup_epochs=1"]
    plain = ["crop_scale=None", "flip=False", "crop_ratio=1.0", "preset=None", "jit_compile=False"]
    flags = [f"--{name}={value}" for name, value in given.items()]
    sets = [f"--set={setting}" for setting in (*settings, *plain)]
    assert cli.main(["linear-probe", *flags, f"--output={folder}", *sets]) == 0
    return folder


@pytest.fixture
def unverified(monkeypatch):
    """Exports without the check in a fresh process, for tests that are not about it."""
    monkeypatch.setattr(saved_model, "verify_export", lambda *arguments: {})


def metadata_of(path):
    with open(os.path.join(path, "assets", "metadata.json")) as file:
        return json.load(file)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a probe whose weights are random numbers, on images of two channels; and the probe."""
    folder = tmp_path_factory.mktemp("runs") / "planes"
    np.savez(folder.parent / "planes.npz", images=random_images(4, PLANES))
    config = replaced(ProbeConfig(), pooling="attentive", num_queries=4, layer=1, crop_ratio=1.0)
    write_run(folder, config, {"dtype": "uint8"}, files=(), data=f"npz:{folder.parent}/planes.npz")
    encoder = small_encoder(PLANES, num_layers=2)
    probe = fill_randomly(ImageClassifier(encoder, 3, "attentive", 0, layer=1, num_queries=4))
    probe.save(folder / "model.keras")
    encoder.save(folder / "encoder.keras")
    return str(folder), probe


def test_an_export_gives_the_pooled_vector_by_default(run, tmp_path, unverified):
    folder, probe = run
    assert cli.main(["export", f"--run={folder}", f"--output={tmp_path}/model"]) == 0
    path, images = f"{tmp_path}/model/1", random_images(5, PLANES)
    loaded = tf.saved_model.load(path)
    found = loaded.signatures["embed"](images=tf.constant(images))["embedding"]
    np.testing.assert_allclose(found, probe.attentive(probe.features(images)), atol=ROUND_OFF)
    said = metadata_of(path)
    assert (said["pooling"], said["num_queries"], said["layer"]) == ("attentive", 4, 1)
    assert said["parameters"] == probe.encoder.count_params() + 4 * 16 + 16 * 16
    assert len(loaded.variables) == len(probe.encoder.weights) + 2


@pytest.mark.slow
def test_a_trained_probe_survives_export_and_serves(trained, tmp_path):
    """Image files too, each export checked in a fresh process; --model=classifier, another pooling, and ONNX."""
    probe = load_model_file(os.path.join(trained, "model.keras"))
    assert (probe.pooling, probe.num_queries, probe.layer, probe.is_probe) == ("attentive", 4, 2, True)
    assert cli.main(["export", f"--run={trained}", f"--output={tmp_path}/model"]) == 0
    images, loaded = random_images(5, IMAGE_SHAPE), tf.saved_model.load(f"{tmp_path}/model/1")
    files = tf.stack([tf.io.encode_png(image) for image in images])
    found = loaded.signatures["serving_default"](image_bytes=files)["embedding"]
    np.testing.assert_allclose(found, probe.attentive(probe.features(images)), atol=ROUND_OFF)
    assert cli.main(["export", f"--run={trained}", f"--output={tmp_path}/classes", "--model=classifier"]) == 0
    found = tf.saved_model.load(f"{tmp_path}/classes/1").signatures["classify"](images=tf.constant(images))["logits"]
    np.testing.assert_allclose(found, probe(images), atol=ROUND_OFF * np.abs(probe(images)).max())
    assert cli.main(["export", f"--run={trained}", f"--output={tmp_path}/mean", "--pooling=mean"]) == 0
    assert metadata_of(f"{tmp_path}/mean/1")["pooling"] == "mean"
    assert cli.main(["export", f"--run={trained}", f"--output={tmp_path}/probe.onnx"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("format", ["savedmodel", "onnx", "litert"])
@pytest.mark.parametrize("layer", [None, 1])
def test_exports_of_every_format_are_verified(tmp_path, format, layer):
    probe = fill_randomly(ImageClassifier(small_encoder(PLANES, num_layers=2), 3, "attentive", 0, num_queries=4))
    path = export_encoder(
        probe.encoder, str(tmp_path / "model"), pooling=probe.attentive, layer=layer, format=format, normalize=True
    )
    assert os.path.isdir(path)


def test_an_export_without_trained_weights_is_refused(tmp_path):
    encoder = small_encoder()
    with pytest.raises(ValueError, match="a width of 16 has no weights yet: take .attentive of a trained"):
        export_encoder(encoder, str(tmp_path / "model"), pooling=AttentivePooling(4))
    wide = AttentivePooling(4)
    wide.build((None, None, 24))
    with pytest.raises(ValueError, match="a width of 16 is for a width of 24"):
        export_encoder(encoder, str(tmp_path / "model"), pooling=wide)
    with pytest.raises(ValueError, match="attentive pooling has weights, which a probe or fine-tuning trains"):
        export_encoder(encoder, str(tmp_path / "model"), pooling="attentive")
    assert os.listdir(tmp_path) == []


def test_tokens_are_computed_once_if_they_fit(given, monkeypatch, caplog):
    """Else the encoder runs on every batch; the log says which. Both give the same steps, as the model's tests show."""
    caplog.set_level("INFO", logger="keras_mae")
    config = quick(ProbeConfig, given, pooling="attentive", num_queries=4)
    probe, labelled = program.build(config, 6), labelled_sources(config, given["data"])
    once = program.prepared(probe, config, labelled.train, labelled.validation)
    assert once.training.image_shape == (4, 16) and once.validation.element_spec[0].shape == (None, 4, 16)
    assert "patch tokens of 48 and 24 images, once" in caplog.text
    monkeypatch.setattr(program, "memory_of_processor", lambda: Memory(3 * 4 * 72 * 4 * 16 - 1, "this machine"))
    every = program.prepared(probe, config, labelled.train, labelled.validation)
    assert every.training.image_shape == IMAGE_SHAPE
    assert "the patch tokens of 72 images are 1 MB, and this machine has 1 MB free: the encoder runs on" in caplog.text


def test_pictures(run, tmp_path, capfd):
    """A sheet in a PNG; a folder of all maps; neither is overwritten without a word."""
    command = ["attention", f"--run={run[0]}", "--count=3"]
    assert cli.main([*command, f"--output={tmp_path}/new/sheet.png"]) == 0
    assert capfd.readouterr().out == f"wrote {tmp_path}/new/sheet.png\n"
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.width == (2 + 1 + 4) * (12 * 14 + 4) - 4 + 16
    line = refused(capfd, *command, f"--output={tmp_path}/new/sheet.png")
    assert line.endswith("sheet.png is there already: choose another output, or replace it with --overwrite")
    folder = ["--count=2", f"--output={tmp_path}/maps"]
    assert cli.main([*command, *folder]) == 0
    assert sorted(os.listdir(tmp_path / "maps")) == ["image_0.png", "image_1.png"]
    assert "maps is there already" in refused(capfd, *command, *folder)
    assert cli.main([*command, "--count=1", f"--output={tmp_path}/maps", "--overwrite"]) == 0
    assert os.listdir(tmp_path / "maps") == ["image_0.png"]
    assert sorted(os.listdir(tmp_path)) == ["maps", "new"]
    (tmp_path / "maps" / "notes.txt").write_text("mine")
    line = refused(capfd, *command, f"--output={tmp_path}/maps", "--overwrite")
    assert "holds other files than pictures" in line


def test_pictures_of_an_encoder(given, tmp_path):
    """The class token's, without a probe; the images come from --data."""
    command = ["attention", f"--run={given['run']}", f"--data={given['data']}", f"--output={tmp_path}/x.png"]
    assert cli.main(command) == 0
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.width == (2 + 1 + 2) * (8 * 14 + 4) - 4 + 16


def test_a_run_whose_pooling_is_gone(run, tmp_path, capfd):
    """A copy of the encoder alone, beside the config of a run with attentive pooling; or of another encoder."""
    for name in ("config.json", "encoder.keras"):
        os.makedirs(tmp_path / "run", exist_ok=True)
        os.link(os.path.join(run[0], name), tmp_path / "run" / name)
    line = refused(capfd, "export", f"--run={tmp_path}/run/encoder.keras", f"--output={tmp_path}/model")
    assert "encoder.keras lies in a run with attentive pooling, and has none: name the folder of the run" in line
    os.link(os.path.join(run[0], "model.keras"), tmp_path / "run" / "model.keras")
    os.link(os.path.join(run[0], "encoder.keras"), tmp_path / "run" / "kept.keras")
    line = refused(capfd, "export", f"--run={tmp_path}/run/kept.keras", f"--output={tmp_path}/model")
    assert "kept.keras lies in a run with attentive pooling, and has none" in line


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["knn", "--data=digits", "--set=pooling=attentive"],
            "knn: kNN trains nothing, and attentive pooling has weights to be trained: take pooling=mean or cls, or tr",
        ),
        (
            ["linear-probe", "--data=digits", "--output=x", "--set=num_queries=8"],
            "linear-probe: num_queries is for pooling=attentive; the pooling is cls; type --set pooling=attentive, too",
        ),
        (
            ["export", "--output=x", "--pooling=attentive"],
            "encoder.keras has no attentive pooling: its weights are trained with labels; train a probe by keras-mae l",
        ),
        (
            ["attention", "--output=x.jpg"],
            "attention: --output=x.jpg is neither a PNG file nor a folder: type --output",
        ),
        (["attention", "--output=x.png"], "attention: "),
    ],
)
def test_refusals(given, tmp_path, monkeypatch, capfd, command, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capfd, command[0], f"--run={given['run']}", *command[1:])
    assert os.listdir(tmp_path) == []


def test_published_weights_have_no_pooling(capfd, tmp_path):
    line = refused(capfd, "export", "--init=mae_vit_base", f"--output={tmp_path}/x", "--pooling=attentive")
    assert "--init=mae_vit_base has no attentive pooling: its weights are trained with labels" in line
    assert "needs --run or --init; see keras-mae attention --help" in refused(capfd, "attention", "--output=x.png")


def test_a_probe_of_more_queries_than_fit(given, tmp_path):
    config = replaced(quick(ProbeConfig, given), pooling="attentive")
    with pytest.raises(ValueError, match="num_queries must divide 16, got 32; 2, 4, 8, 16 do"):
        linear_probe(config, given["data"], str(tmp_path / "run"))
