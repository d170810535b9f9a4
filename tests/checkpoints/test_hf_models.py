"""Folders of Hugging Face's models, live: what they compute, what is said of them, and read there again."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import keras_mae
from keras_mae.checkpoints import describe_checkpoint, load_encoder
from keras_mae.masking import UnitMasking
from keras_mae.models import SimMIM, ViTEncoder
from tests.base import random_images
from tests.checkpoints import published
from tests.checkpoints.test_against_published import TOLERANCE
from tests.checkpoints.test_round_trips import hugging_face_reads
from tests.reference.hf_models import KINDS, hf_model, our_arguments


@pytest.mark.medium
@pytest.mark.parametrize("kind", KINDS)
def test_features_description_and_round_trip(kind, tmp_path):
    theirs = hf_model(kind)
    theirs.save_pretrained(tmp_path / "theirs")
    path = str(tmp_path / "theirs" / "model.safetensors")
    expected = our_arguments(kind)
    said = describe_checkpoint(path)
    assert (said.format, said.method, said.unknown, said.has_head) == ("hf", None, (), False)
    assert {name: said.encoder[name] for name in expected} == expected
    encoder, report = load_encoder(path)
    assert encoder.get_config() == ViTEncoder(**expected).get_config()
    assert len(report.tensors) == len(encoder.weights) and not report.resized and not report.fresh
    images = random_images(2, encoder.image_shape)
    pixels = published.pixels_for(encoder, images)
    with torch.no_grad():
        outputs = theirs(pixels)
    prefix, patches = np.split(outputs.last_hidden_state.numpy(), [encoder.num_prefix_tokens], axis=1)
    ours = encoder.encode(images)
    np.testing.assert_allclose(ours.prefix, prefix, **TOLERANCE)
    np.testing.assert_allclose(ours.patches, patches, **TOLERANCE)
    if outputs.pooler_output is not None:
        np.testing.assert_allclose(encoder(images)["cls_token"], outputs.pooler_output, **TOLERANCE)

    keras_mae.save_checkpoint(encoder, str(tmp_path / "ours" / "model.safetensors"), "hf")
    written, tensors = load_file(tmp_path / "ours" / "model.safetensors"), load_file(path)
    written = {name.removeprefix("vit."): value for name, value in written.items()}  # as files of heads have it
    assert set(written) == set(tensors)
    if "embeddings.mask_token" in tensors:  # of their training; an encoder has none
        tensors["embeddings.mask_token"] = torch.zeros_like(tensors["embeddings.mask_token"])
    assert all(torch.equal(written[name], tensor) for name, tensor in tensors.items())
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    of_theirs = json.loads((tmp_path / "theirs" / "config.json").read_text())
    differing = {name for name in config if config[name] != of_theirs.get(name, config[name])}
    assert not differing
    with torch.no_grad():
        options = {"add_pooling_layer": False} if kind.startswith("vit") else {}
        read = hugging_face_reads(tmp_path / "ours", type(theirs), **options)
        np.testing.assert_array_equal(read(pixels).last_hidden_state, outputs.last_hidden_state)
    # the names that transformers 5 has in memory
    memory = published.write(tmp_path / "memory" / "model.safetensors", theirs.state_dict())
    (tmp_path / "memory" / "config.json").write_text(json.dumps(of_theirs))
    again, _ = load_encoder(memory)
    np.testing.assert_array_equal(again.encode(images).patches, ours.patches)


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["dinov2", "dinov3"])
def test_the_mask_token_of_their_training_goes_into_a_simmim(kind, tmp_path):
    theirs = hf_model(kind)
    theirs.save_pretrained(tmp_path)
    path = str(tmp_path / "model.safetensors")
    simmim = SimMIM(ViTEncoder(**describe_checkpoint(path).encoder), UnitMasking(unit=8))
    report = keras_mae.load_checkpoint(simmim, path, "hf", skip=("decoder.*",))
    assert not report.dropped and report.fresh == ("decoder.projection.kernel", "decoder.projection.bias")
    images, mask = random_images(2, (16, 16, 3)), np.tile([0, 1], (2, 8)).astype("int32")
    with torch.no_grad():
        pixels = published.pixels_for(simmim.encoder, images)
        expected = theirs(pixels, bool_masked_pos=torch.tensor(mask).bool()).last_hidden_state
    ours = simmim.encoder.encode(images, mask=mask, mask_token=simmim.mask_token)
    np.testing.assert_allclose(np.concatenate(ours, axis=1), expected, **TOLERANCE)


@pytest.mark.medium
def test_biases_that_its_config_leaves_out_are_zeros(tmp_path):
    theirs = hf_model("dinov3", query_bias=False, proj_bias=False, mlp_bias=False)
    theirs.save_pretrained(tmp_path)
    encoder, report = load_encoder(str(tmp_path / "model.safetensors"))
    assert any("these biases are zeros, which compute the same" in note for note in report.notes)
    images = random_images(2, (16, 16, 3))
    with torch.no_grad():
        expected = theirs(published.pixels_for(encoder, images)).last_hidden_state
    np.testing.assert_allclose(np.concatenate(encoder.encode(images), axis=1), expected, **TOLERANCE)
