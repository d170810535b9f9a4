"""KerasHub's own models with random weights, against the encoder made of them, and back."""

import importlib

import numpy as np
import pytest

from keras_mae.checkpoints import convert_checkpoint, from_keras_hub, load_encoder, to_keras_hub
from tests.base import fill_randomly, random_images
from tests.checkpoints.small import small_encoder

pytestmark = pytest.mark.medium
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16}
SQUARE = {**SIZES, "patch_size": 4, "image_shape": (12, 12, 3), "intermediate_dim": 24}
DINOV2 = {**SQUARE, "position_embedding_shape": (12, 12, 3)}
BACKBONES = {
    "vit": ("ViTBackbone", {**SIZES, "patch_size": 4, "image_shape": (8, 12, 3), "mlp_dim": 24}),
    "vit, no class token, wide patches": (
        "ViTBackbone",
        {**SIZES, "patch_size": (4, 2), "image_shape": (8, 12, 2), "mlp_dim": 24, "use_class_token": False},
    ),
    "vit without biases": (
        "ViTBackbone",
        {
            **SIZES,
            **{"patch_size": 4, "image_shape": (8, 12, 3), "mlp_dim": 24, "layer_norm_epsilon": 1e-5},
            **{"use_mha_bias": False, "use_mlp_bias": False, "use_patch_bias": False},
        },
    ),
    "dinov2": ("DINOV2Backbone", DINOV2),
    "dinov2, registers, gated, no mask token": (
        "DINOV2Backbone",
        {**DINOV2, "num_register_tokens": 3, "use_swiglu_ffn": True, "use_mask_token": False},
    ),
    "dinov2 at another size": ("DINOV2Backbone", {**DINOV2, "position_embedding_shape": (20, 20, 3)}),
    "dinov3": ("DINOV3Backbone", {**SQUARE, "use_key_bias": False}),
    "dinov3, gated, wide": (
        "DINOV3Backbone",
        {
            **SQUARE,
            **{"image_shape": (8, 16, 3), "num_register_tokens": 0, "rope_theta": 50.0, "layer_norm_eps": 1e-6},
            **{"use_gated_mlp": True, "hidden_activation": "silu", "use_proj_bias": False, "use_mlp_bias": False},
        },
    ),
}


def output(backbone, encoder, images):
    """The backbone's tokens of images in [0, 255]."""
    pixels = encoder.normalize_pixels
    normalised = ((images / 255.0 - np.array(pixels.mean)) / np.array(pixels.std)).astype("float32")
    name = next(iter(backbone.input)) if isinstance(backbone.input, dict) else None
    return np.asarray(backbone(normalised if name is None else {name: normalised}))


def assert_same(backbone, encoder, seed=3):
    images = random_images(2, encoder.image_shape, seed)
    theirs, ours = output(backbone, encoder, images), encoder.encode(images)
    tokens = np.concatenate([ours.prefix, ours.patches], axis=1)
    np.testing.assert_allclose(tokens, theirs, atol=1e-5)  # sums in another order


def made(kind):
    name, arguments = BACKBONES[kind]
    return fill_randomly(getattr(importlib.import_module("keras_hub").models, name)(**arguments))


QUICK = ("vit", "dinov2, registers, gated, no mask token", "dinov2 at another size", "dinov3")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in QUICK else [pytest.mark.slow]) for kind in BACKBONES]
)
def test_a_backbone_becomes_an_encoder_that_becomes_that_backbone(kind):
    backbone = made(kind)
    encoder = from_keras_hub(backbone)
    assert_same(backbone, encoder)
    back = to_keras_hub(encoder)
    assert type(back) is type(backbone)
    assert_same(back, encoder)
    again = {slot.name: slot.value for slot in from_keras_hub(back).slots()}
    for slot in encoder.slots():
        np.testing.assert_array_equal(again.pop(slot.name), slot.value, err_msg=slot.name)
    assert all(name.endswith(".bias") and not value.any() for name, value in again.items())  # left out, or zeros


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_prefix_positions": 0, "position_embedding": "learned"},
        {"num_cls_tokens": 0, "qkv_bias": False},
        {"num_registers": 2, "image_shape": (8, 8, 3), "layer_norm_epsilon": 1e-6},
        {"layer_scale": 0.1, "image_shape": (8, 8, 1), "key_bias": False},
        {"rotary_temperature": 100.0, "position_embedding": None, "gated_mlp": True, "qkv_bias": False},
    ],
    ids=str,
)
def test_an_encoder_of_ours_becomes_a_backbone(arguments):
    encoder = small_encoder(**arguments)
    assert_same(to_keras_hub(encoder), encoder)


