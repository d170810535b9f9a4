"""Linear layers: Keras' numbers, and the gradient of the bias over many tokens."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.layers.dense import Dense
from keras_mae.layers.kernels import GRAPH_KERNELS, use_kernels
from keras_mae.layers.serving_kernels import SERVING_KERNELS
from keras_mae.layers.transformer_block import dense_of_gelu


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("kernels", [{}, GRAPH_KERNELS], ids=["plain", "graph"])
@pytest.mark.parametrize("function", ["dense", "dense of gelu"])
def test_the_gradient_of_a_bias_is_a_sum_in_float32(dtype, kernels, function):
    """Over 3,000 tokens. TensorFlow's `BiasAddGrad` adds in bfloat16 on a processor: off by a third of such a sum."""
    dense = Dense(6, dtype=dtype)
    dense.build((None, 5))
    random = np.random.default_rng(0)
    x, upstream = (tf.cast(random.normal(size=(30, 100, width)), dense.compute_dtype) for width in (5, 6))

    def gradient(x, upstream):
        with tf.GradientTape() as tape:
            y = dense(x) if function == "dense" else dense_of_gelu(dense, x)
        return tape.gradient(y, dense.bias.value, upstream)

    with use_kernels(kernels):
        got = tf.function(gradient, autograph=False)(x, upstream)
    expected = tf.reduce_sum(tf.cast(upstream, tf.float64), [0, 1]).numpy()
    relative = np.abs(got.numpy().astype("float64") - expected).max() / np.abs(expected).max()
    assert relative < (1e-6 if dtype == "float32" else 2**-8)  # its own rounding


@pytest.mark.parametrize(
    "settings", [{}, {"use_bias": False}, {"activation": "relu"}], ids=["bias", "no bias", "activation"]
)
def test_dense_is_keras_dense(settings):
    dense, keras_dense = Dense(6, **settings), keras.layers.Dense(6, **settings)
    for layer in (dense, keras_dense):
        layer.build((None, 5, 4))
    for weight, other in zip(dense.weights, keras_dense.weights, strict=True):
        value = np.random.default_rng(len(weight.shape)).normal(size=weight.shape)
        weight.assign(value)
        other.assign(value)
    x = tf.constant(np.random.default_rng(1).normal(size=(3, 5, 4)), tf.float32)

    def outputs(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        return y, *tape.gradient(y, [x, *(weight.value for weight in layer.weights)], tf.math.sin(y))

    expected = tf.function(lambda: outputs(keras_dense), autograph=False)()
    for table in ({}, GRAPH_KERNELS, SERVING_KERNELS):
        with use_kernels(table):
            got = tf.function(lambda: outputs(dense), autograph=False)()
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)  # sums of up to 15 products in another order
