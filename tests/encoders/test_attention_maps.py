"""The weights of attention: they give the layer's output, and the class token's are those of the last block."""

import keras
import numpy as np
import pytest

from keras_mae.layers import SelfAttention
from tests.base import fill_randomly, random_images, small_encoder

IMAGES = random_images(3, (8, 12, 3))
ROUND_OFF = 1e-5


@pytest.mark.parametrize("bias", [None, np.random.default_rng(0).normal(size=(2, 5, 5)).astype("float32")])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_weights_give_the_output(bias, qk_norm):
    layer = SelfAttention(12, 2, qk_norm=qk_norm)
    layer.build((None, 5, 12))
    fill_randomly(layer)
    x = np.random.default_rng(1).normal(size=(3, 5, 12)).astype("float32")
    weights = layer.attention(x, bias).numpy()
    assert weights.shape == (3, 2, 5, 5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=ROUND_OFF)
    values = layer.qkv(x).numpy().reshape(3, 5, 3, 2, 6)[:, :, 2]  # (B, N, heads, head_dim)
    mixed = np.einsum("bhnk,bkhd->bnhd", weights, values).reshape(3, 5, 12)
    np.testing.assert_allclose(layer(x, bias), layer.projection(mixed), atol=ROUND_OFF)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def test_the_class_tokens_attention():
    """In NumPy, from what enters the last block: its norm, queries and keys."""
    encoder = small_encoder(num_layers=2, num_cls_tokens=2, num_registers=1)
    x = np.concatenate(encoder.tokens_of_layer(IMAGES, 1), axis=1).astype("float64")  # (B, 3 + 6, 16)
    block = encoder.blocks[-1]
    gamma, beta, kernel, bias = (
        keras.ops.convert_to_numpy(weight) for weight in (*block.norm1.weights, *block.attention.qkv.weights)
    )
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * gamma + beta
    q, k, _ = np.moveaxis((normed @ kernel + bias).reshape(3, 9, 3, 2, 8), 2, 0)
    weights = softmax(np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(8))
    found = encoder.class_token_attention(IMAGES)
    np.testing.assert_allclose(found, weights[:, :, :2, 3:].mean(axis=2), atol=ROUND_OFF)


@pytest.mark.parametrize(
    "form",
    [
        {"num_layers": 1},
        {"num_layers": 2, "relative_position_bias": "per_block", "dtype": "mixed_bfloat16"},
        {"num_layers": 2, "rotary_temperature": 100.0, "qk_norm": True, "key_bias": False},
    ],
)
def test_other_encoders(form):
    encoder = small_encoder(**form)
    weights = encoder.class_token_attention(IMAGES).numpy()
    assert weights.shape == (3, 2, 6) and weights.dtype == "float32"
    assert (weights > 0).all() and (weights.sum(axis=-1) < 1).all()  # the class token keeps some for itself


def test_without_a_class_token():
    with pytest.raises(ValueError, match="no class token whose attention could be drawn"):
        small_encoder(num_cls_tokens=0).class_token_attention(IMAGES)
