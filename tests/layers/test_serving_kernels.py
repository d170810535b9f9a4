"""Layers as they are served: the numbers of the plain ones, on processors and on other devices."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.layers import LayerNorm
from keras_mae.layers.kernels import use_kernels
from keras_mae.layers.serving_kernels import SERVING_KERNELS, _layer_norm_as_of_batches
from keras_mae.layers.transformer_block import mlp_of
from tests.base import random_images, small_encoder
from tests.device_kernels import GPU, kernels_of, without_kernel

ROUNDING = 2**-8  # of bfloat16, relative


@pytest.mark.parametrize(
    "shape", [(None, 7, 24), (None, None, 24), (None, 24)], ids=["as of batches", "unknown length", "rows"]
)
@pytest.mark.parametrize("deviation", [1.0, 1e-3], ids=["large", "as small as epsilon"])
def test_a_layer_norm_in_bfloat16_against_float64(shape, deviation):
    rng = np.random.default_rng(0)
    x = tf.cast(rng.normal(2.0 * deviation, deviation, [5, 7, 24][3 - len(shape) :]), tf.bfloat16)
    norm = LayerNorm(epsilon=1e-6, dtype="bfloat16")
    norm.build(shape)
    for weight in norm.trainable_variables:
        weight.assign(rng.normal(size=24))
    with use_kernels({"layer_norm": _layer_norm_as_of_batches}):
        function = tf.function(norm, input_signature=[tf.TensorSpec(shape, tf.bfloat16)]).get_concrete_function()
    operations = {operation.type for operation in function.graph.get_operations()}
    assert ("FusedBatchNormV3" in operations) == (shape == (None, 7, 24))
    exact = x.numpy().astype("float64")
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-6)
    gain, offset = (np.asarray(weight).astype("float64") for weight in (norm.gamma, norm.beta))
    parts = np.abs(exact * gain) + np.abs(offset)
    difference = np.abs(function(x).numpy().astype("float64") - (exact * gain + offset))
    assert (difference <= 3 * ROUNDING * parts).all()  # of the normalized, with its gain, and the sum


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-6), ("bfloat16", 4 * ROUNDING)])  # of three roundings
def test_an_mlp_is_the_plain_one(dtype, bound):
    layers = [keras.layers.Dense(width, dtype=dtype) for width in (24, 12)]
    x = tf.cast(np.random.default_rng(0).normal(size=(3, 5, 12)), dtype)
    for layer, width in zip(layers, (12, 24)):
        layer.build((None, None, width))
        for weight in layer.weights:
            weight.assign(np.random.default_rng(width).normal(size=weight.shape) / 4)
    expected = mlp_of(*layers, x)
    with use_kernels(SERVING_KERNELS):
        found = tf.function(lambda x: mlp_of(*layers, x), autograph=False)(x)
    assert found.dtype == expected.dtype
    one, other = (tf.cast(tokens, tf.float32).numpy() for tokens in (found, expected))
    assert np.abs(one - other).max() <= bound * max(1.0, np.abs(other).max())


@pytest.mark.parametrize("on_processor", [True, False])
def test_an_encoder_in_bfloat16_is_the_plain_one_on_every_device(on_processor, monkeypatch):
    if not on_processor:
        monkeypatch.setattr(tf.raw_ops, "DeviceIndex", lambda device_names: tf.constant(len(device_names)))
    encoder, images = small_encoder(num_layers=2, dtype="bfloat16"), random_images(3, (8, 12, 3))
    with use_kernels(SERVING_KERNELS):
        served = tf.function(lambda images: encoder(images)).get_concrete_function(tf.TensorSpec((None, 8, 12, 3)))
    expected, found = encoder(images), served(tf.constant(images, tf.float32))
    assert set(found) == set(expected)
    for name, tokens in found.items():
        assert tokens.dtype == tf.bfloat16 and tokens.shape == expected[name].shape
        one, other = (tf.cast(part, tf.float32).numpy() for part in (tokens, expected[name]))
        assert np.abs(one - other).max() <= 8 * ROUNDING * max(1.0, np.abs(other).max())  # two blocks of roundings


def test_two_graphs_are_for_bfloat16_alone():
    def operations(dtype):
        encoder = small_encoder(dtype=dtype)
        with use_kernels(SERVING_KERNELS):
            graph = (
                tf.function(lambda images: encoder(images)).get_concrete_function(tf.TensorSpec((2, 8, 12, 3))).graph
            )
        assert not without_kernel(graph, kernels_of(GPU))
        return {operation.type for operation in graph.get_operations()}

    assert "DeviceIndex" in operations("bfloat16")
    assert not {"DeviceIndex", "Case", "StatelessCase"} & operations("float32")
