"""Cutting images into patches and putting them together again."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_mae.layers import Patchify, unpatchify
from keras_mae.layers.kernels import COMPILED_KERNELS, use_kernels
from keras_mae.layers.patches import as_pair, patch_grid, take_patches
from tests.base import random_images
from tests.device_kernels import GPU, kernels_of, without_kernel
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


BITS = np.random.default_rng(0).integers(0, 256, (4, 6, 96), dtype="uint8")  # every bit pattern, those of NaN too
IDS = np.stack([np.random.default_rng(seed).permutation(6)[:4] for seed in range(4)]).astype("int32")
DTYPES = ["uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32"]


@pytest.mark.parametrize("width", [12, 6, 5])  # in bytes divisible by four, by two, and not
@pytest.mark.parametrize("dtype", DTYPES)
def test_taken_patches_are_those_of_the_indices_to_the_bit(dtype, width):
    patches = BITS.view(dtype)[..., :width]
    expected = np.take_along_axis(patches, IDS[..., None], axis=1).tobytes()
    taken = take_patches(patches, IDS)
    assert taken.dtype == dtype and taken.shape == (4, 4, width) and taken.numpy().tobytes() == expected
    with use_kernels(COMPILED_KERNELS):
        assert take_patches(patches, IDS).numpy().tobytes() == expected
    for compiled in (False, True):
        function = tf.function(take_patches, jit_compile=compiled, autograph=False)
        assert function(patches, IDS).numpy().tobytes() == expected


@pytest.mark.parametrize("width", [12, 6, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_patches_are_taken_by_kernels_of_gpus(dtype, width):
    """Of any number of images and patches; shapes stay known as far as they are."""
    specs = tf.TensorSpec((None, 6, width), dtype), tf.TensorSpec((None, None), tf.int32)
    function = tf.function(take_patches, autograph=False).get_concrete_function(*specs)
    assert function.output_shapes.as_list() == [None, None, width]
    assert without_kernel(function.graph, kernels_of(GPU)) == {}
    patches = BITS.view(dtype)[..., :width]
    expected = np.take_along_axis(patches, IDS[..., None], axis=1)
    assert function(tf.constant(patches), tf.constant(IDS)).numpy().tobytes() == expected.tobytes()
    assert function(tf.constant(patches[:0]), tf.constant(IDS[:0])).shape == (0, 4, width)


def test_the_gradient_goes_through_taken_patches():
    patches = tf.constant(np.arange(48, dtype="float32").reshape(2, 3, 8))
    with tf.GradientTape() as tape:
        tape.watch(patches)
        loss = tf.reduce_sum(take_patches(patches, [[2, 0], [1, 2]]) ** 2)
    hidden = np.array([[1, 0, 1], [0, 1, 1]])[..., None]
    np.testing.assert_array_equal(tape.gradient(loss, patches), 2 * patches.numpy() * hidden)
