"""Files of timm's models, live: what they compute, what is said of them, and written again to the bit."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import keras_mae
from keras_mae.checkpoints import describe_checkpoint, load_encoder
from keras_mae.models import ViTEncoder
from tests.base import random_images, weights_of
from tests.checkpoints import published
from tests.checkpoints.test_against_published import TOLERANCE
from tests.reference.timm_models import HEADS, KINDS, our_arguments, timm_model


def theirs_and_file(kind, folder):
    theirs = timm_model(kind)
    return theirs, published.write(folder / "model.safetensors", theirs.state_dict())


def features(model, encoder, images):
    """Their tokens after the last norm."""
    with torch.no_grad():
        tokens = model.forward_features(published.pixels_for(encoder, images))
        tokens = model.fc_norm(tokens)  # in place of `norm` in models with average pooling
    return np.split(tokens.numpy(), [encoder.num_prefix_tokens], axis=1)


@pytest.mark.medium
@pytest.mark.parametrize("kind", KINDS)
def test_features_description_and_round_trip(kind, tmp_path):
    theirs, path = theirs_and_file(kind, tmp_path)
    expected = our_arguments(kind)
    known = {} if kind == "qk_norm" else {"num_heads": HEADS}
    said = describe_checkpoint(path, encoder=known)
    assert said.format == "timm" and said.method is None and not said.has_head
    rotary = expected.get("rotary_temperature") is not None
    assert said.unknown == (("image_shape",) if rotary else ())
    expected_of_file = {name: value for name, value in expected.items() if not (rotary and name == "image_shape")}
    assert {name: said.encoder[name] for name in expected_of_file} == expected_of_file
    encoder, report = load_encoder(path, **({"image_shape": (16, 16, 3)} if rotary else {}), **known)
    assert encoder.get_config() == ViTEncoder(**expected).get_config()
    assert len(report.tensors) == len(encoder.weights) and not report.resized and not report.fresh
    images = random_images(2, encoder.image_shape)
    prefix, patches = features(theirs, encoder, images)
    ours = encoder.encode(images)
    np.testing.assert_allclose(ours.prefix, prefix, **TOLERANCE)
    np.testing.assert_allclose(ours.patches, patches, **TOLERANCE)

    again = str(tmp_path / "again.safetensors")
    keras_mae.save_checkpoint(encoder, again, "timm")
    written, tensors = load_file(again), theirs.state_dict()
    written = {
        name.replace("norm.", "fc_norm.")
        if name in ("norm.weight", "norm.bias") and kind == "vit, average"
        else name: value
        for name, value in written.items()
    }
    assert set(written) == set(tensors)
    assert all(torch.equal(written[name], tensor) for name, tensor in tensors.items())
    own = describe_checkpoint(again)
    assert own.unknown == () and own.encoder == {**encoder_arguments(encoder)}
    other, _ = load_encoder(again)
    for variable, same in zip(weights_of(encoder), weights_of(other), strict=True):
        np.testing.assert_array_equal(variable, same)


def encoder_arguments(encoder):
    config = encoder.get_config()
    return {name: config[name] for name in config if name not in ("name", "trainable", "dtype")}


@pytest.mark.medium
@pytest.mark.parametrize(
    "changes",
    [
        {"rope_type": "cat", "rope_rotate_half": False, "class_token": False, "num_reg_tokens": 1},
        {"rope_type": "cat", "rope_rotate_half": False, "num_reg_tokens": 0, "rope_grid_indexing": "xy"},
        {"rope_type": "cat", "use_abs_pos_emb": True},
        {"rope_type": "dinov3", "attn_type": "rope", "qkv_fused": False, "num_kv_heads": 2},
    ],
)
def test_rotary_positions_of_other_kinds_are_not_taken_for_dinov3s(changes, tmp_path):
    theirs = timm_model("dinov3 qkvb", **changes)
    path = published.write(tmp_path / "model.safetensors", theirs.state_dict())
    with pytest.raises(ValueError, match="looks like none of them|tensors that no ViTEncoder has|has no positions"):
        describe_checkpoint(path)
    with pytest.raises(ValueError, match="looks like none of them|does not fit"):
        keras_mae.load_checkpoint(ViTEncoder(**our_arguments("dinov3 qkvb")), path, "timm")
