"""Masks made from noise and from given masks."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_mae.masking import Mask, RandomMasking
from tests.base import random_noise
from tests.reference import numpy_mae


@given(patches=st.integers(1, 12), data=st.data())
def test_from_noise_is_the_reference(patches, data):
    visible = data.draw(st.integers(0, patches))
    noise = random_noise(2, patches, seed=data.draw(st.integers(0, 100)))
    mask = Mask.from_noise(noise, visible)
    for row in range(2):
        ids_keep, ids_restore, expected = numpy_mae.mask_from_noise(noise[row], visible)
        np.testing.assert_array_equal(mask.ids_keep[row], ids_keep)
        np.testing.assert_array_equal(mask.ids_restore[row], ids_restore)
        np.testing.assert_array_equal(mask.mask[row], expected)


def test_ties_go_to_the_first():
    mask = Mask.from_noise(np.array([[0.5, 0.1, 0.5, 0.1, 0.5]], "float32"), 3)
    np.testing.assert_array_equal(mask.ids_keep, [[1, 3, 0]])
    np.testing.assert_array_equal(mask.ids_masked, [[2, 4]])


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "uint8", "float32", "float64"])
def test_from_mask_keeps_the_order_of_the_patches(dtype):
    given_mask = np.array([[1, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 1]]).astype(dtype)
    mask = Mask.from_mask(given_mask)
    np.testing.assert_array_equal(mask.ids_keep, [[1, 2, 5], [0, 3, 4]])
    np.testing.assert_array_equal(mask.ids_masked, [[0, 3, 4], [1, 2, 5]])
    np.testing.assert_array_equal(mask.mask, given_mask.astype("float32"))
    shuffled = np.concatenate([mask.ids_keep, mask.ids_masked], axis=1)
    np.testing.assert_array_equal(np.take_along_axis(shuffled, mask.ids_restore.numpy(), axis=1), [range(6)] * 2)


BAD_MASKS = [
    ("unequal counts", [[1, 0, 0, 1], [1, 1, 0, 1]], None),
    ("nothing visible", [[1, 1, 1, 1], [1, 1, 1, 1]], None),
    ("not 0 or 1", [[1, 0.5, 0.5, 0], [1, 0, 0, 1]], None),
    ("another count than expected", [[1, 0, 0, 1], [1, 0, 0, 1]], 3),
]


@pytest.mark.parametrize(("mask", "num_visible"), [row[1:] for row in BAD_MASKS], ids=[row[0] for row in BAD_MASKS])
def test_bad_masks(mask, num_visible):
    mask = np.array(mask, "float32")
    with pytest.raises(ValueError, match="the same number of ones in every row, and at least one visible patch"):
        Mask.from_mask(mask, num_visible)
    in_graph = tf.function(lambda m: Mask.from_mask(m, num_visible).ids_keep)
    with pytest.raises(tf.errors.InvalidArgumentError, match="the same number of ones in every row"):
        in_graph(tf.constant(mask))


def test_bad_masks_say_what_was_given():
    with pytest.raises(ValueError, match=r"got rows with \[1, 2\] visible patches of 4"):
        Mask.from_mask(np.array([[1, 0, 0, 1], [1, 1, 0, 1]]))
    with pytest.raises(ValueError, match="3 visible patches a row were expected"):
        Mask.from_mask(np.array([[1, 0, 0, 1]]), num_visible=3)


def test_bad_masks_become_nan_under_xla():
    """XLA removes assertions: a NaN in the mask, and so in the loss, is what is left to see."""
    compiled = tf.function(lambda m: Mask.from_mask(m, 2).mask, jit_compile=True)
    good = np.array([[1, 0, 0, 1], [0, 1, 0, 1]], "float32")
    np.testing.assert_array_equal(compiled(good), good)
    assert np.isnan(compiled(np.array([[1, 0, 0, 1], [1, 1, 0, 1]], "float32"))).all()


@pytest.mark.parametrize("ratio", [1, 1.0, -0.01, float("nan"), 75])
def test_ratio_outside_zero_to_one(ratio):
    with pytest.raises(ValueError, match=r"a mask ratio lies in \[0, 1\), 0.75 masks three quarters"):
        RandomMasking(ratio)


def test_ratio_that_leaves_nothing_visible():
    with pytest.raises(ValueError, match="0.9 leaves none of the 4 patches visible; the largest .* is 0.7500"):
        RandomMasking(0.9).num_visible(4)
    with pytest.raises(ValueError, match="an image of one patch has none to mask; choose smaller patches, or larger"):
        RandomMasking(0.75).num_visible(1)
    assert RandomMasking(0.0).num_visible(1) == 1
