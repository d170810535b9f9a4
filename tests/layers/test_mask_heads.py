"""The heads of a segmenter against the same operations of PyTorch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_mae.layers import LinearMasks, MaskTransformer
from tests.base import fill_randomly

FEATURES = np.random.default_rng(0).normal(size=(2, 3, 5, 16)).astype("float32")
ROUND_OFF = 2e-5  # float32 sums in another order, through two convolutions and three norms


def of(weight):
    return torch.tensor(np.asarray(weight))


def in_torch(head, features):
    """What follows the transformer blocks, which have tests of their own."""
    functional = torch.nn.functional
    x = of(features.reshape(len(features), -1, 16)) @ of(head.projection.kernel) + of(head.projection.bias)
    x = torch.cat([of(head.class_tokens).repeat(len(x), 1, 1), x], dim=1)
    for block in head.blocks:
        x = of(block(tf.constant(x.numpy())))
    x = functional.layer_norm(x, (16,), of(head.norm.gamma), of(head.norm.beta), 1e-6)
    classes, pixels = x[:, : head.num_classes], x[:, head.num_classes :]
    pixels = pixels.reshape(features.shape).permute(0, 3, 1, 2)
    for upscale in head.upscales:
        deconvolution, _, depthwise, norm = upscale.layers
        kernel = of(deconvolution.kernel).permute(3, 2, 0, 1)  # ours: rows, columns, outputs, inputs
        pixels = functional.conv_transpose2d(pixels, kernel, of(deconvolution.bias), stride=2)
        kernel = of(depthwise.kernel).permute(2, 3, 0, 1)  # ours: rows, columns, channels, 1
        pixels = functional.conv2d(functional.gelu(pixels), kernel, padding=1, groups=16)
        rows = pixels.permute(0, 2, 3, 1)
        rows = functional.layer_norm(rows, (16,), of(norm.gamma), of(norm.beta), 1e-6)
        pixels = rows.permute(0, 3, 1, 2)
    pixels = pixels.permute(0, 2, 3, 1) @ of(head.pixel_projection.kernel)
    classes = classes @ of(head.class_projection.kernel)
    return torch.einsum("bhwd,bkd->bhwk", pixels, classes).numpy() / 4


@pytest.mark.parametrize("upscales", [0, 2])
def test_mask_transformer(upscales):
    head = MaskTransformer(4, upscales, num_layers=1, num_heads=2)
    head.build(FEATURES.shape)
    logits = fill_randomly(head)(FEATURES)
    scale = 2**upscales
    assert logits.shape == head.compute_output_shape(FEATURES.shape) == (2, 3 * scale, 5 * scale, 4)
    expected = in_torch(head, FEATURES)
    assert expected.std() > 0.1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=ROUND_OFF * np.abs(expected).max())


def test_mask_transformer_in_bfloat16_gives_float32():
    head = MaskTransformer(4, 1, 1, 2, dtype="mixed_bfloat16")
    head.build(FEATURES.shape)
    logits = fill_randomly(head)(FEATURES)
    exact = MaskTransformer(4, 1, 1, 2)
    exact.build(FEATURES.shape)
    expected = fill_randomly(exact)(FEATURES).numpy()
    assert logits.dtype == tf.float32 and {weight.dtype for weight in head.weights} == {"float32"}
    assert 0 < np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()  # rounds to 8 bits at every layer


@pytest.mark.parametrize("batch_norm", [False, True])
def test_linear(batch_norm):
    head = LinearMasks(4, batch_norm, dtype="mixed_bfloat16")
    head.build(FEATURES.shape)
    fill_randomly(head)
    for training in (False, True):
        x = FEATURES.astype("float64")
        if batch_norm:
            mean, variance = head.norm.moving_mean.numpy(), head.norm.moving_variance.numpy()
            if training:
                mean, variance = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
            x = (x - mean) / np.sqrt(variance + 1e-6)
        logits = head(FEATURES, training=training)
        assert logits.dtype == tf.float32
        np.testing.assert_allclose(logits, x @ head.logits.kernel.numpy() + head.logits.bias.numpy(), atol=ROUND_OFF)


def test_probes_have_no_affine_norm():
    head = LinearMasks(4, batch_norm=True)
    head.build(FEATURES.shape)
    assert [variable.name for variable in head.trainable_variables] == ["kernel", "bias"]
    assert isinstance(head.norm, keras.layers.BatchNormalization) and head.norm.synchronized
