"""GELU and its own gradient against Keras' and against the error function in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.layers.gelu import gelu, gelu_of_training

X = np.concatenate([np.linspace(-12, 12, 401), [0.0, 1e-4, -1e-4]]).astype("float32")
PHI = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in X.astype("float64")])
DENSITY = np.exp(-0.5 * X.astype("float64") ** 2) / math.sqrt(2 * math.pi)


def value_and_gradient(x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = gelu(x)
    return y, tape.gradient(y, x, output_gradients=tf.cast(2.0, x.dtype) * tf.ones_like(x))


# bfloat16 has 8 bits: what is computed in float32 is rounded once
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2**-8)])
@pytest.mark.parametrize("compiled", [False, True])
def test_value_and_gradient(dtype, tolerance, compiled):
    x = tf.cast(X, dtype)
    rounded = x.numpy().astype("float64")
    phi = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in rounded])
    density = np.exp(-0.5 * rounded**2) / math.sqrt(2 * math.pi)
    with gelu_of_training(compiled):
        results = tf.function(value_and_gradient, autograph=False)(x)
    for got, expected in zip(results, (rounded * phi, 2 * (phi + rounded * density)), strict=True):
        assert got.dtype == x.dtype
        np.testing.assert_allclose(got.numpy().astype("float64"), expected, rtol=tolerance, atol=2e-7)


def test_outside_of_training_it_is_that_of_keras():
    operations = tf.function(lambda x: gelu(x)).get_concrete_function(tf.TensorSpec([3])).graph.get_operations()
    assert "Erfc" in {operation.type for operation in operations}
    assert not {"IdentityN", "PartitionedCall", "StatefulPartitionedCall"} & {op.type for op in operations}
    np.testing.assert_allclose(gelu(tf.constant(X)), X * PHI, atol=1e-6)


def test_the_gradient_keeps_the_input_alone():
    """Of the tensors of the forward pass, the backward pass reads x."""
    with gelu_of_training(compiled=True):
        graph = tf.function(value_and_gradient, autograph=False).get_concrete_function(tf.TensorSpec([3])).graph
    calls = [op for op in graph.get_operations() if op.type.endswith("PartitionedCall")]
    assert len(calls) == 2
    assert calls[0].inputs[0] is graph.inputs[0] and calls[1].inputs[0] is graph.inputs[0]
