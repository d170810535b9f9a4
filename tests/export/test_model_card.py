"""Folders of weights with a card: other libraries load them by the card's lines, and compute the same."""

import logging
import os
import re

import numpy as np
import pytest
import torch

from keras_mae.checkpoints.licences import licence_beside, licence_inside
from keras_mae.export import weights_folder
from keras_mae.export.loading_lines import HERE, for_repository
from keras_mae.export.model_card import ModelCard
from keras_mae.export.timm_config import timm_config
from keras_mae.export.weights_folder import write_weights
from keras_mae.models import ImageClassifier
from tests.base import fill_randomly, small_encoder
from tests.reference import torchvision_operators  # noqa: F401  timm needs it

SQUARE = {"image_shape": (16, 16, 3), "mlp_dim": 25}


def card(**changes):
    """A card that says little."""
    facts = {
        "name": "name",
        "summary": "A model.",
        "method": "mae",
        "licence": "apache-2.0",
        "origin": "Ours.",
        "data": {"source": "`digits`"},
        "recipe": {"epochs": "3"},
        "command": "keras-mae pretrain",
        "quality": [("top-1 (knn, 10 images of `a|b`)", "50.0 %")],
        "curve": "loss.png",
        "pictures": ["epoch_0003.png"],
        "versions": {"keras_mae": "0.1.0"},
    }
    return ModelCard(**{**facts, **changes})


def blocks(text):
    """The lines for each library in a card."""
    return dict(re.findall(r"In (\w+):\n\n```python\n(.*?)```", text, re.DOTALL))


def executed(text):
    """What the lines of a card give, by library; all of them see the same images, every pixel of which differs."""
    found, space = {}, {}
    for library, lines in blocks(text).items():
        exec(lines, space)  # noqa: S102
        output = space.pop("logits", None) if "logits" in space else space.pop("features")
        if isinstance(output, dict):
            output = np.concatenate([output["cls_token"][:, None], output["patch_tokens"]], axis=1)
        found[library] = output.numpy() if isinstance(output, torch.Tensor) else np.asarray(output)
    return found, space["images"]


def cases():
    yield "plain", "hf", "vit", lambda: small_encoder(**SQUARE)
    yield "not square", "hf", "vit", lambda: small_encoder((8, 12, 2), layer_norm_epsilon=1e-6)
    yield "gains", "timm", "vit", lambda: small_encoder(**SQUARE, layer_scale=0.1)
    yield "no class token", "timm", "vit", lambda: small_encoder(**SQUARE, **NO_CLASS_TOKEN)
    yield "no positions", "timm", "vit", lambda: small_encoder(**SQUARE, position_embedding=None)
    yield "classifier", "timm", "logits", lambda: classifier("mean")
    yield "classifier of the class token", "hf", "logits", lambda: classifier("cls")
    yield "other epsilon", "hf", "vit", lambda: small_encoder(**SQUARE, layer_norm_epsilon=1e-5)
    yield "an epsilon of transformers", "hf", "vit", lambda: small_encoder(**SQUARE, layer_norm_epsilon=1e-12)
    for name, (format, arguments) in KINDS.items():
        yield name, format, "vit", lambda arguments=arguments: of_kind(arguments)


