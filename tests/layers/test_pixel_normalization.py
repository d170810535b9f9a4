"""Pixel levels to network values and back."""

import numpy as np
import pytest

from keras_mae.layers import Patchify, PixelNormalization, pixel_levels
from tests.base import random_images
from tests.reference import numpy_mae

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int32", "float64"])
def test_against_numpy(dtype):
    images = random_images(2, (4, 6, 3), dtype=dtype)
    layer = PixelNormalization(MEAN, STD)
    values = layer(images)
    assert values.dtype == "float32"
    expected = np.array([numpy_mae.normalize_pixels(image, MEAN, STD) for image in images])
    np.testing.assert_allclose(values, expected, atol=2e-6)  # values below 3, three roundings of 1.2e-7 each
    np.testing.assert_allclose(layer.inverse(values), images, atol=2e-4)  # the same at 255
    # on flattened patches it is the same
    np.testing.assert_array_equal(layer(Patchify(2)(images)), Patchify(2)(values))


def test_uint16_is_0_to_65535():
    images = np.random.default_rng(0).integers(0, 2**16, (2, 4, 6, 3)).astype("uint16")
    layer = PixelNormalization(MEAN, STD)
    np.testing.assert_array_equal(layer(images), layer(images / np.float32(257)))  # to the bit what batches have
    levels = random_images(2, (4, 6, 3))
    np.testing.assert_array_equal(layer(levels.astype("uint16") * 257), layer(levels))
    assert pixel_levels(np.array([0, 257, 65535], "uint16")).numpy().tolist() == [0, 1, 255]
    assert pixel_levels(np.array([0, 257.5], "float64")).numpy().tolist() == [0, 257.5]


def test_stays_float32_under_a_mixed_policy():
    values = PixelNormalization(MEAN, STD, dtype="mixed_float16")(random_images(1, (2, 2, 3)))
    assert values.dtype == "float32"


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5, 0.5)), ((), ()), ((0.5,), (0.0,)), ((0.5,), (-1.0,))])
def test_one_mean_and_positive_std_a_channel(mean, std):
    with pytest.raises(ValueError, match="one number a channel, every std above 0"):
        PixelNormalization(mean, std)
