"""What the command line says to what people type: the setting's name, and the line to type instead."""

import os

import numpy as np
import pytest

from keras_mae import cli
from keras_mae.commands.command import check_output
from keras_mae.data import open_source
from keras_mae.models import ViTEncoder
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.labelled_data import labelled_sources
from keras_mae.trainers.settings import replaced
from tests.drawn import write_pictures
from tests.typed import refused

GIVEN = ["pretrain", "--data=digits", "--output=o"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrian"], "there is no command 'pretrian'; did you mean pretrain? There are: "),
        ([*GIVEN, "--batch_size=32"], "--batch_size is no flag; batch_size is a setting: type --set batch_size=32"),
        ([*GIVEN, "--batch-size=32"], "batch_size is a setting: type --set batch_size=32"),
        ([*GIVEN, "--batch_size", "32"], "type --set batch_size=32"),
        ([*GIVEN, "--lr=1e-3"], "type --set base_learning_rate=1e-3"),
        ([*GIVEN, "--epochs"], "type --set epochs=..."),
        (["finetune", "--data=d", "--output=o", "--layer_decay=0.5"], "type --set layer_decay=0.5"),
        (["knn", "--run=r", "--data=d", "--temperature=0.1"], "type --set temperature=0.1"),
        ([*GIVEN, "--set=lr=1e-3"], "did you mean base_learning_rate? Type --set base_learning_rate=1e-3"),
        ([*GIVEN, "--set", "image_size=64"], "type --set 'encoder.image_size=(64, 64)'"),
        ([*GIVEN, "--set=flip=false"], "data.flip is of type bool, got 'false'; type --set data.flip=False"),
        ([*GIVEN, "--set=jit_compile=YES"], "type --set run.jit_compile=True"),
        ([*GIVEN, "--set=base_learning_rate=nan"], "of type float, got 'nan'; it lies in (0, 1000]"),
        ([*GIVEN, "--set=batch_size=1e2"], "batch_size is of type int, got 100.0; it lies in [1, 16777216]"),
        ([*GIVEN, "--set=lr = 1e-3"], "did you mean base_learning_rate? Type --set base_learning_rate=1e-3"),
        (["pretrain", "--data=photos", "--output=o"], "data is given as digits, folder:PATH"),  # not "757 GB of memory"
        (["finetune", "--data=photos", "--output=o"], "data is given as digits, folder:PATH"),
        ([*GIVEN, "--set=mean=0.5"], "type --set 'encoder.mean=(0.5, 0.5, 0.5)', one for each channel"),
        (["knn", "--run=r", "--data=d", "--set=k=5"], "type --set 'neighbours.k=(5,)', or more of them"),
        (
            [*GIVEN, "--recipe=mae_vit_base", "--set=epochs=3"],
            "got warmup_epochs=40 of epochs=3; type --set warmup_epochs=0.15",
        ),
        ([*GIVEN, "--set=epochs"], "a setting is written key=value, got 'epochs'; such as --set epochs=..."),
        ([*GIVEN, "batch_size=32"], "got 'batch_size=32'; a setting is given as --set batch_size=32"),
        ([*GIVEN, "stats=x"], "got 'stats=x'"),
        (
            [*GIVEN, "--recipe=vit_base"],
            "did you mean mae_vit_base or pixio_vit_base? There are: auto, crossmae_vit_base, mae_cifar",
        ),
        ([*GIVEN, "--recipe="], "--recipe is empty; give it a value, or leave it out"),
        (["pretrain", "--data=", "--output=o"], "--data is empty"),
        (["pretrain", "--data=digits", "--output=o.onnx"], "is a file's name, and a run is a folder; type --output=o"),
        (["pretrain", "--data=folder:x", "--output=./x"], "--output=./x is what --data is read from"),
        (["finetune", "--run=x", "--data=digits", "--output=x/"], "--output=x/ is what --run is read from"),
        (["reconstruct", "--run=x", "--output=a.txt"], "a.txt is not the name of a PNG file; type --output=a.txt.png"),
        (["reconstruct", "--run=x", "--output=."], "is not the name of a PNG file; type --output=./seen.png"),
        (["export", "--run=x", "--output=m.onnx", "--format=litert"], "m.onnx is a file of --format=onnx; got --form"),
        (["export", "--run=x", "--output=m.tflite", "--version=2"], "--version is for a folder of versions"),
        ([*GIVEN, "--\udcff=x"], "Unknown command line flag '\\udcff'"),
        ([*GIVEN, "--set=masking=\udcff"], "no masking is called '\\udcff'"),
    ],
)
def test_answers(capfd, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capfd, *arguments)
    assert os.listdir(tmp_path) == []


def test_data_without_its_kind(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_pictures("xrays", 2)
    np.savez("photos.npz", images=np.arange(2 * 8 * 8 * 3, dtype="uint8").reshape(2, 8, 8, 3))
    for path, typed in (
        ("xrays", "folder:xrays"),
        ("xrays/", "folder:xrays/"),
        ("photos.npz", "npz:photos.npz"),
        ("images-*.tfrecord", "tfrecord:images-*.tfrecord"),
    ):
        with pytest.raises(ValueError, match="data is given as digits, folder:PATH") as caught:
            open_source(path)
        assert str(caught.value).endswith(f"; got {path!r}; type --data={typed}")
    with pytest.raises(ValueError, match=r"got 'nothing'$"):
        open_source("nothing")
    with pytest.raises(ValueError, match=r"got 'xrays'; type --validation_data=folder:xrays$"):
        labelled_sources(replaced(FinetuneConfig(), validation_data="xrays"), "digits")


@pytest.mark.medium
def test_a_files_name_makes_a_file(capfd, tmp_path):
    encoder = ViTEncoder((8, 8, 3), patch_size=4, hidden_dim=16, num_layers=1, num_heads=2)
    encoder.save(tmp_path / "e.keras")
    export = ["export", f"--run={tmp_path}/e.keras", f"--output={tmp_path}/m.tflite"]
    assert cli.main(export) == 0
    assert sorted(os.listdir(tmp_path)) == ["e.keras", "m.tflite"] and os.path.isfile(tmp_path / "m.tflite")
    assert f"{tmp_path}/m.tflite is there already: choose another output" in refused(capfd, *export)


def test_a_run_may_be_called_digits_as_the_built_in_ones_are_no_folder():
    values = cli.COMMANDS["pretrain"].make_flags()
    values(["pretrain", "--data=digits", "--output=digits"])
    check_output(values)
