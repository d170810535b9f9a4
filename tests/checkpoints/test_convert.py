"""From one format to another in one call."""

import keras
import numpy as np
import pytest

import keras_mae
from keras_mae.checkpoints import convert_checkpoint
from keras_mae.models import ImageClassifier, ViTEncoder
from tests.base import fill_randomly, weights_of
from tests.checkpoints.small import small_classifier, small_mae

SIZES = {"image_shape": (32, 32, 3), "hidden_dim": 16, "num_layers": 1, "num_heads": 2}


def test_by_preset_to_keras_and_on(tmp_path):
    encoder = fill_randomly(ViTEncoder.from_preset("vit_tiny_patch16", **SIZES))
    paths = [str(tmp_path / name) for name in ("a.pth", "b.keras", "c.safetensors")]
    keras_mae.save_checkpoint(encoder, paths[0], "mae_torch")
    text = convert_checkpoint(paths[0], "mae_torch", paths[1], "keras", preset="vit_tiny_patch16", **SIZES)
    assert "loaded 18 variables of the ViTEncoder" in text and "saved 18 variables" in text
    assert "saved 18 variables" in convert_checkpoint(
        paths[1], "keras", paths[2], "hf"
    )  # a .keras file says what it is
    keras_mae.load_checkpoint(other := ViTEncoder.from_preset("vit_tiny_patch16", **SIZES), paths[2], "hf")
    for again in (keras.saving.load_model(paths[1]), other):
        for variable, expected in zip(weights_of(again), weights_of(encoder), strict=True):
            np.testing.assert_array_equal(variable, expected)


def test_a_classifier(tmp_path):
    classifier = fill_randomly(ImageClassifier.from_preset("vit_tiny_patch16", 3, "cls", **SIZES))
    keras_mae.save_checkpoint(classifier, str(tmp_path / "a.safetensors"), "timm")
    options = {"preset": "vit_tiny_patch16", "num_classes": 3, "pooling": "cls", **SIZES}
    convert_checkpoint(str(tmp_path / "a.safetensors"), "timm", str(tmp_path / "b.bin"), "hf", **options)
    assert (tmp_path / "b.bin").exists() and (tmp_path / "config.json").exists()


def test_a_mae_of_ours_for_a_colleague(tmp_path):
    small_mae().save(tmp_path / "model.keras")
    convert_checkpoint(str(tmp_path / "model.keras"), "keras", str(tmp_path / "mae.pth"), "mae_torch")
    mae = small_mae(seed=3)
    keras_mae.load_checkpoint(mae, str(tmp_path / "mae.pth"), "mae_torch")
    np.testing.assert_array_equal(mae.decoder.mask_token, small_mae().decoder.mask_token)


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        (("a.safetensors", "timm", "b.keras", "keras"), {}, "name the preset"),
        (("a.keras", "keras", "b.pth", "timm"), {"skip": ("head.*",)}, "name a preset"),
        (("a.safetensors", "keras", "b.pth", "timm"), {}, "format='mae_torch' or format='timm'"),
        (("a.safetensors", "timm", "b.keras", "tensorflow"), {"preset": "vit_tiny_patch16"}, "format is one of"),
        (("a.safetensors", "timm", "b.keras", "keras"), {"preset": "vit_tny_patch16"}, "did you mean vit_tiny_patch16"),
    ],
)
def test_what_cannot_be_converted(arguments, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras_mae.save_checkpoint(small_classifier(), "a.safetensors", "timm")
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(*arguments, **options)
    assert not (tmp_path / arguments[2]).exists()
