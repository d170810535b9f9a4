"""`keras-mae convert` as a user types it, and the function behind it."""

import json
import os

import keras
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import keras_mae
from keras_mae import cli
from keras_mae.checkpoints import FORMATS, convert_checkpoint
from keras_mae.models import ImageClassifier, ViTEncoder
from tests.base import fill_randomly, run_forked, weights_of
from tests.checkpoints.small import small_classifier, small_encoder, small_mae

SIZES = {"image_shape": (32, 32, 3), "hidden_dim": 16, "num_layers": 1, "num_heads": 2}
PRESET = ["--preset=vit_tiny_patch16", *(f"--set={key}={value}" for key, value in SIZES.items())]


def convert(source, source_format, output, output_format, *flags):
    """The arguments of the program."""
    return [
        "convert",
        f"--checkpoint={source}",
        f"--format={source_format}",
        f"--output={output}",
        f"--output_format={output_format}",
        *flags,
    ]


def refused(capfd, arguments):
    """Runs the program, asserts exit code 2 and one line on stderr, and returns that line."""
    capfd.readouterr()
    assert cli.main(arguments) == 2
    captured = capfd.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == "" and line.startswith("keras-mae convert: ")
    return line


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(**overrides):
    return fill_randomly(ViTEncoder.from_preset("vit_tiny_patch16", **{**SIZES, **overrides}))


def same(model, other):
    for variable, expected in zip(weights_of(model), weights_of(other), strict=True):
        np.testing.assert_array_equal(variable, expected)


@pytest.mark.medium
def test_official_to_ours_to_hugging_face(capfd):
    encoder = small()
    keras_mae.save_checkpoint(encoder, "official.pth", "mae_torch")
    assert cli.main(convert("official.pth", "mae_torch", "ours.keras", "keras", *PRESET)) == 0
    assert capfd.readouterr().out == "wrote ours.keras\n"
    same(keras.saving.load_model("ours.keras"), encoder)
    assert cli.main(convert("ours.keras", "keras", "hf/model.safetensors", "hf")) == 0  # a .keras file needs no preset
    copy = ViTEncoder.from_preset("vit_tiny_patch16", **SIZES)
    keras_mae.load_checkpoint(copy, "hf/model.safetensors", "hf")
    same(copy, encoder)
    assert sorted(os.listdir("hf")) == ["config.json", "model.safetensors"]


def test_it_says_what_it_did(caplog):
    keras_mae.save_checkpoint(small_mae(), "mae.pth", "mae_torch")
    sizes = ["--set=image_shape=(8,12,3)", "--set=patch_size=(4,4)", "--set=num_layers=2", "--set=mlp_dim=24"]
    flags = [*PRESET, *sizes, "--set=position_embedding=learned"]
    assert cli.main(convert("mae.pth", "mae_torch", "encoder.safetensors", "timm", *flags)) == 0
    assert "loaded 30 variables of the ViTEncoder from mae.pth (format mae_torch)" in caplog.text
    assert "not part of a ViTEncoder, so not read: mask_token" in caplog.text
    assert "normalised by mean (0.485, 0.456, 0.406)" in caplog.text and "2 heads" in caplog.text
    assert set(load_file("encoder.safetensors")) == set(torch.load("mae.pth")["model"]) - {
        name for name in torch.load("mae.pth")["model"] if name.startswith(("decoder_", "mask_token"))
    }


def test_a_classifier_and_what_is_skipped():
    classifier = fill_randomly(ImageClassifier.from_preset("vit_tiny_patch16", 3, "cls", **SIZES))
    keras_mae.save_checkpoint(classifier, "a.safetensors", "timm")
    flags = [*PRESET, "--num_classes=3", "--pooling=cls"]
    assert cli.main(convert("a.safetensors", "timm", "b.bin", "hf", *flags)) == 0
    assert json.loads(open("config.json").read())["architectures"] == ["ViTForImageClassification"]
    assert torch.load("b.bin")["classifier.weight"].shape == (3, 16)
    flags = [*PRESET, "--num_classes=7", "--pooling=cls", "--skip=head.*"]
    assert cli.main(convert("a.safetensors", "timm", "c.safetensors", "mae_torch", *flags)) == 0
    assert load_file("c.safetensors")["head.weight"].shape == (7, 16)


@pytest.mark.parametrize(("size", "flag", "grid"), [((64, 64, 3), "square", (4, 4)), ((32, 64, 3), "2x4", (2, 4))])
def test_another_image_size(size, flag, grid):
    source = small(image_shape=size, position_embedding="learned")
    keras_mae.save_checkpoint(source, "a.safetensors", "timm")
    flags = [*PRESET, "--set=position_embedding=learned", f"--resize_positions={flag}"]
    assert cli.main(convert("a.safetensors", "timm", "b.keras", "keras", *flags)) == 0
    expected = keras_mae.layers.resize_position_embedding(np.asarray(source.positions.table), grid, (2, 2), 1)
    np.testing.assert_array_equal(keras.saving.load_model("b.keras").positions.table, expected)


