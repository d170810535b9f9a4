"""Relative positions: which pair has which row, patches left out, and other grids; LayerScale."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_mae.layers import LayerScale, RelativePositionBias, relative_position_index, resize_relative_position_bias
from keras_mae.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, ViTEncoder
from tests.base import fill_randomly, random_images, small_encoder
from tests.reference.torch_simmim import relative_table_rows

IMAGES = random_images(3, (8, 12, 3))


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (4, 4), (5, 1)])
def test_index_pair_by_pair(grid):
    expected = relative_table_rows(grid).numpy()
    np.testing.assert_array_equal(relative_position_index(grid, 1), expected)
    np.testing.assert_array_equal(relative_position_index(grid, 0), expected[1:, 1:])


def filled(**arguments):
    layer = RelativePositionBias((2, 3), 4, **arguments)
    layer.build()
    layer.table.assign(np.random.default_rng(0).normal(size=layer.table.shape))
    return layer


def test_bias_by_hand():
    bias = filled(num_prefix_tokens=1)()
    table = filled(num_prefix_tokens=1).table.numpy()
    assert bias.shape == (4, 7, 7) and table.shape == (3 * 5 + 3, 4)
    patch = lambda row, column: 1 + 3 * row + column  # noqa: E731
    np.testing.assert_array_equal(bias[:, patch(0, 0), patch(1, 2)], table[0])  # up by 1 and left by 2: the first row
    np.testing.assert_array_equal(bias[:, patch(1, 1), patch(1, 1)], table[7])  # itself: the middle
    np.testing.assert_array_equal(bias[:, patch(1, 2), patch(0, 0)], table[14])
    np.testing.assert_array_equal(bias[:, 0, patch(1, 1)], table[15])
    np.testing.assert_array_equal(bias[:, patch(1, 1), 0], table[16])
    np.testing.assert_array_equal(bias[:, 0, 0], table[17])


@pytest.mark.parametrize("num_prefix_tokens", [0, 1])
def test_patches_that_are_left_out(num_prefix_tokens):
    layer = filled(num_prefix_tokens=num_prefix_tokens)
    everything, ids = layer().numpy(), np.array([[4, 0, 3], [1, 2, 5]], "int32")
    some = layer(ids=ids)
    assert some.shape == (2, 4, 3 + num_prefix_tokens, 3 + num_prefix_tokens)
    for example, kept in enumerate(ids):
        tokens = [*range(num_prefix_tokens), *(kept + num_prefix_tokens)]
        np.testing.assert_array_equal(some[example], everything[:, tokens][:, :, tokens])


@pytest.mark.parametrize("extra", [0, 3])
def test_resizing_is_pytorchs_bicubic(extra):
    table = np.random.default_rng(1).normal(size=(5 * 7 + extra, 2)).astype("float32")  # of a 3 x 4 grid
    offsets = torch.from_numpy(table[:35].T.reshape(1, 2, 5, 7))
    expected = torch.nn.functional.interpolate(offsets, size=(9, 3), mode="bicubic", align_corners=False)
    resized = resize_relative_position_bias(table, (3, 4), (5, 2))
    np.testing.assert_allclose(resized[:27], expected.numpy().reshape(2, 27).T, atol=1e-5)
    np.testing.assert_array_equal(resized[27:], table[35:])


@pytest.mark.parametrize("kind", ["shared", "per_block"])
def test_an_encoder_for_another_image_size(kind):
    encoder = small_encoder(relative_position_bias=kind, position_embedding=None, layer_scale=0.1, num_layers=2)
    other = encoder.with_image_shape((16, 12, 3))
    for ours, theirs in zip(encoder.relative_positions, other.relative_positions, strict=True):
        np.testing.assert_array_equal(theirs.table, resize_relative_position_bias(ours.table.numpy(), (2, 3), (4, 3)))
    np.testing.assert_array_equal(other.blocks[1].mlp_scale.gamma, encoder.blocks[1].mlp_scale.gamma)
    same = encoder.with_image_shape((8, 12, 3))
    np.testing.assert_array_equal(same(IMAGES)["patch_tokens"], encoder(IMAGES)["patch_tokens"])


@pytest.mark.parametrize("positions", [None, "learned"])
@pytest.mark.parametrize("kind", [None, "shared"])
def test_a_table_for_each_block_computes_the_same(kind, positions):
    encoder = small_encoder(relative_position_bias=kind, position_embedding=positions, num_layers=3, layer_scale=0.1)
    other = encoder.with_relative_position_bias("per_block")
    assert len(other.relative_positions) == 3 and other.relative_position_bias == "per_block"
    np.testing.assert_array_equal(other(IMAGES)["patch_tokens"], encoder(IMAGES)["patch_tokens"])
    other.relative_positions[2].table.assign(np.ones((18, 2)))
    assert np.abs(other.relative_positions[1].table - other.relative_positions[2].table).max() > 0.1
    with pytest.raises(ValueError, match="can be turned into one 'per_block', and no other kind; got 'shared'"):
        other.with_relative_position_bias("shared")


def test_the_bias_is_seen_by_every_block_that_has_it():
    encoder = small_encoder(relative_position_bias="per_block", num_layers=2)
    before = encoder(IMAGES)["patch_tokens"].numpy()
    for layer in encoder.relative_positions:
        table = layer.table.numpy()
        layer.table.assign(table[::-1])
        assert np.abs(encoder(IMAGES)["patch_tokens"] - before).max() > 1e-3
        layer.table.assign(table)
    np.testing.assert_array_equal(encoder(IMAGES)["patch_tokens"], before)


@pytest.mark.medium
def test_a_masked_autoencoder_with_relative_positions():
    """What the encoder makes of visible patches does not depend on their order, so the bias goes with them."""
    encoder = small_encoder(relative_position_bias="shared", position_embedding=None)
    ids = np.array([[1, 2, 5]] * 3, "int32")
    tokens = encoder.encode(IMAGES, ids_keep=ids).patches.numpy()
    shuffled = encoder.encode(IMAGES, ids_keep=ids[:, ::-1]).patches.numpy()
    np.testing.assert_allclose(shuffled, tokens[:, ::-1], atol=1e-5)
    everything = encoder.encode(IMAGES, ids_keep=np.array([[0, 1, 2, 3, 4, 5]] * 3)).patches
    np.testing.assert_allclose(everything, encoder(IMAGES)["patch_tokens"], atol=1e-5)
    mae = MaskedAutoencoder(encoder, MAEDecoder(12, 1, 3))
    gradient = tf.function(lambda: mae(IMAGES)["prediction"], jit_compile=True)
    assert np.isfinite(gradient()).all()


@pytest.mark.parametrize(("count", "trained"), [(None, [0, 1, 2]), (1, [2]), (1.5, [2]), (0, [])])
def test_a_table_is_trained_with_its_block(count, trained):
    encoder = small_encoder(relative_position_bias="per_block", num_layers=3, layer_scale=0.1)
    classifier = ImageClassifier(encoder, 4, num_trainable_layers=count)
    assert [i for i, layer in enumerate(encoder.relative_positions) if classifier.trained_of(layer.weights)] == trained
    half = encoder.blocks[1]
    assert bool(classifier.trained_of(half.mlp_scale.weights)) == (count in (None, 1.5))
    assert bool(classifier.trained_of(half.attention_scale.weights)) == (count is None)
    groups = [id(variable) for group in classifier.layer_groups() for variable in group]
    assert sorted(groups) == sorted(id(variable) for variable in classifier.trainable_variables)
    shared = small_encoder(relative_position_bias="shared")
    classifier = ImageClassifier(shared, 4, num_trainable_layers=count if count in (None, 0) else 1)
    assert bool(classifier.trained_of(shared.relative_positions[0].weights)) == (count is None)


def test_without_any_positions_patches_are_a_set():
    encoder = small_encoder(position_embedding=None)
    assert encoder.positions.weights == []
    columns = np.repeat(IMAGES[:, :, ::4], 4, axis=2)  # mirroring leaves each patch as it is
    flipped, tokens = encoder(columns[:, :, ::-1])["patch_tokens"], encoder(columns)["patch_tokens"]
    mirrored = np.reshape(tokens, (3, 2, 3, 16))[:, :, ::-1].reshape(3, 6, 16)
    np.testing.assert_allclose(flipped, mirrored, atol=1e-5)


def test_layer_scale():
    layer = LayerScale(0.1)
    branch = np.arange(6, dtype="float32").reshape(2, 3)
    np.testing.assert_allclose(layer(branch), branch * np.float32(0.1))
    layer.gamma.assign([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(layer(branch), branch * [1, 2, 3])
    half = LayerScale(0.1, dtype="mixed_bfloat16")
    assert half(branch).dtype == tf.bfloat16 and half.gamma.dtype == "float32"


def test_bad_kinds():
    with pytest.raises(ValueError, match="relative_position_bias is one of None, 'shared', 'per_block'; got 'global'"):
        ViTEncoder((8, 12, 3), 4, 16, 1, 2, relative_position_bias="global")
    with pytest.raises(ValueError, match="a position embedding is one of sincos, learned, None; got 'rotary'"):
        ViTEncoder((8, 12, 3), 4, 16, 1, 2, position_embedding="rotary")


def test_mixed_precision():
    encoder = fill_randomly(
        ViTEncoder((8, 12, 3), 4, 16, 2, 2, relative_position_bias="shared", layer_scale=0.1, dtype="mixed_bfloat16")
    )
    outputs = encoder(IMAGES)["patch_tokens"]
    assert outputs.dtype == tf.bfloat16 and np.isfinite(tf.cast(outputs, tf.float32)).all()
