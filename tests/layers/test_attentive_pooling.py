"""Attentive pooling against NumPy, its properties, its first weights, and what it refuses."""

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from keras_mae.encoders import Tokens
from keras_mae.layers import AttentivePooling
from tests.base import fill_randomly
from tests.reference.numpy_attentive import attentive_pooling

ROUND_OFF = 1e-5  # of values of about 1, in float32


def built(num_queries, dim, seed=0, **arguments):
    layer = AttentivePooling(num_queries, **arguments)
    layer.build((None, None, dim))
    fill_randomly(layer, seed)
    layer.queries.assign(5 * layer.queries.numpy())  # so that attention is far from uniform
    return layer


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@hypothesis.settings(max_examples=10)
@hypothesis.given(
    strategies.integers(1, 3), strategies.integers(1, 7), strategies.integers(1, 5), strategies.integers(1, 4)
)
def test_against_numpy(batch, count, num_queries, share):
    layer, tokens = built(num_queries, num_queries * share), drawn(batch, count, num_queries * share)
    pooled, attention = zip(
        *(attentive_pooling(one, layer.queries.numpy(), layer.values.numpy()) for one in tokens), strict=True
    )
    np.testing.assert_allclose(layer(tokens), np.stack(pooled), rtol=0, atol=ROUND_OFF)
    np.testing.assert_allclose(layer.attention(tokens), np.stack(attention), rtol=0, atol=ROUND_OFF)


def test_each_query_pools_its_own_channels():
    """Another query changes its share of the width, and nothing else; the order of the tokens changes nothing."""
    layer, tokens = built(4, 12), drawn(2, 5, 12)
    before = layer(tokens).numpy()
    np.testing.assert_allclose(layer(tokens[:, ::-1]), before, atol=ROUND_OFF)
    queries = layer.queries.numpy()
    queries[2] = -queries[2]
    layer.queries.assign(queries)
    moved = np.abs(layer(tokens).numpy() - before).min(axis=0) > ROUND_OFF
    assert np.flatnonzero(moved).tolist() == [6, 7, 8]


def test_queries_of_zero_take_the_mean():
    layer, tokens = built(4, 12), drawn(2, 5, 12)
    layer.queries.assign(np.zeros((4, 12)))
    np.testing.assert_allclose(layer(tokens), tokens.mean(axis=1) @ layer.values.numpy(), atol=ROUND_OFF)


def test_patches_alone_are_pooled():
    layer, tokens = built(3, 12), drawn(2, 7, 12)
    np.testing.assert_array_equal(layer(Tokens(tokens[:, :2], tokens[:, 2:])), layer(tokens[:, 2:]))
    assert layer.attention(Tokens(tokens[:, :2], tokens[:, 2:])).shape == (2, 3, 5)


def test_first_weights_are_the_published_ones():
    """Queries of standard deviation 0.02, values within 1/sqrt(D); 768 wide with 1,000 classes 1,383,400 in all."""
    layer = AttentivePooling()
    layer.build((None, 196, 768))
    assert [tuple(weight.shape) for weight in layer.weights] == [(32, 768), (768, 768)]
    assert layer.count_params() + 768 * 1000 + 1000 == 1_383_400  # what the code's log of MAE ViT-B/16 says
    # the standard deviation of 24,576 numbers is known to 1 / sqrt(2 n) = 0.45 %: five of that
    np.testing.assert_allclose(layer.queries.numpy().std(), 0.02, rtol=0.023)
    values = layer.values.numpy()
    assert 0.999 / np.sqrt(768) < np.abs(values).max() <= 1 / np.sqrt(768)
    np.testing.assert_allclose(values.std(), 1 / np.sqrt(3 * 768), rtol=0.005)


def test_float32_unless_a_dtype_is_given():
    tokens = drawn(2, 5, 12)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = built(3, 12)
    finally:
        keras.config.set_dtype_policy("float32")
    assert layer(tf.cast(tokens, tf.bfloat16)).dtype == tf.float32
    half = built(3, 12, dtype="mixed_bfloat16")
    assert half(tokens).dtype == tf.bfloat16 and half.queries.dtype == "float32"
    # two products of values rounded to 8 bits
    np.testing.assert_allclose(tf.cast(half(tokens), tf.float32), built(3, 12)(tokens), atol=0.1)


def test_bad_numbers_of_queries():
    with pytest.raises(ValueError, match="num_queries is an integer from 1, got 0"):
        AttentivePooling(0)
    with pytest.raises(ValueError, match="num_queries must divide 192, got 7; 4, 6, 8, 12 do"):
        AttentivePooling(7).build((None, 5, 192))