def test_without_a_preset_the_file_says_its_model(capfd, empty_folder):
    mae = small_mae()
    keras_mae.save_checkpoint(mae, "a.pth", "mae_torch")
    assert cli.main(convert("a.pth", "mae_torch", "b.keras", "keras")) == 0
    same(keras.saving.load_model("b.keras"), mae)
    keras_mae.save_checkpoint(small_classifier("cls"), "c.safetensors", "timm")
    flags = ["--num_classes=5", "--pooling=cls"]
    assert cli.main(convert("c.safetensors", "timm", "d.keras", "keras", *flags)) == 0
    same(keras.saving.load_model("d.keras"), small_classifier("cls"))
    save_file(load_file("c.safetensors"), "e.safetensors")  # without what ours say of themselves
    line = refused(capfd, convert("e.safetensors", "timm", "f.keras", "keras", "--skip=head.*"))
    assert "does not tell image_shape and num_heads of its model: name the preset, or set them" in line
    flags = ["--skip=head.*", "--set=image_shape=(8,12,3)", "--set=num_heads=2", "--resize_positions=2x3"]
    assert cli.main(convert("e.safetensors", "timm", "f.keras", "keras", *flags)) == 0
    same(keras.saving.load_model("f.keras"), small_classifier("cls").encoder)


def test_a_file_that_is_there_stays_unless_asked(capfd, empty_folder):
    small_encoder().save("a.keras")
    hf = convert("a.keras", "keras", "model.safetensors", "hf")
    assert cli.main(hf) == 0
    before = (empty_folder / "model.safetensors").read_bytes()
    assert "model.safetensors is there already: choose another output" in refused(capfd, hf)
    os.remove("model.safetensors")
    assert "config.json is there already" in refused(capfd, hf)
    assert cli.main([*hf, "--overwrite"]) == 0
    assert (empty_folder / "model.safetensors").read_bytes() == before
    (empty_folder / "config.json").write_text('{"epochs": 800}')  # a run's
    assert "config.json is one of another kind: save into another folder" in refused(capfd, [*hf, "--overwrite"])
    assert (empty_folder / "config.json").read_text() == '{"epochs": 800}'


def test_a_failed_conversion_leaves_nothing(capfd, monkeypatch, empty_folder):
    small_encoder().save("a.keras")

    def disk_full(tensors, path, *args):
        with open(path, "wb") as file:
            file.write(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", disk_full)
    (empty_folder / "b.safetensors").write_text("what was there")
    line = refused(capfd, convert("a.keras", "keras", "b.safetensors", "timm", "--overwrite"))
    assert "No space left on device" in line
    assert sorted(os.listdir()) == ["a.keras", "b.safetensors"]
    assert (empty_folder / "b.safetensors").read_text() == "what was there"


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        (("a.safetensors", "timm", "b.keras", "keras"), [], "holds a classifier: give num_classes"),
        (("a.keras", "keras", "b.pth", "timm"), ["--skip=head.*"], "to fill another model with it, name a preset"),
        (("a.keras", "keras", "b.pth", "timm"), PRESET[1:], "to fill another model with it, name a preset"),
        (("a.safetensors", "keras", "b.pth", "timm"), [], "format='mae_torch' or format='timm'"),
        (("a.safetensors", "hf", "b.pth", "timm"), PRESET, "a.safetensors is not in the format 'hf'. a.safetensors "),
        (("none.pth", "timm", "b.pth", "timm"), PRESET, "there is no checkpoint file none.pth"),
        (("a.safetensors", "timm", "b.h5", "timm"), PRESET, "is written to .safetensors, .pth, .pt, .bin files, got"),
        (("a.safetensors", "timm", "b.keras", "keras"), ["--preset=vit_tny_patch16"], "did you mean vit_tiny_patch16"),
        (("a.safetensors", "timm", "b.keras", "keras"), ["--preset=vit_tiny_patch16"], "does not fit the ViTEncoder"),
        (("a.safetensors", "timm", "b.keras", "keras"), [*PRESET, "--set=depth=1"], "there is no setting 'depth'"),
        (("a.safetensors", "timm", "b.keras", "keras"), [*PRESET, "--set=num_heads=x"], "num_heads is of type int"),
        (("a.safetensors", "timm", "b.keras", "keras"), [*PRESET, "--resize_positions=2"], "is square or ROWSxCOLUMNS"),
        (("a.safetensors", "pytorch", "b.keras", "keras"), [], "--format=pytorch: value should be one of"),
    ],
)
def test_what_cannot_be_converted(source, flags, message, capfd):
    classifier = small_classifier()
    keras_mae.save_checkpoint(classifier, "a.safetensors", "timm")
    keras_mae.save_checkpoint(classifier, "a.keras", "keras")
    assert message in refused(capfd, convert(*source, *flags))
    assert sorted(os.listdir()) == ["a.keras", "a.safetensors"]


def test_the_program_knows_every_format():
    values = cli.COMMANDS["convert"].make_flags()
    assert list(FORMATS) == values["format"].parser.enum_values == values["output_format"].parser.enum_values


@pytest.mark.medium
def test_in_a_process_of_its_own(empty_folder):
    small_mae().save("mae.keras")
    done = run_forked(
        "-m", "keras_mae", *convert(empty_folder / "mae.keras", "keras", empty_folder / "a.pth", "mae_torch")
    )
    assert (done.returncode, done.stdout) == (0, f"wrote {empty_folder / 'a.pth'}\n"), done.stderr
    keras_mae.load_checkpoint(mae := small_mae(seed=3), "a.pth", "mae_torch")
    same(mae, small_mae())


def test_from_python_a_report_comes_back():
    small_mae().save("model.keras")
    text = convert_checkpoint("model.keras", "keras", "mae.pth", "mae_torch")
    assert "saved 50 variables of the MaskedAutoencoder to mae.pth" in text
    with pytest.raises(ValueError, match="allow its replacement with overwrite"):
        convert_checkpoint("model.keras", "keras", "mae.pth", "mae_torch")
