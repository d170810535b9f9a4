"""Each remedy in an error message is followed, until the file loads and computes what its own model computes."""

import ast
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_mae
from tests.base import random_images
from tests.checkpoints.small import vit_encoder

_SIZES = {"image_shape": (8, 8, 3), "patch_size": (4, 4), "hidden_dim": 16, "num_layers": 1, "num_heads": 2}
_SIZES |= {"mlp_dim": 32, "position_embedding": "learned"}
_ROTARY = {"position_embedding": None, "rotary_temperature": 100.0, "num_registers": 4, "layer_scale": 1.0}
KINDS = {
    "vit": {},
    "no class token": {"num_cls_tokens": 0},
    "no_embed_class": {"num_prefix_positions": 0},
    "no bias": {"qkv_bias": False},
    "dinov2": {"layer_scale": 1.0},
    "registers": {"num_registers": 4, "num_prefix_positions": 0},
    "registers with positions": {"num_registers": 4, "num_prefix_positions": 5},
    "gated": {"gated_mlp": True},
    "qk_norm": {"qk_norm": True},
    "pre_norm": {"pre_norm": True},
    "wider": {"hidden_dim": 24, "mlp_dim": 20, "num_layers": 2},
    "dinov3": {**_ROTARY, "key_bias": False},
    "dinov3, gated, no bias": {**_ROTARY, "gated_mlp": True, "qkv_bias": False},
}
_HF = {
    "dinov2": {"layer_scale": 1.0},
    "registers": {"layer_scale": 1.0, "num_registers": 4},
    "pixio": {"num_cls_tokens": 3},
    "dinov3": {**_ROTARY, "key_bias": False},
    "dinov3, key bias": _ROTARY,
}
_ARGUMENT = re.compile(r"(\w+)=(None|True|False|'\w+'|\(\d[^)]*\)|[\d.]+\d|\d+)")


def model_of(arguments, seed=1):
    return vit_encoder({**_SIZES, **arguments}, seed)


def followed(path, format, arguments):
    """The encoder that the remedies lead to, and the messages on the way."""
    messages = []
    for _ in range(5):
        encoder = model_of(arguments, seed=5)
        try:
            keras_mae.load_checkpoint(encoder, path, format)
        except ValueError as error:
            messages.append(str(error))
            said = [each[1] for each in re.finditer(r"[Bb]uild the encoder with ([^\n]*)", str(error))]
            remedies = {name: ast.literal_eval(value) for part in said for name, value in _ARGUMENT.findall(part)}
            assert remedies, error
            changed = {**arguments, **remedies}
            assert changed != arguments, error
            arguments = changed
        else:
            return encoder, messages
    raise AssertionError("\n\n".join(messages))


def check(source, model, format, folder):
    """The file of one kind, without metadata, leads a model of another kind to the same features."""
    theirs = model_of(source)
    path = str(folder / "file.safetensors")
    keras_mae.save_checkpoint(theirs, path, format)
    save_file(load_file(path), path)
    encoder, messages = followed(path, format, model)
    images = random_images(2, (8, 8, 3))
    np.testing.assert_allclose(encoder.encode(images).patches, theirs.encode(images).patches, rtol=1e-5, atol=1e-5)
    return messages


@pytest.mark.medium
@pytest.mark.parametrize("kind", KINDS)
def test_any_file_into_a_plain_vit_and_back(kind, tmp_path):
    messages = check(KINDS[kind], {}, "timm", tmp_path)
    assert bool(messages) == (kind not in ("vit", "no bias", "no_embed_class"))  # which compute the same
    assert bool(check({}, KINDS[kind], "timm", tmp_path)) == (kind != "vit")


@pytest.mark.medium
@pytest.mark.parametrize("kind", _HF)
def test_any_file_of_hugging_face(kind, tmp_path):
    assert check(_HF[kind], {}, "hf", tmp_path)
    assert check({}, _HF[kind], "hf", tmp_path)


@pytest.mark.medium
@pytest.mark.parametrize(
    "one, other",
    [
        pytest.param("dinov2", "registers", marks=pytest.mark.slow),
        ("registers", "dinov3"),
        pytest.param("dinov3", "dinov3, gated, no bias", marks=pytest.mark.slow),
    ],
)
def test_modern_kinds_into_each_other(one, other, tmp_path):
    for source, model in ((one, other), (other, one)):
        assert check(KINDS[source], KINDS[model], "timm", tmp_path)


def test_biases_of_keys_into_a_model_without(tmp_path):
    path = str(tmp_path / "file.safetensors")
    keras_mae.save_checkpoint(model_of(_ROTARY), path, "hf")
    with pytest.raises(ValueError, match="has biases of keys .*: build the encoder with key_bias=True"):
        keras_mae.load_checkpoint(model_of({**_ROTARY, "key_bias": False}), path, "hf")


@pytest.mark.parametrize(
    "arguments, format, cause",
    [
        (_ROTARY, "timm", "a bias of the keys, which the format 'timm' has no place for"),
        ({**_ROTARY, "num_registers": 0}, "timm", "num_registers=0, where its models with rotary positions have"),
        ({"num_cls_tokens": 3}, "timm", "num_cls_tokens=3, where its models have 0 or 1"),
        ({"num_registers": 4}, "timm", "num_prefix_positions=1, where its models have 0 or 5"),
        ({"num_registers": 4, "layer_scale": 1.0, "num_prefix_positions": 0}, "hf", "num_prefix_positions=0"),
        ({"qk_norm": True}, "hf", "qk_norm=True, where its models have False"),
        ({"pre_norm": True}, "mae_torch", "pre_norm=True, where its models have False"),
        ({**_ROTARY, "layer_scale": None}, "hf", "layer_scale=None, where its models have LayerScale"),
        ({"layer_scale": 1.0, "mlp_dim": 20}, "hf", "an integer multiple of its width 16, and mlp_dim is 20"),
        ({"gated_mlp": True}, "simmim_torch", "gated_mlp=True, where its models have False"),
    ],
)
def test_a_writer_refuses_what_its_format_cannot_express(arguments, format, cause, tmp_path):
    with pytest.raises(ValueError, match=re.escape(cause)) as caught:
        keras_mae.save_checkpoint(model_of(arguments), str(tmp_path / "a.safetensors"), format)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
