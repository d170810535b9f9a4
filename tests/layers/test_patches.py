"""Cutting images into patches and putting them together again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_mae.layers import Patchify, unpatchify
from keras_mae.layers.patches import as_pair, patch_grid
from tests.base import random_images
from tests.reference import numpy_mae

sides = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(grid=sides, patch=sides, channels=st.integers(1, 5))
def test_any_grid_patch_and_channels(grid, patch, channels):
    shape = (grid[0] * patch[0], grid[1] * patch[1], channels)
    images = random_images(2, shape)
    patches = Patchify(patch)(images)
    assert patches.dtype == "uint8"  # a quarter of float32's bytes: pixels are cast after hidden patches are dropped
    np.testing.assert_array_equal(patches, [numpy_mae.patchify(image, *patch) for image in images])
    np.testing.assert_array_equal(unpatchify(patches, shape, patch), images)


def test_order_by_hand():
    image = np.arange(2 * 4 * 2).reshape(1, 2, 4, 2)  # two patches of 2 x 2 pixels with 2 channels, side by side
    np.testing.assert_array_equal(Patchify(2)(image), [[[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]])


@pytest.mark.parametrize("shape", [(10, 8, 3), (8, 10, 3), (3, 8, 3)])
def test_image_not_divisible_by_the_patch(shape):
    height, width, _ = shape
    message = f"divisible by the patch size: got images of {height} x {width} and patches of 4 x 4 .* to [48] x 8$"
    with pytest.raises(ValueError, match=message):
        patch_grid(shape, 4)
    with pytest.raises(ValueError, match="divisible by the patch size"):
        Patchify(4)(random_images(1, shape))


@pytest.mark.parametrize("size", [0, -1, (4,), (4, 4, 4), (4, 0), 4.0, (4, 2.0), None, "16"])
def test_patch_size_is_a_positive_integer_or_a_pair(size):
    with pytest.raises(ValueError, match=r"a positive integer or a pair of them \(height, width\), got"):
        as_pair(size)


def test_pairs():
    assert as_pair(4) == (4, 4) and as_pair([4, 2]) == (4, 2)
    assert Patchify([4, 2]).patch_size == (4, 2)
