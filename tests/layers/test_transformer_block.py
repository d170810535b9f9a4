"""Attention and the block against NumPy, drop path, and shapes that are not static."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import DropPath, SelfAttention, TransformerBlock
from keras_mae.layers.rotary_positions import Rotation
from tests.base import fill_randomly, without_keys
from tests.reference import from_keras, numpy_mae


def tokens(batch=2, length=5, dim=12, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, length, dim)).astype("float32")


def random_block(**arguments):
    block = TransformerBlock(12, 3, 20, **arguments)
    block.build((None, None, 12))
    return fill_randomly(block)


@pytest.mark.parametrize("size", [1.0, 1e-3])  # at 1e-3 the variance is about LayerNorm's epsilon, 1e-6
def test_block_against_numpy(size):
    block, x = random_block(), size * tokens()
    weights = from_keras.block_weights(block)
    expected = [numpy_mae.transformer_block(example.astype("float64"), weights, 3) for example in x]
    np.testing.assert_allclose(block(x), expected, atol=1e-5)  # float32 sums of up to 20 numbers of size 1 to 10


def test_attention_against_numpy():
    block, x = random_block(), tokens()
    expected = [numpy_mae.attention(example.astype("float64"), from_keras.block_weights(block), 3) for example in x]
    np.testing.assert_allclose(block.attention(x), expected, atol=1e-5)  # as above


def test_length_and_batch_may_be_unknown():
    block, x = random_block(), tokens()
    dynamic = tf.function(block, input_signature=[tf.TensorSpec([None, None, 12])])
    # other kernels may be chosen in a graph: equal to a few roundings
    np.testing.assert_allclose(dynamic(x), block(x), atol=1e-6)


@pytest.mark.parametrize(("dim", "heads"), [(12, 5), (12, 0), (7, 2)])
def test_width_not_divisible_by_heads(dim, heads):
    message = f"divisible by num_heads: got hidden_dim={dim} and num_heads={heads}"
    with pytest.raises(ValueError, match=message):
        SelfAttention(dim, heads)
    with pytest.raises(ValueError, match=message):
        TransformerBlock(dim, heads, 8)


def test_drop_path_drops_whole_examples_and_scales_the_others():
    x = tokens(batch=64)
    layer, seed = DropPath(0.25), ExampleSeed.of(0, 0)
    result = layer(x, training=True, seed=seed)
    dropped = seed.uniform(64, ()).numpy() < 0.25
    assert 0 < dropped.sum() < 64
    np.testing.assert_array_equal(result.numpy()[dropped], 0)
    np.testing.assert_allclose(result.numpy()[~dropped], x[~dropped] / 0.75, rtol=1e-6)


def test_drop_path_is_nothing_in_inference_or_at_rate_0():
    x = tokens()
    np.testing.assert_array_equal(DropPath(0.5)(x, training=False, seed=ExampleSeed.of(0, 0)), x)
    np.testing.assert_array_equal(DropPath(0.0)(x, training=True), x)
    assert not DropPath(0.5).variables  # no generator's state that checkpoints and exports would carry


def test_drop_path_without_a_seed_follows_the_global_one():
    layer, x = DropPath(0.5), tokens(batch=64)
    draws = []
    for _ in range(2):
        tf.random.set_seed(3)
        draws.append(layer(x, training=True).numpy())
    np.testing.assert_array_equal(*draws)
    assert (layer(x, training=True).numpy() != draws[0]).any()


def test_both_branches_of_a_block_are_dropped_independently():
    """Among 256 examples, each of the four combinations of the two branches occurs."""
    block, x, seed = random_block(drop_path_rate=0.5), tokens(batch=256), ExampleSeed.of(1, 2)
    kept = [seed.fold_in(number).uniform(256, ()).numpy() >= 0.5 for number in (0, 1)]
    assert {(bool(a), bool(b)) for a, b in zip(*kept, strict=True)} == {
        (a, b) for a in (True, False) for b in (True, False)
    }
    unchanged = (block(x, training=True, seed=seed).numpy() == x).all(axis=(1, 2))
    np.testing.assert_array_equal(unchanged, ~kept[0] & ~kept[1])


@pytest.mark.parametrize("rate", [1.0, -0.1])
def test_drop_path_rate(rate):
    with pytest.raises(ValueError, match=r"a drop path rate lies in \[0, 1\)"):
        DropPath(rate)


def test_normalised_queries_and_keys_against_pytorch():
    """Both norms precede the scale and the rotation: a rotation of all tokens by the same angles changes nothing."""
    layer, x = SelfAttention(12, 3, qkv_bias=False, qk_norm=True, layer_norm_epsilon=1e-3), tokens()
    layer.build((None, None, 12))
    fill_randomly(layer)
    assert len(layer.weights) == 1 + 2 + 2 * 2  # matrix of three, projection, two norms
    qkv = torch.from_numpy(x @ layer.qkv.kernel.numpy()).reshape(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)
    norms = [
        (torch.from_numpy(norm.gamma.numpy()), torch.from_numpy(norm.beta.numpy()))
        for norm in (layer.q_norm, layer.k_norm)
    ]
    query, key = (layer_norm(each, (4,), *norm, eps=1e-3) for each, norm in zip(qkv[:2], norms, strict=True))
    heads = scaled_dot_product_attention(query, key, qkv[2]).transpose(1, 2).reshape(2, 5, 12).numpy()
    expected = heads @ layer.projection.kernel.numpy() + layer.projection.bias.numpy()
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    wave = tf.fill((5, 2), 0.6), tf.fill((5, 2), 0.8)
    np.testing.assert_allclose(layer(x, rotation=Rotation(*wave)), expected, atol=1e-5)


def test_a_bias_of_the_keys_is_refused_where_it_is_none(tmp_path):
    """Without rotation or norms it changes no output, with them it does."""
    layers = [SelfAttention(12, 3, key_bias=key_bias) for key_bias in (True, False)]
    for layer in layers:
        layer.build((None, None, 12))
    keras.Sequential([keras.Input((5, 12)), fill_randomly(layers[0])]).save_weights(tmp_path / "a.weights.h5")
    other = keras.Sequential([keras.Input((5, 12)), layers[1]])
    with pytest.raises(ValueError, match="the file has a bias of the attention's keys: build the model with key_bias"):
        other.load_weights(tmp_path / "a.weights.h5")
    bias = layers[0].qkv.bias
    bias.assign(without_keys(bias.numpy()))
    layers[1].set_weights(layers[0].get_weights())
    np.testing.assert_array_equal(layers[1](tokens()), layers[0](tokens()))
