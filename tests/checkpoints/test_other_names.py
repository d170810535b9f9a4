"""Prefixes, several sets in a file, parts that are missing or added, and other grids of as many patches."""

import functools

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import keras_mae
from keras_mae.checkpoints import describe_checkpoint
from keras_mae.layers import sincos_position_embedding
from tests.base import random_images, weights_of
from tests.checkpoints.small import small_classifier, small_encoder, small_mae
from tests.checkpoints.test_positions import pytorch_bicubic
from tests.checkpoints.test_strictness import refused

pytestmark = pytest.mark.medium

SQUARE, WIDE = (16, 16, 3), (8, 32, 3)  # 16 patches each: 4 x 4, 2 x 8


def encoder(image_shape=SQUARE, seed=1, **overrides):
    return small_encoder(image_shape, seed=seed, **{"position_embedding": "learned", **overrides})


fixed = functools.cache(encoder)  # for what changes no weight


def tensors(model, folder, format="timm"):
    keras_mae.save_checkpoint(model, str(folder / "whole.safetensors"), format)
    (folder / "config.json").unlink(missing_ok=True)  # Hugging Face's says the grid
    return load_file(folder / "whole.safetensors")


def written(folder, content, name="file.safetensors"):
    """Without the metadata that say the grid."""
    save_file(content, folder / name)
    return str(folder / name)


def same(model, expected):
    for variable, other in zip(weights_of(model), weights_of(expected), strict=True):
        np.testing.assert_array_equal(variable, other)


FORMATS = ("timm", "mae_torch", "hf", "simmim_torch")
PREFIXES = ("_orig_mod.", "model.", "backbone.", "student.backbone.", "state_dict.")
NESTED = ("model_ema.", "module._orig_mod.backbone.", "state_dict.model.encoder.", "student.module.backbone.", "net.0.")


@pytest.mark.parametrize(
    "prefix, format",
    [
        *(("module.", format) for format in FORMATS),
        *((prefix, FORMATS[index % 4]) for index, prefix in enumerate(PREFIXES)),
        *(
            pytest.param(prefix, ("timm", "hf")[index % 2], marks=pytest.mark.slow if index > 1 else ())
            for index, prefix in enumerate(NESTED)
        ),
    ],
)
def test_one_prefix_is_taken_off_and_told_of(prefix, format, tmp_path):
    content = {f"{prefix}{name}": value for name, value in tensors(fixed(), tmp_path, format).items()}
    model = encoder(seed=5)
    report = keras_mae.load_checkpoint(model, written(tmp_path, content), format)
    same_without_key_biases = encoder() if format == "simmim_torch" else fixed()
    if format == "simmim_torch":  # which has none
        for block in same_without_key_biases.blocks:
            bias = block.attention.qkv.bias.numpy()
            bias[16:32] = 0
            block.attention.qkv.bias.assign(bias)
    same(model, same_without_key_biases)
    assert repr(prefix) in str(report)
    said = describe_checkpoint(str(tmp_path / "file.safetensors"), encoder={"num_heads": 2})
    assert (said.format, said.prefix) == ("timm" if format == "mae_torch" else format, prefix) and said.unknown == ()


@pytest.mark.parametrize(
    "plain, average, nested",
    [
        ("model.", "model_ema.", False),
        ("student.", "teacher.", True),
        pytest.param("net.", "modelEMA.", True, marks=pytest.mark.slow),
        ("", "ema.", False),
        ("", "ema.", True),
        pytest.param("state_dict.", "state_dict_ema.", True, marks=pytest.mark.slow),
        pytest.param("student.backbone.", "teacher.backbone.", False, marks=pytest.mark.slow),
        pytest.param("model.encoder.", "ema_model.module.encoder.", False, marks=pytest.mark.slow),
        ("model.encoder.", "ema_model.module.encoder.", True),
    ],
)
def test_of_two_sets_the_plain_one_is_taken_and_the_other_on_request(plain, average, nested, tmp_path):
    trained, averaged = tensors(fixed(), tmp_path), tensors(fixed(seed=2), tmp_path)
    if nested:
        sets = [(average, averaged), (plain, trained)]
        content = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}}
        for prefix, each in sets:
            each = {name: torch.tensor(value) for name, value in each.items()}
            for key in reversed(prefix.split(".")[:-1]):
                each = {key: each}
            content |= each
        path = str(tmp_path / "file.pth")
        torch.save(content, path)
    else:
        sets = {average + name: value for name, value in averaged.items()}
        path = written(tmp_path, sets | {plain + name: value for name, value in trained.items()})
    model = encoder(seed=5)
    report = keras_mae.load_checkpoint(model, path, "timm")
    same(model, fixed())
    assert f"prefix={average!r} takes the other" in str(report)
    assert (describe_checkpoint(path).prefix, describe_checkpoint(path, prefix=average).prefix) == (plain, average)
    keras_mae.load_checkpoint(model, path, "timm", prefix=average)
    same(model, fixed(seed=2))
    refused(model, path, "timm", "prefix='none'", repr(average), prefix="none")