def of_kind(arguments):
    """An encoder, in whose random weights a key's bias that stays zero in training is zero."""
    encoder = small_encoder((16, 16, 3), **arguments)
    for weight in encoder.weights if not encoder.key_bias else ():
        if weight.path.endswith("qkv/bias"):
            third = weight.shape[0] // 3
            weight.assign(np.where(np.arange(3 * third) // third == 1, 0, weight))
    return encoder


_ROTARY = {"position_embedding": None, "rotary_temperature": 100.0, "layer_scale": 1.0, "layer_norm_epsilon": 1e-5}
_DINOV2 = {"mlp_dim": 64, "layer_scale": 1.0}
KINDS = {  # of published encoders: the format of the file, and arguments
    "dinov2": ("hf", {**_DINOV2, "position_embedding": "learned"}),
    "dinov2 with registers": ("hf", {**_DINOV2, "num_registers": 2, "position_embedding": "learned"}),
    "timm's registers": ("timm", {**_DINOV2, "num_registers": 2, "num_prefix_positions": 0}),
    "registers with positions": ("timm", {"num_registers": 2, "num_prefix_positions": 3}),
    "gated": ("timm", {"gated_mlp": True, "layer_scale": 0.5, "mlp_dim": 23}),
    "qk_norm": ("timm", {"qk_norm": True}),
    "pre_norm": ("timm", {"pre_norm": True, "layer_norm_epsilon": 1e-5}),
    "no bias": ("hf", {"qkv_bias": False}),
    "dinov3": ("hf", {**_ROTARY, "num_registers": 4, "key_bias": False}),
    "dinov3 plus": ("hf", {**_ROTARY, "num_registers": 4, "key_bias": False, "gated_mlp": True}),
    "pixio": ("hf", {"num_cls_tokens": 3, "mlp_dim": 64, "position_embedding": "learned"}),
}
_NOT_IN_TIMM = {"an epsilon of transformers", "dinov2 with registers", "pixio"}


NO_CLASS_TOKEN = {"num_cls_tokens": 0}


def classifier(pooling, **arguments):
    return fill_randomly(ImageClassifier(small_encoder(**SQUARE), 3, pooling, **arguments), seed=2)


_IN_EVERY_RUN = ("plain", "gains", "classifier", "classifier of the class token", "timm's registers", "dinov3")
_PARAMETERS = [
    pytest.param(*case, id=case[0], marks=() if case[0] in _IN_EVERY_RUN else pytest.mark.slow) for case in cases()
]


@pytest.mark.medium
@pytest.mark.parametrize(("name", "format", "kind", "make"), _PARAMETERS)
def test_the_lines_of_a_card_compute_what_the_model_does(name, format, kind, make, tmp_path, monkeypatch):
    model = make()
    weights = write_weights(model, str(tmp_path), "cc-by-nc-4.0", ["ash", "oak", "yew"] if kind == "logits" else [])
    assert weights.format == format
    text = card(pixel_dtype="uint8").text(weights)
    assert text.startswith(
        f"---\nlicense: apache-2.0\nlibrary_name: {'timm' if format == 'timm' else 'transformers'}\n"
    )
    monkeypatch.chdir(tmp_path)
    found, images = executed(text)
    assert set(found) == {"Keras", "timm", "transformers"} - ({"timm"} if name in _NOT_IN_TIMM else set())
    for library, values in found.items():
        if kind == "logits":
            expected = model(images)
        elif library == "Keras":
            expected = features_of(model, images)
        else:
            expected = np.concatenate(model.encode(images), axis=1)  # with all prefix tokens
        np.testing.assert_allclose(values, expected, atol=1e-5, err_msg=library)
    for name in {weights.file, weights.timm_file} - {None}:
        assert licence_inside(str(tmp_path / name)) == "cc-by-nc-4.0"


def features_of(encoder, images):
    """The class token, and then the patches."""
    features = encoder(images)
    return np.concatenate([features["cls_token"][:, None], features["patch_tokens"]], axis=1)


@pytest.mark.medium
def test_images_of_16_bits(tmp_path, monkeypatch):
    model = small_encoder((16, 16, 1), mean=(0.4,), std=(0.2,))
    weights = write_weights(model, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found, images = executed(card(pixel_dtype="uint16").text(weights))
    assert images.dtype == "uint16" and images.max() > 255
    for library in ("timm", "transformers"):
        np.testing.assert_allclose(found[library], found["Keras"], atol=1e-5)


@pytest.mark.parametrize("kind", ["relative positions", "probe", "both"])
def test_what_other_libraries_do_not_have(kind, tmp_path, monkeypatch):
    if kind == "relative positions":
        model = small_encoder(**SQUARE, position_embedding=None, relative_position_bias="shared")
    elif kind == "probe":
        model = classifier("mean", num_trainable_layers=0)
    else:
        model = classifier("both")
    weights = write_weights(model, str(tmp_path))
    encoder = getattr(model, "encoder", model)
    assert weights.model is encoder and weights.format == ("simmim_torch" if kind == "relative positions" else "hf")
    monkeypatch.chdir(tmp_path)
    found, images = executed(card().text(weights))
    assert set(found) == ({"Keras"} if kind == "relative positions" else {"Keras", "timm", "transformers"})
    np.testing.assert_allclose(found["Keras"], features_of(encoder, images), atol=1e-6)


def test_an_encoder_of_ones_own(tmp_path, monkeypatch):
    from tests.toys import ConvEncoder

    model = fill_randomly(ConvEncoder((8, 12, 3)))
    weights = write_weights(model, str(tmp_path), "mit")
    assert (weights.file, weights.config) == ("encoder.keras", {}) and os.listdir(tmp_path) == ["encoder.keras"]
    assert licence_inside(str(tmp_path / "encoder.keras")) == "mit"
    monkeypatch.chdir(tmp_path)
    text = card().text(weights)
    found, images = executed(text)
    assert set(found) == {"Keras"} and "library_name: keras\n" in text
    np.testing.assert_allclose(found["Keras"][:, 1:], model(images)["patch_tokens"], atol=1e-6)


def test_the_front_matter_and_the_sections(tmp_path):
    weights = write_weights(small_encoder(**SQUARE), str(tmp_path))
    readme = tmp_path / "README.md"
    for licence, stated in (("mit", "mit"), ("dinov3-license", "dinov3-license"), (None, "other")):
        readme.write_text(card(licence=licence).text(weights))
        assert licence_beside(str(tmp_path / "model.safetensors")) == stated
        assert (f"license: {licence}" if licence == "mit" else "license: other") in readme.read_text()
    text = card(licence="cc-by-nc-4.0").text(weights)
    assert "cc-by-nc-4.0, which excludes commercial use. Ours." in text
    assert "![Loss by epoch](loss.png)" in text and "](epoch_0003.png)" in text
    assert r"| top-1 (knn, 10 images of `a\|b`) | 50.0 % |" in text
    assert "Nothing was measured" in card(quality=[]).text(weights)
    assert "## Training" not in card(curve=None, pictures=[]).text(weights)


def test_lines_for_a_repository(tmp_path):
    text = for_repository(card().text(write_weights(small_encoder(**SQUARE), str(tmp_path))), "me/it")
    assert HERE not in text
    assert 'load_checkpoint(encoder, "hf://me/it", "hf")' in text
    assert 'timm.create_model("hf-hub:me/it", pretrained=True)' in text
    assert 'ViTModel.from_pretrained("me/it", add_pooling_layer=False)' in text
    for model in (small_encoder(**SQUARE, layer_scale=0.1), classifier("mean")):
        folder = tmp_path / type(model).__name__
        folder.mkdir()
        text = for_repository(card().text(write_weights(model, str(folder))), "me/it")
        assert '"."' not in text and "local-dir" not in text and text.count("me/it") == 3


@pytest.mark.parametrize(("width", "mlp"), [(16, 24), (16, 25), (24, 55), (49, 3), (7, 13)])
def test_the_ratio_of_the_mlp_is_exact(width, mlp):
    config = timm_config(
        small_encoder(
            **{**SQUARE, "hidden_dim": width, "mlp_dim": mlp, "num_heads": 1, "position_embedding": "learned"}
        )
    )
    assert int(width * config["model_args"]["mlp_ratio"]) == mlp


def test_the_log_is_not_silenced_meanwhile(tmp_path, monkeypatch, caplog):
    """Nor does it name files that get another place afterwards."""
    levels, write = [], weights_folder.write_checkpoint
    log = logging.getLogger("keras_mae")

    def noted(*arguments):
        levels.append(log.level)
        return write(*arguments)

    monkeypatch.setattr(weights_folder, "write_checkpoint", noted)
    with caplog.at_level(logging.INFO, "keras_mae"):
        write_weights(small_encoder(), str(tmp_path))
    assert set(levels) == {logging.INFO} and not caplog.messages
