"""The scaling of images, turned and by rows, against TensorFlow's kernel as it is and a slow NumPy form."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import scaling
from keras_mae.data.scaling import rounded, scale_across, scale_and_translate, scale_down
from tests.drawn import drawn

SIZES = [(37, 53), (53, 37), (1, 40), (40, 1), (1, 1), (300, 7)]


def by_the_kernel(image, size, scale, translation):
    return tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=size,
        scale=scale,
        translation=translation,
        kernel_type="keyscubic",
        antialias=True,
    )[0]


def of_dtype(size, channels, dtype):
    pixels = drawn(*size, channels)
    return pixels.astype("uint16") * 251 if dtype == "uint16" else pixels.astype(dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("channels", "dtype"), [(3, "uint8"), (1, "uint8"), (6, "uint16"), (2, "float32")])
@pytest.mark.parametrize(
    ("scale", "translation"),
    [((0.37, 0.61), (0.0, 0.0)), ((1.9, 0.5), (-3.3, 2.25)), ((1.0, 1.0), (4.5, -7.0)), ((0.2, 3.1), (30.0, -1e4))],
)
def test_is_the_kernels_to_the_last_bit(size, channels, dtype, scale, translation):
    """Windows that reach out of the image, and one far from it, among them."""
    image = tf.constant(of_dtype(size, channels, dtype))
    found = scale_and_translate(image, (19, 23), scale, translation)
    assert found.dtype == tf.float32 and found.shape == (19, 23, channels)
    np.testing.assert_array_equal(found, by_the_kernel(image, (19, 23), scale, translation))


def test_a_large_image_goes_another_way_to_the_same_bits():
    image = tf.constant(of_dtype((1100, 1000), 2, "uint8"))
    assert tf.size(image) > scaling._LARGE
    found = scale_and_translate(image, (19, 23), (0.017, 0.023), (0.5, -0.25))
    np.testing.assert_array_equal(found, by_the_kernel(image, (19, 23), (0.017, 0.023), (0.5, -0.25)))


def slow_weights(length, old, scale, translation):
    """Keys' cubic convolution of 1981 (a = -1/2), as wide as a shrinking needs, in plain numbers: `(length, old)`."""
    weights = np.zeros((length, old))
    for new in range(length):
        centre = (new + 0.5 - translation) / scale
        for place in range(old):
            x = abs(place + 0.5 - centre) * min(scale, 1.0)
            weights[new, place] = 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            weights[new, place] *= x < 2
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("scale", "translation"), [(0.37, -1.5), (1.9, -3.25)])
def test_down_and_across_are_a_slow_cubic_convolution(scale, translation):
    """float32 sums of up to 13 terms below 300: 1e-3 is 30 of their units in the last place."""
    image = drawn(37, 41)
    length = math.floor(scale * 37 / 2)  # within the image
    expected = np.einsum("nh,hwc->nwc", slow_weights(length, 37, scale, translation), image)
    np.testing.assert_allclose(scale_down(image, length, scale, translation), expected, atol=1e-3)
    expected = np.einsum("nw,hwc->hnc", slow_weights(length, 41, scale, translation), image)
    np.testing.assert_allclose(scale_across(image, length, scale, translation), expected, atol=1e-3)


def test_sizes_that_a_graph_does_not_know():
    function = tf.function(
        lambda image, size: scale_and_translate(image, size, (0.5, 0.7)),
        input_signature=[tf.TensorSpec((None, None, None), tf.uint8), tf.TensorSpec((2,), tf.int32)],
    )
    for size, channels in (((20, 30), 3), ((31, 9), 4)):
        image = tf.constant(drawn(*size, channels))
        expected = by_the_kernel(image, (8, 11), (0.5, 0.7), (0.0, 0.0))
        np.testing.assert_array_equal(function(image, (8, 11)), expected)
    fixed = tf.function(lambda image: scale_and_translate(image, (8, 11), (0.5, 0.7)))
    assert fixed.get_concrete_function(tf.TensorSpec((None, None, 3), tf.uint8)).output_shapes[-1] == 3


def test_rounded_to_the_nearest_level_of_the_dtype():
    levels = tf.constant([-3.0, 0.49, 0.51, 254.6, 255.4, 300.0, 65534.7, 70000.0])
    np.testing.assert_array_equal(rounded(levels, tf.uint8), [0, 0, 1, 255, 255, 255, 255, 255])
    np.testing.assert_array_equal(rounded(levels, tf.uint16), [0, 0, 1, 255, 255, 300, 65535, 65535])