@pytest.mark.parametrize("format", ["timm", "mae_torch", "hf", "simmim_torch"])
def test_without_biases_of_queries_keys_and_values(format, tmp_path):
    model = encoder()
    for block in model.blocks:
        block.attention.qkv.bias.assign(np.zeros(48))
    content = tensors(model, tmp_path, format)
    ends = ("qkv.bias", "q_bias", "v_bias", "query.bias", "key.bias", "value.bias")
    content = {name: value for name, value in content.items() if not name.endswith(ends)}
    other = encoder(seed=5)
    report = keras_mae.load_checkpoint(other, written(tmp_path, content), format)
    assert "these biases are zeros" in str(report)
    images = random_images(2, SQUARE)
    np.testing.assert_array_equal(other(images)["patch_tokens"], model(images)["patch_tokens"])


def test_a_bias_that_one_block_lacks_is_missing(tmp_path):
    content = tensors(fixed(), tmp_path)
    del content["blocks.1.attn.qkv.bias"]
    refused(fixed(), written(tmp_path, content), "timm", "Missing in the file (1): blocks.1.attn.qkv.bias")


def test_layer_scale(tmp_path):
    path = written(tmp_path, tensors(encoder(layer_scale=0.5), tmp_path))
    refused(fixed(), path, "timm", "LayerScale: build the encoder with layer_scale=1.0")
    model = encoder(layer_scale=1.0, seed=5)
    keras_mae.load_checkpoint(model, path, "timm")
    same(model, encoder(layer_scale=0.5))
    path = written(tmp_path, tensors(fixed(), tmp_path))
    refused(encoder(layer_scale=1.0), path, "timm", "no LayerScale: build the encoder with layer_scale=None")


@pytest.mark.parametrize("format, name", [("timm", "pos_embed"), ("hf", "vit.embeddings.position_embeddings")])
def test_no_position_for_the_class_token(format, name, tmp_path):
    content = tensors(fixed(), tmp_path, format)
    content[name] = content[name][:, 1:]
    model = encoder(seed=5)
    assert "no position for the class token" in str(
        keras_mae.load_checkpoint(model, written(tmp_path, content), format)
    )
    table = fixed().positions.table.numpy()
    table[0] = 0
    np.testing.assert_array_equal(model.positions.table, table)


@pytest.mark.parametrize(
    "extra, cause",
    [
        ({"reg_token": (1, 4, 16)}, "register tokens: build the encoder with num_registers=4"),
        ({"dist_token": (1, 1, 16)}, "distillation token, which no model here has"),
        ({"blocks.0.attn.q_norm.weight": (8,)}, "norms of queries and keys: build the encoder with qk_norm=True"),
        ({"norm_pre.weight": (16,)}, "a norm before the first block: build the encoder with pre_norm=True"),
    ],
)
def test_additions_are_named_and_no_resizing_is_advised(extra, cause, tmp_path):
    content = tensors(fixed(), tmp_path) | {name: np.ones(shape, "float32") for name, shape in extra.items()}
    if "token" in next(iter(extra)):
        count = next(iter(extra.values()))[1]
        content["pos_embed"] = np.concatenate([content["pos_embed"][:, :count], content["pos_embed"]], axis=1)
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=cause) as caught:
        keras_mae.load_checkpoint(fixed(), path, "timm")
    assert "resize_positions" not in str(caught.value) and "skip=" not in str(caught.value)


@pytest.mark.parametrize("ours", [1, 0])
def test_the_class_token_is_the_cause(ours, tmp_path):
    path = written(tmp_path, tensors(encoder(num_cls_tokens=1 - ours), tmp_path))
    refused(encoder(num_cls_tokens=ours), path, "timm", f"num_cls_tokens={1 - ours}")
    keras_mae.load_checkpoint(encoder(num_cls_tokens=1 - ours, seed=5), path, "timm")


def test_an_average_of_normalised_tokens(tmp_path):
    """Without a class token, pooling='cls' is that average."""
    small = {"image_shape": SQUARE, "num_cls_tokens": 0, "position_embedding": "learned"}
    content = tensors(small_classifier("cls", **small), tmp_path)
    assert "norm.weight" in content
    path = written(tmp_path, content)
    refused(small_classifier("mean", **small), path, "timm", "with pooling='cls'")
    model = small_classifier("cls", seed=5, **small)
    keras_mae.load_checkpoint(model, path, "timm")
    same(model, small_classifier("cls", **small))


