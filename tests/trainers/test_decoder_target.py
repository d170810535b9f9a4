"""A decoder of a file goes on with the target that it was trained on, or starts fresh, or the log says so."""

import json
import logging

import pytest

from keras_mae.checkpoints import convert_checkpoint, save_checkpoint
from keras_mae.checkpoints.decoder_target import target_of
from keras_mae.checkpoints.description import describe_checkpoint
from keras_mae.checkpoints.known_files import has_plain_decoder
from keras_mae.models import MaskedAutoencoder
from keras_mae.targets import PCATarget, PixelTarget
from keras_mae.trainers import recipes
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


def test_published_files_and_recipes():
    for source, plain in {
        "mae_vit_base_full": True, "https://dl.fbaipublicfiles.com/mae/visualize/mae_visualize_vit_large.pth": True,
        "hf://facebook/vit-mae-huge": True, "mae_vit_base": False, "hf://timm/vit_base_patch16_224.mae": False,
    }.items():  # fmt: skip
        assert has_plain_decoder(source) == plain
    assert not recipes.load("simmim_continue").target.normalize_target
