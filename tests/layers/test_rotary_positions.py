"""Rotary positions by hand, and a whole block against DINOv3's in Hugging Face transformers."""

import importlib

import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_mae.layers import TransformerBlock
from keras_mae.layers.rotary_positions import RotaryPositions, rotary_angles
from tests.layers.test_transformer_block import tokens
from tests.reference.torch_weights import randomize

dinov3 = importlib.import_module("transformers.models.dinov3_vit.modeling_dinov3_vit")  # after torch_weights
GRID = (2, 3)


def test_angles_by_hand():
    # rows at -1/2 and 1/2, columns at -2/3, 0 and 2/3; frequencies 1 and 1/10
    expected = [
        [np.pi * row * w for w in (1, 0.1)] + [4 / 3 * np.pi * column * w for w in (1, 0.1)]
        for row in (-1, 1)
        for column in (-1, 0, 1)
    ]
    np.testing.assert_allclose(rotary_angles(GRID, 8, 100.0), expected, rtol=1e-12, atol=1e-12)


def test_prefix_tokens_are_not_rotated_and_patches_are_rotated_by_their_place():
    positions, x = RotaryPositions(GRID, 8, 100.0, num_prefix_tokens=2), tokens(2, 8 * 2, 8).reshape(2, 8, 2, 8)
    rotated = positions()(x).numpy()
    np.testing.assert_array_equal(rotated[:, :2], x[:, :2])
    # halves of a head are the real and imaginary parts of four numbers
    numbers, turned = (each[..., :4] + 1j * each[..., 4:] for each in (x, rotated))
    expected = numbers[:, 2:] * np.exp(1j * rotary_angles(GRID, 8, 100.0))[:, None]
    np.testing.assert_allclose(turned[:, 2:], expected, atol=1e-6)  # float32
    ids = np.array([[4, 0, 5], [1, 2, 3]], "int32")
    kept = np.concatenate([[[0, 1]] * 2, ids + 2], axis=1)[..., None, None]
    some = positions(ids)(np.take_along_axis(x, kept, axis=1))
    np.testing.assert_array_equal(some, np.take_along_axis(rotated, kept, axis=1))


def test_a_layer_that_computes_in_16_bits_rotates_by_float32():
    """With angles of 8 bits, neighbouring patches of a large grid would have the same position."""
    rotation, x = RotaryPositions((1, 200), 4, 100.0)(), tf.ones((1, 200, 1, 4), tf.bfloat16)
    block = TransformerBlock(4, 1, 4, dtype="mixed_bfloat16")
    seen = []
    block.attention.call = lambda x, bias=None, rotation=None: seen.append(rotation) or x
    block(x[:, :, 0], rotation=rotation)
    assert seen[0].cosine.dtype == seen[0].sine.dtype == tf.float32
    assert rotation(x).dtype == tf.bfloat16


@pytest.mark.parametrize("gated", [False, True])
def test_a_block_against_dinov3s(gated):
    sizes = {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 20, "layer_norm_eps": 1e-5}
    config = dinov3.DINOv3ViTConfig(
        image_size=(8, 12),
        patch_size=4,
        use_gated_mlp=gated,
        layerscale_value=0.1,
        hidden_act="silu" if gated else "gelu",
        attn_implementation="eager",
        **sizes,
    )
    theirs = randomize(dinov3.DINOv3ViTLayer(config))
    x = tokens(2, 7, 24)  # 6 patches after one prefix token
    waves = dinov3.DINOv3ViTRopePositionEmbedding(config).eval()(torch.zeros(1, 3, 8, 12))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x), position_embeddings=waves)

    ours = TransformerBlock(24, 3, 20, layer_norm_epsilon=1e-5, layer_scale=0.1, key_bias=False, gated_mlp=gated)
    ours.build((None, 7, 24))
    copy_dinov3s(theirs, ours)
    rotation = RotaryPositions(GRID, 8, 100.0, num_prefix_tokens=1)()
    np.testing.assert_allclose(ours(x, rotation=rotation), expected, atol=1e-5)  # float32 sums of numbers up to 10


def copy_dinov3s(theirs, ours):
    """Gives our block the weights of one of transformers' DINOv3."""
    mlp = theirs.mlp
    hidden = [mlp.gate_proj, mlp.up_proj] if ours.gated_mlp else [mlp.up_proj]
    attention = theirs.attention
    assert attention.k_proj.bias is None
    bias = [attention.q_proj.bias, torch.zeros(24), attention.v_proj.bias]
    matrices = [
        (ours.attention.qkv, [attention.q_proj, attention.k_proj, attention.v_proj], bias),
        (ours.attention.projection, [attention.o_proj], [attention.o_proj.bias]),
        (ours.mlp_hidden, hidden, [each.bias for each in hidden]),
        (ours.mlp_output, [mlp.down_proj], [mlp.down_proj.bias]),
    ]
    for layer, linear, biases in matrices:
        layer.kernel.assign(torch.cat([each.weight for each in linear]).detach().numpy().T)
        layer.bias.assign(torch.cat(biases).detach().numpy())
    for layer, norm in ((ours.norm1, theirs.norm1), (ours.norm2, theirs.norm2)):
        layer.gamma.assign(norm.weight.detach().numpy())
        layer.beta.assign(norm.bias.detach().numpy())
    ours.attention_scale.gamma.assign(theirs.layer_scale1.lambda1.detach().numpy())
    ours.mlp_scale.gamma.assign(theirs.layer_scale2.lambda1.detach().numpy())


def test_bad_arguments():
    with pytest.raises(
        ValueError, match="width divisible by 4, got hidden_dim / num_heads = 6: take another num_heads"
    ):
        rotary_angles(GRID, 6, 100.0)
    with pytest.raises(ValueError, match="temperature of rotary positions is above 0, got -1.0"):
        rotary_angles(GRID, 8, -1.0)