def test_masked_image_modeling_of_hugging_face_has_another_decoder(tmp_path):
    content = tensors(fixed(), tmp_path, "hf")
    content |= {"vit.embeddings.mask_token": np.ones((1, 1, 16), "float32")}
    content |= {"decoder.0.weight": np.ones((48, 16, 1, 1), "float32"), "decoder.0.bias": np.ones(48, "float32")}
    path = written(tmp_path, content)
    model = encoder(seed=5)
    assert set(keras_mae.load_checkpoint(model, path, "hf").dropped) == set(content) - set(
        tensors(fixed(), tmp_path, "hf")
    )
    mae = small_mae(image_shape=SQUARE, position_embedding="learned", seed=5)
    refused(mae, path, "hf", "another than MAE's", "skip=('decoder.*',)")


@pytest.mark.parametrize("format", ["timm", "mae_torch", "hf"])
def test_as_many_patches_in_another_grid(format, tmp_path):
    source = fixed()
    path = written(tmp_path, tensors(source, tmp_path, format))
    refused(encoder(WIDE), path, format, "as a square one it is 4 x 4 patches, and the model has 2 x 8")
    model = encoder(WIDE, seed=5)
    keras_mae.load_checkpoint(model, path, format, resize_positions=True)
    np.testing.assert_allclose(
        model.positions.table, pytorch_bicubic(source.positions.table, (4, 4), (2, 8)), atol=1e-5
    )
    keras_mae.load_checkpoint(model, path, format, resize_positions=(2, 8))  # the caller knows better
    np.testing.assert_array_equal(model.positions.table, source.positions.table)


@pytest.mark.parametrize("ending", ["safetensors", "pth", "keras"])
@pytest.mark.parametrize("turned", [False, True])
def test_our_files_say_their_grid(ending, turned, tmp_path):
    format, path = "keras" if ending == "keras" else "mae_torch", str(tmp_path / f"file.{ending}")
    source = small_mae(image_shape=WIDE, position_embedding="learned")
    keras_mae.save_checkpoint(source, path, format)
    model = small_mae(image_shape=(32, 8, 3) if turned else WIDE, position_embedding="learned", seed=5)
    if turned:
        refused(model, path, format, "the file is for 2 x 8 patches, and the model has 8 x 2", "resize_positions=True")
        keras_mae.load_checkpoint(model, path, format, resize_positions=True)
        for ours, theirs in ((model.encoder, source.encoder), (model.decoder, source.decoder)):
            table = pytorch_bicubic(theirs.positions.table, (2, 8), (8, 2))
            np.testing.assert_allclose(ours.positions.table, table, atol=1e-5)
    else:
        keras_mae.load_checkpoint(model, path, format)
        same(model, source)


def test_a_sincos_table_says_its_grid(tmp_path):
    source = encoder(WIDE, position_embedding="sincos")
    source.positions.table.assign(sincos_position_embedding((2, 8), 16, 1))
    path = written(tmp_path, tensors(source, tmp_path))
    keras_mae.load_checkpoint(encoder(WIDE, seed=5), path, "timm")  # although 16 is a square number
    model = encoder((32, 8, 3), position_embedding="sincos", seed=5)
    refused(model, path, "timm", "the file is for 2 x 8 patches, and the model has 8 x 2")
    keras_mae.load_checkpoint(model, path, "timm", resize_positions=True)
    np.testing.assert_array_equal(model.positions.table, sincos_position_embedding((8, 2), 16, 1))


def test_relative_positions_of_another_grid(tmp_path):
    relative = {"position_embedding": None, "relative_position_bias": "shared"}
    source = encoder(WIDE, **relative)  # 2 x 8 and 8 x 2 have tables of one shape
    path = written(tmp_path, tensors(source, tmp_path, "simmim_torch"))
    refused(encoder((32, 8, 3), **relative), path, "simmim_torch", "the model's is 8 x 2")
    model = encoder((32, 8, 3), seed=5, **relative)
    keras_mae.load_checkpoint(model, path, "simmim_torch", resize_positions=(2, 8))
    expected = source.with_image_shape((32, 8, 3)).relative_positions[0].table
    np.testing.assert_array_equal(model.relative_positions[0].table, expected)


@pytest.mark.parametrize(
    "other", [{"hidden_dim": 24}, {"num_layers": 3}, {"num_layers": 1}, {"mlp_dim": 32}, {"patch_size": 2}]
)
def test_the_remedy_for_another_size_is_the_files_size(other, tmp_path):
    path = written(tmp_path, tensors(fixed(), tmp_path))
    shape = (8, 8, 3) if "patch_size" in other else SQUARE
    ((name, _),) = other.items()
    value = {"hidden_dim": 16, "num_layers": 2, "mlp_dim": 24, "patch_size": (4, 4)}[name]
    refused(encoder(shape, **other), path, "timm", f"Build the encoder with {name}={value}")
