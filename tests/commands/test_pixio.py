"""A Pixio as a user types it: from Hugging Face's file through pretraining to vectors, probes and an export."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
import transformers

from keras_mae import cli
from keras_mae.checkpoints import load_checkpoint
from keras_mae.data import evaluation_transform
from keras_mae.encoders.presets import PIXIO_PRESETS
from keras_mae.export import saved_model
from keras_mae.models import MaskedAutoencoder, ViTEncoder
from keras_mae.retrieval import open_vectors
from keras_mae.trainers import recipes
from keras_mae.trainers.config import from_json
from tests.base import random_images
from tests.checkpoints import published
from tests.drawn import drawn
from tests.reference.hf_models import hf_model, our_arguments
from tests.trainers.pretraining import of
from tests.typed import refused

pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("png_and_jpeg")]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}  # float32 in both, in another order of sums
SMALL = ("decoder.hidden_dim=8", "decoder.num_layers=2", "decoder.num_heads=2", "jit_compile=False")
SHORT = ("epochs=2", "warmup_epochs=1", "batch_size=8")
PRESET = "pixio_vit_base_patch16"


def typed(*settings):
    return [f"--set={setting}" for setting in settings]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Hugging Face's model of 4 x 4 patches, its file, and 20 pictures of three classes."""
    folder = tmp_path_factory.mktemp("pixio")
    theirs = hf_model("pixio")
    theirs.save_pretrained(folder / "theirs")
    pictures = np.stack([drawn(20, 24, seed=number) for number in range(20)])
    np.savez(folder / "pictures.npz", images=pictures, labels=np.arange(20) % 3)
    return folder, theirs


@pytest.fixture(scope="module")
def trained(place):
    """The folder of a run of the recipe that began with the file."""
    folder, _ = place
    arguments = ["--recipe=pixio_vit_base", f"--data=npz:{folder}/pictures.npz", f"--output={folder}/run"]
    arguments += [f"--init={folder}/theirs/model.safetensors", *typed(*SMALL, *SHORT, "unit=8")]
    assert cli.main(["pretrain", *arguments]) == 0
    return folder / "run"


def test_a_file_of_hugging_face_fills_the_preset(place, capsys):
    folder, theirs = place
    path, arguments = folder / "theirs" / "model.safetensors", our_arguments("pixio")
    sizes = ("image_shape", "patch_size", "hidden_dim", "num_layers", "num_heads", "mlp_dim")
    own = {name: arguments[name] for name in sizes}
    encoder = ViTEncoder.from_preset(PRESET, **own)  # class tokens and positions are the preset's
    load_checkpoint(encoder, str(path), "hf")
    images = random_images(2, (16, 16, 3))
    with torch.no_grad():
        expected = theirs(published.pixels_for(encoder, images)).last_hidden_state
    np.testing.assert_allclose(np.concatenate(encoder.encode(images), axis=1), expected, **TOLERANCE)

    flags = [f"--checkpoint={path}", "--format=hf", f"--preset={PRESET}"]
    flags += typed(*(f"{name}={value}".replace(" ", "") for name, value in own.items()))
    output = [f"--output={folder}/encoder.keras", "--output_format=keras"]
    assert cli.main(["convert", *flags, *output]) == 0
    assert capsys.readouterr().out == f"wrote {folder}/encoder.keras\n"
    converted = keras.saving.load_model(folder / "encoder.keras")
    np.testing.assert_array_equal(converted.encode(images).prefix, encoder.encode(images).prefix)


def test_the_huge_preset_is_their_default():
    theirs, ours = transformers.PixioConfig(), PIXIO_PRESETS["pixio_vit_huge_patch16"]
    assert ours == {
        "image_shape": (theirs.image_size, theirs.image_size, theirs.num_channels),
        "patch_size": theirs.patch_size,
        "hidden_dim": theirs.hidden_size,
        "num_layers": theirs.num_hidden_layers,
        "num_heads": theirs.num_attention_heads,
        "mlp_dim": theirs.mlp_ratio * theirs.hidden_size,
        "num_cls_tokens": theirs.n_cls_tokens,
        "position_embedding": "learned",
    }
    assert theirs.layer_norm_eps == ViTEncoder.from_preset(PRESET, num_layers=1).layer_norm_epsilon


def test_the_recipe_begins_with_the_file_s_encoder(trained):
    record = json.loads((trained / "config.json").read_text())
    assert record["init"]["format"] == "hf"
    config = from_json(record["config"])
    assert of(config, "num_cls_tokens position_embedding masking unit") == (8, "learned", "units", 8)
    assert of(config, "image_size patch_size decoder.num_layers flip") == ((16, 16), (4, 4), 2, False)
    model = keras.saving.load_model(trained / "model.keras")
    assert isinstance(model, MaskedAutoencoder) and model.encoder.num_prefix_tokens == 8
    assert model.masking.unit_patches == (2, 2) and model.target.normalize
    assert model.decoder.position_embedding == "learned"


def mean_of_class_tokens(trained, images):
    return keras.saving.load_model(trained / "encoder.keras").encode(images).prefix.numpy().mean(axis=1)


def test_its_vectors_are_the_mean_of_the_class_tokens(place, trained):
    """Of `embed` by one flag, and of a probe by itself."""
    folder, _ = place
    begin = [f"--run={trained}", f"--data=npz:{folder}/pictures.npz"]
    assert cli.main(["embed", *begin, f"--output={folder}/vectors.npz", "--pooling=cls"]) == 0
    vectors = open_vectors(f"{folder}/vectors.npz")
    assert (vectors.header["pooling"], vectors.header["crop_ratio"]) == ("cls", 1.0)
    images = np.stack([evaluation_transform(drawn(20, 24, seed=number), (16, 16, 3), 1.0) for number in range(20)])
    np.testing.assert_allclose(vectors.array(), mean_of_class_tokens(trained, images), **TOLERANCE)
    assert recipes.load("probe_vit_base").head.pooling == "cls"


@pytest.mark.slow
def test_its_export_serves_the_mean_of_the_class_tokens(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model, "verify_export", lambda *arguments: {})  # in a fresh process
    assert cli.main(["export", f"--run={trained}", f"--output={tmp_path}/served", "--pooling=cls"]) == 0
    images = np.stack([drawn(16, 16, seed=number) for number in range(3)])
    served = tf.saved_model.load(str(tmp_path / "served" / "1"))
    np.testing.assert_allclose(served(images), mean_of_class_tokens(trained, images), **TOLERANCE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["image_size=(224,224)"], "units of 64 pixels, 4 x 4 patches, do not fill a grid of 14 x 14 patches; choose"),
        (["unit=40"], "a unit is a multiple of the patch's height and of its width, 16 x 16: got 40 pixels"),
        (["mask_ratio=0.99"], "leaves none of the 16 units of 64 pixels visible; the largest that leaves one is 0.93"),
        (["preset=pixio_vit_bse_patch16"], "did you mean pixio_vit_base_patch16"),
    ],
)
def test_what_cannot_be(place, tmp_path, capfd, settings, message):
    data = f"--data=npz:{place[0]}/pictures.npz"
    narrow = ("encoder.hidden_dim=8", "encoder.num_layers=1", "encoder.num_heads=2", "batch_size=8", *SMALL)
    line = refused(
        capfd, "pretrain", "--recipe=pixio_vit_base", data, f"--output={tmp_path}/out", *typed(*narrow, *settings)
    )
    assert message in line
    assert not (tmp_path / "out").exists()
