"""A whole step of Pixio against PyTorch: masks, tokens, prediction, loss, and the gradient of every weight."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_mae.example_seed import ExampleSeed
from keras_mae.masking import UnitMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder
from keras_mae.targets import PixelTarget
from tests.base import fill_randomly, random_images, small_encoder
from tests.reference.torch_pixio import TorchPixio

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# ours is float32, of epsilon 1.2e-7, through seven blocks, and PyTorch's is float64
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def ours():
    """Eight class tokens, 8 x 12 patches in 2 x 3 units of 4 x 4, a decoder deeper than the encoder."""
    encoder = small_encoder((16, 24, 3), 2, num_layers=2, num_cls_tokens=8, position_embedding="learned")
    decoder = MAEDecoder(12, num_layers=5, num_heads=3, mlp_dim=20, position_embedding="learned")
    return fill_randomly(MaskedAutoencoder(encoder, decoder, UnitMasking(8, 0.75), PixelTarget(normalize=True), seed=4))


@pytest.fixture(scope="module")
def theirs(ours):
    """PyTorch's with the same weights."""
    reference = TorchPixio((8, 12), 2, 8, (2, 16, 2, 24), (5, 12, 3, 20))
    for variable, parameter, to_torch in pairs(ours, reference):
        parameter.data.copy_(torch.from_numpy(to_torch(np.asarray(variable, "float64"))))
    return reference


def dense(layer, weight, bias):
    return [(layer.kernel, weight, np.transpose), (layer.bias, bias, np.asarray)]


def norm(layer, theirs):
    return [(layer.gamma, theirs.weight, np.asarray), (layer.beta, theirs.bias, np.asarray)]


def blocks(ours, theirs):
    found = []
    for one, other in zip(ours, theirs, strict=True):
        attention = other.self_attn
        found += dense(one.attention.qkv, attention.in_proj_weight, attention.in_proj_bias)
        found += dense(one.attention.projection, attention.out_proj.weight, attention.out_proj.bias)
        found += dense(one.mlp_hidden, other.linear1.weight, other.linear1.bias)
        found += dense(one.mlp_output, other.linear2.weight, other.linear2.bias)
        found += norm(one.norm1, other.norm1) + norm(one.norm2, other.norm2)
    return found


def pairs(mae, reference):
    """Each of our variables, PyTorch's parameter, and what makes an array of ours one of its shape."""
    encoder, decoder = mae.encoder, mae.decoder

    def convolution(kernel):  # rows of (row, column, channel)
        return kernel.reshape(2, 2, 3, -1).transpose(3, 2, 0, 1)

    return [
        (encoder.patch_projection.kernel, reference.patch_embed.weight, convolution),
        (encoder.patch_projection.bias, reference.patch_embed.bias, np.asarray),
        (encoder.cls_token, reference.cls_token, np.squeeze),
        (encoder.positions.table, reference.positions, np.asarray),
        *blocks(encoder.blocks, reference.blocks),
        *norm(encoder.norm, reference.norm),
        *dense(decoder.embedding, reference.decoder_embed.weight, reference.decoder_embed.bias),
        (decoder.mask_token, reference.mask_token, np.squeeze),
        (decoder.positions.table, reference.decoder_positions, np.asarray),
        *blocks(decoder.blocks, reference.decoder_blocks),
        *norm(decoder.norm, reference.decoder_norm),
        *dense(decoder.head, reference.head.weight, reference.head.bias),
    ]


def as_seen(images):
    """Images as PyTorch's takes them: normalised, channels first."""
    return torch.from_numpy((images / 255.0 - MEAN) / STD).permute(0, 3, 1, 2)


def test_a_whole_step(ours, theirs):
    images, seed = random_images(3, (16, 24, 3)), ExampleSeed.for_step(4, 7, 3)
    _, mask = ours.mask(images, seed=seed)
    units = mask.mask.numpy().reshape(3, 2, 4, 3, 4)  # example, row of units, row in it, column of units, column in it
    assert (units == units[:, :, :1, :, :1]).all() and (units[:, :, 0, :, 0].sum((1, 2)) == 5).all()  # ceil(4.5) of 6
    assert len(np.unique(mask.mask, axis=0)) > 1

    theirs.zero_grad()
    loss, prediction = theirs(as_seen(images), torch.from_numpy(mask.mask.numpy()))
    loss.backward()
    found = ours({"images": images, "mask": mask.mask})["prediction"]
    np.testing.assert_allclose(found, prediction.detach(), **TOLERANCE)

    with tf.GradientTape() as tape:
        own_loss = ours.batch_loss(images, seed, training=True)  # which draws the same masks
    np.testing.assert_allclose(own_loss, loss.item(), rtol=1e-5)
    table = pairs(ours, theirs)
    variables = [variable for variable, _, _ in table]
    assert sorted(map(id, variables)) == sorted(map(id, ours.trainable_variables))
    assert sorted(id(p) for _, p, _ in table) == sorted(map(id, theirs.parameters()))
    for gradient, (variable, parameter, to_torch) in zip(tape.gradient(own_loss, variables), table, strict=True):
        expected = parameter.grad.numpy()
        largest = np.abs(expected).max()
        assert largest > 1e-3  # none is zero by chance
        np.testing.assert_allclose(
            to_torch(gradient.numpy()), expected, rtol=1e-5, atol=1e-5 * largest, err_msg=variable.path
        )


def test_the_vector_of_an_image_is_the_mean_of_its_class_tokens(ours, theirs):
    images = random_images(2, (16, 24, 3), seed=5)
    with torch.no_grad():
        tokens = theirs.encode(as_seen(images), torch.ones(2, 96, dtype=bool)).numpy()
    encoded = ours.encoder.encode(images)
    np.testing.assert_allclose(np.concatenate(encoded, axis=1), tokens, **TOLERANCE)
    expected = tokens[:, :8].mean(axis=1)
    np.testing.assert_allclose(ours.encoder.features(images, "cls"), expected, **TOLERANCE)
    np.testing.assert_allclose(ours.encoder(images)["cls_token"], expected, **TOLERANCE)
    both = np.concatenate([expected, tokens[:, 8:].mean(axis=1)], axis=1)
    np.testing.assert_allclose(ours.encoder.features(images, "both"), both, **TOLERANCE)
