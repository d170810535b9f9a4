"""Sin-cos tables by hand and against NumPy, and resizing against PyTorch's bicubic."""

import logging

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from keras_mae.layers import PositionEmbedding, resize_position_embedding, sincos_position_embedding
from tests.reference import numpy_mae

grids = st.tuples(st.integers(1, 6), st.integers(1, 6))


def test_sincos_by_hand():
    """A 2 x 3 grid, width 8: frequencies 1 and 10000^(-1/2) = 0.01; columns first, then rows; sines, then cosines."""
    sin, cos = {0: 0.0, 1: 0.841470985, 2: 0.909297427}, {0: 1.0, 1: 0.540302306, 2: -0.416146837}
    slow_sin = {0: 0.0, 1: 0.009999833, 2: 0.019998667}
    slow_cos = {0: 1.0, 1: 0.999950000, 2: 0.999800007}

    def wave(position):
        return [sin[position], slow_sin[position], cos[position], slow_cos[position]]

    table = sincos_position_embedding((2, 3), 8, num_prefix_tokens=1)
    expected = [[0.0] * 8] + [wave(column) + wave(row) for row in (0, 1) for column in (0, 1, 2)]
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, expected, atol=1e-7)  # nine decimals above, float32 below


@given(
    grid=grids, quarter=st.integers(1, 5), prefix=st.integers(0, 2), temperature=st.sampled_from([10.0, 100.0, 10000.0])
)
def test_sincos_against_numpy(grid, quarter, prefix, temperature):
    table = sincos_position_embedding(grid, 4 * quarter, prefix, temperature)
    expected = numpy_mae.sincos_table(*grid, 4 * quarter, prefix, temperature)
    np.testing.assert_allclose(table, expected, atol=1e-7)  # rounded to float32, 1 at most
    layer = PositionEmbedding(grid, prefix, temperature=temperature)
    layer.build((None, None, 4 * quarter))
    np.testing.assert_array_equal(layer.table, table)


def test_sincos_needs_a_width_divisible_by_4():
    with pytest.raises(ValueError, match="a width divisible by 4, got 6; use kind='learned'"):
        sincos_position_embedding((2, 3), 6)


@given(old=grids, new=grids, prefix=st.integers(0, 2))
def test_resize_is_torch_bicubic(old, new, prefix):
    dim = 5
    table = np.random.default_rng(0).normal(size=(prefix + old[0] * old[1], dim)).astype("float32")
    resized = resize_position_embedding(table, old, new, prefix)
    patches = torch.tensor(table[prefix:].reshape(1, *old, dim)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(patches, size=new, mode="bicubic", align_corners=False)
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized[:prefix], table[:prefix])
    # PyTorch's weights are float32; entries go up to 4
    np.testing.assert_allclose(resized[prefix:], expected.permute(0, 2, 3, 1).reshape(-1, dim), atol=1e-5)


def test_resize_is_logged_and_checked(caplog):
    table = np.zeros((7, 4), "float32")
    with caplog.at_level(logging.INFO, logger="keras_mae"):
        resize_position_embedding(table, (2, 3), (2, 3), 1)
        assert not caplog.records
        resize_position_embedding(table, (2, 3), (4, 5), 1)
    assert "resized from a 2 x 3 to a 4 x 5 grid" in caplog.text
    with pytest.raises(ValueError, match="a grid of 3 x 3 has 10 rows, got 7"):
        resize_position_embedding(table, (3, 3), (4, 5), 1)


@pytest.mark.parametrize("kind", ["sincos", "learned"])
def test_layer_adds_the_rows_of_its_patches(kind):
    layer = PositionEmbedding((2, 3), num_prefix_tokens=1, kind=kind)
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(2, 6, 8)).astype("float32")
    layer.build(tokens.shape)
    assert layer.trainable_variables == ([layer.table] if kind == "learned" else [])
    layer.table.assign(rng.normal(size=(7, 8)))
    table = keras.ops.convert_to_numpy(layer.table)
    np.testing.assert_array_equal(layer.prefix(), table[:1])
    np.testing.assert_array_equal(layer(tokens), tokens + table[1:])
    ids = np.array([[4, 0], [1, 5]])
    np.testing.assert_array_equal(layer(tokens[:, :2], ids=ids), tokens[:, :2] + table[1:][ids])


def test_initial_tables():
    fixed, learned = PositionEmbedding((16, 16), 1), PositionEmbedding((16, 16), 1, kind="learned")
    for layer in (fixed, learned):
        layer.build((None, 256, 64))
    np.testing.assert_array_equal(fixed.table, sincos_position_embedding((16, 16), 64, 1))
    values = keras.ops.convert_to_numpy(learned.table)
    # the standard deviation of n numbers is known to 1 / sqrt(2 n) = 0.55 %: five of that
    np.testing.assert_allclose(values.std(), 0.02, rtol=0.028)


def test_unknown_kind():
    with pytest.raises(ValueError, match="one of sincos, learned, None; got 'rope'"):
        PositionEmbedding((2, 3), kind="rope")