def test_a_preset_on_disk_with_its_statistics(tmp_path):
    keras_hub = importlib.import_module("keras_hub")  # takes seconds, and not at collection
    backbone = made("dinov2")
    backbone.embeddings.position_embeddings.assign(backbone.embeddings.interpolated_position_embeddings)
    backbone.save_to_preset(str(tmp_path))
    assert from_keras_hub(tmp_path).normalize_pixels.mean == (0.485, 0.456, 0.406)
    mean, std = np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.3, 0.4])
    converter = keras_hub.layers.DINOV2ImageConverter(
        image_size=(12, 12), scale=tuple(1 / 255 / std), offset=tuple(-mean / std)
    )
    converter.save_to_preset(str(tmp_path))
    encoder = from_keras_hub(str(tmp_path))
    np.testing.assert_allclose(encoder.normalize_pixels.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(encoder.normalize_pixels.std, std, rtol=1e-6)
    assert_same(backbone, encoder)
    for source in (tmp_path, tmp_path / "model.weights.h5"):
        loaded, report = load_encoder(source, dtype="float32")
        assert report.format == "keras" and loaded.normalize_pixels.mean == encoder.normalize_pixels.mean
        assert_same(backbone, loaded)
    converted = convert_checkpoint(str(tmp_path), "keras", str(tmp_path / "encoder.safetensors"), "timm")
    assert "saved" in converted
    assert_same(backbone, load_encoder(tmp_path / "encoder.safetensors", format="timm")[0])
    written = tmp_path / "written"
    to_keras_hub(encoder).save_to_preset(str(written))  # KerasHub saves another table than it computes with
    assert_same(backbone, from_keras_hub(str(written), mean=tuple(mean), std=tuple(std)))


def test_what_keras_hub_cannot_hold_is_named():
    refused = {
        "norms of queries and keys": {"qk_norm": True},
        "a norm before the first block": {"pre_norm": True},
        "8 class tokens": {"num_cls_tokens": 8},
        "relative positions": {"relative_position_bias": "shared"},
        "no absolute positions": {"position_embedding": None},
        "images that are not square": {"layer_scale": 1.0},
        "layer_norm_epsilon=1e-05": {"layer_scale": 1.0, "image_shape": (8, 8, 3), "layer_norm_epsilon": 1e-5},
        "mlp_dim=20": {"gated_mlp": True, "mlp_dim": 20, "image_shape": (8, 8, 3)},
        "positions of register tokens": {"num_registers": 2, "num_prefix_positions": 3, "image_shape": (8, 8, 3)},
        "patches that are not square": {"num_registers": 1, "image_shape": (8, 8, 3), "patch_size": (4, 2)},
        "no class token": {"rotary_temperature": 100.0, "num_cls_tokens": 0, "position_embedding": None},
        "absolute positions": {"rotary_temperature": 100.0},
    }
    for what, arguments in refused.items():
        with pytest.raises(ValueError, match=what):
            to_keras_hub(small_encoder(**arguments))


def test_other_models_and_presets_are_refused(tmp_path):
    keras_hub = importlib.import_module("keras_hub")  # takes seconds, and not at collection
    with pytest.raises(ValueError, match="ViTBackbone, DINOV2Backbone, DINOV3Backbone; got a ViTEncoder"):
        from_keras_hub(small_encoder())
    with pytest.raises(ValueError, match="KerasHub cannot open the preset"):
        from_keras_hub(str(tmp_path / "absent"))
    gelu = keras_hub.models.DINOV3Backbone(**{**SQUARE, "use_gated_mlp": True})
    with pytest.raises(ValueError, match="'silu'; the DINOV3Backbone's is 'gelu'"):
        from_keras_hub(gelu)
