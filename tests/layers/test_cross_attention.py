"""Cross-attention against PyTorch, and shapes that are not static."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from torch.nn.functional import scaled_dot_product_attention

from keras_mae.layers import CrossAttention, CrossAttentionBlock
from tests.base import fill_randomly

RNG = np.random.default_rng(0)
X, MEMORY = (RNG.normal(size=shape).astype("float32") for shape in ((2, 5, 12), (2, 3, 8)))


@pytest.fixture
def attention():
    layer = CrossAttention(12, 3)
    layer.build((None, None, 12), (None, None, 8))
    return fill_randomly(layer)


def test_against_pytorch(attention):
    x, memory, *weights = (
        torch.tensor(np.asarray(array, "float64")) for array in (X, MEMORY, *attention.get_weights())
    )
    (query, query_bias), (pairs, pairs_bias), (output, output_bias) = zip(weights[::2], weights[1::2], strict=True)
    heads = [
        (tokens @ kernel + bias).unflatten(-1, (3, 4)).transpose(1, 2)
        for tokens, kernel, bias in (
            (x, query, query_bias),
            (memory, pairs[:, :12], pairs_bias[:12]),
            (memory, pairs[:, 12:], pairs_bias[12:]),
        )
    ]
    expected = scaled_dot_product_attention(*heads).transpose(1, 2).flatten(-2) @ output + output_bias
    np.testing.assert_allclose(attention(X, MEMORY), expected, atol=1e-5)  # float32 sums of 12 numbers of size 1 to 10


def test_lengths_and_batch_may_be_unknown(attention):
    specs = [tf.TensorSpec([None, None, width]) for width in (12, 8)]
    # other kernels may be chosen in a graph: equal to a few roundings
    np.testing.assert_allclose(
        tf.function(attention, input_signature=specs)(X, MEMORY), attention(X, MEMORY), atol=1e-6
    )


def test_no_query_sees_another(attention):
    block = CrossAttentionBlock(12, 3, 20)
    block.build((None, None, 12), (None, None, 8))
    fill_randomly(block)
    np.testing.assert_allclose(block(X[:, 1:3], MEMORY), block(X, MEMORY)[:, 1:3], atol=1e-6)  # products of other sizes


@pytest.mark.parametrize(("dim", "heads"), [(12, 5), (12, 0), (7, 2)])
def test_width_not_divisible_by_heads(dim, heads):
    with pytest.raises(ValueError, match=f"divisible by num_heads: got hidden_dim={dim} and num_heads={heads}"):
        CrossAttention(dim, heads)
