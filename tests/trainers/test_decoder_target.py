"""A decoder of a file goes on with the target that it was trained on, or starts fresh, or the log says so."""

import json
import logging
import os

import keras
import numpy as np
import pytest

from keras_mae.checkpoints import convert_checkpoint, save_checkpoint
from keras_mae.checkpoints.decoder_target import target_of
from keras_mae.checkpoints.description import describe_checkpoint
from keras_mae.checkpoints.known_files import has_plain_decoder
from keras_mae.models import MAEDecoder, MaskedAutoencoder
from keras_mae.models.saved_files import load_model_file
from keras_mae.targets import PCATarget, PixelTarget, TokenTarget
from keras_mae.trainers import recipes
from keras_mae.trainers.differences import why_fresh
from keras_mae.trainers.first_weights import continued, load_into
from keras_mae.trainers.pretrain import build
from keras_mae.trainers.training_parts import Weights
from tests.base import weights_of
from tests.trainers.initial import QUICK, small_autoencoder


@pytest.fixture(scope="module")
def mae():
    return small_autoencoder()


def config_of(path, *settings, recipe=None):
    return continued(Weights(str(path)), [*QUICK, *settings], recipe)


def is_loaded(model, mae):
    pairs = zip(weights_of(model.decoder), weights_of(mae.decoder), strict=True)
    return all((one == other).all() for one, other in pairs)


@pytest.mark.parametrize("said", [True, False, None])
def test_hugging_face_states_it(mae, tmp_path, caplog, said):
    """A setting that contradicts it makes the decoder fresh."""
    caplog.set_level(logging.INFO, logger="keras_mae")
    save_checkpoint(mae, tmp_path / "model.safetensors", "hf")
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, "norm_pix_loss": said}))
    config = config_of(tmp_path)
    assert config.target.normalize_target == (said is not False)
    load_into(model := build(config), config)
    assert is_loaded(model, mae)
    assert ("does not tell whether its decoder predicts plain pixels" in caplog.text) == (said is None)

    config = config_of(tmp_path, f"normalize_target={said is False}")
    config, _ = load_into(model := build(config), config)
    assert is_loaded(model, mae) == (said is None)
    assert ("(normalize_target); for the first 0.3 epochs it learns alone" in caplog.text) == (said is not None)
    assert config.optimizer.frozen_epochs == pytest.approx(0.0 if said is None else 0.3)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_keras_file_holds_it(mae, tmp_path, normalize):
    """Also one that is converted from Hugging Face's; whatever the recipe."""
    whole = MaskedAutoencoder(mae.encoder, mae.decoder, target=PixelTarget(normalize=normalize))
    whole.save(tmp_path / "saved.keras")
    (tmp_path / "hf").mkdir()
    save_checkpoint(whole, tmp_path / "hf" / "model.safetensors", "hf")
    convert_checkpoint(str(tmp_path / "hf" / "model.safetensors"), "hf", str(tmp_path / "converted.keras"), "keras")
    for name in ("saved.keras", "converted.keras"):
        for recipe in (None, "mae_digits", "mae_vit_base"):
            assert config_of(tmp_path / name, recipe=recipe).target.normalize_target == normalize


def test_a_decoder_of_another_target_is_no_decoder_of_pixels(mae, tmp_path):
    path = str(tmp_path / "pca.keras")
    MaskedAutoencoder(mae.encoder, mae.decoder, target=PCATarget(48)).save(path)
    assert target_of(path, describe_checkpoint(path)) == "PCATarget"
    with pytest.raises(
        ValueError, match=r"no published format has a place for the weights of a PCATarget: save the en"
    ):
        save_checkpoint(load_model_file(path), tmp_path / "pca.safetensors", "mae_torch")


def other_target(kind, tokenizer):
    """A target with weights of its own, which no checkpoint of another library has."""
    if kind == "pca":
        return PCATarget(16)
    if not os.path.exists(tokenizer):
        inputs = keras.Input((16, 16, 3))
        keras.Model(inputs, keras.layers.Conv2D(5, 4, strides=4)(inputs)).export(tokenizer, verbose=False)
    return TokenTarget(tokenizer, vocabulary_size=5)


@pytest.mark.medium
@pytest.mark.parametrize(("kind", "same"), [("pca", False), ("pca", True), ("tokens", False)])
def test_a_run_goes_on_from_the_encoder_of_a_run_with_another_target(mae, tmp_path, kind, same):
    file = MaskedAutoencoder(mae.encoder, MAEDecoder(8, 1, 2), target=other_target(kind, str(tmp_path / "tokenizer")))
    file.save(tmp_path / "file.keras")
    config = config_of(tmp_path / "file.keras", "epochs=3", "warmup_epochs=1")
    model = build(config)
    if same:
        model = MaskedAutoencoder(
            model.encoder, MAEDecoder(8, 1, 2), target=other_target(kind, str(tmp_path / "tokenizer"))
        )
    config, record = load_into(model, config)
    for ours, theirs in zip(weights_of(model.encoder), weights_of(mae.encoder), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert config.optimizer.frozen_epochs == pytest.approx(0.3)
    assert any("decoder" in path for path in record["summary"]["fresh"])
    reason = why_fresh(model, config, describe_checkpoint(str(tmp_path / "file.keras")), type(file.target).__name__)
    name = type(file.target).__name__
    assert reason == f"the file's predicts {name}, and " + (
        "only a decoder of pixels goes on"
        if same
        else "this run the pixels of each patch normalised (normalize_target)"
    )


def test_published_files_and_recipes():
    for source, plain in {
        "mae_vit_base_full": True, "https://dl.fbaipublicfiles.com/mae/visualize/mae_visualize_vit_large.pth": True,
        "hf://facebook/vit-mae-huge": True, "mae_vit_base": False, "hf://timm/vit_base_patch16_224.mae": False,
    }.items():  # fmt: skip
        assert has_plain_decoder(source) == plain
    assert not recipes.load("simmim_continue").target.normalize_target
