"""Pixel levels to network values and back."""

import numpy as np
import pytest

from keras_mae.layers import Patchify, PixelNormalization
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


def test_stays_float32_under_a_mixed_policy():
    values = PixelNormalization(MEAN, STD, dtype="mixed_float16")(random_images(1, (2, 2, 3)))
    assert values.dtype == "float32"


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.5, 0.5)), ((), ()), ((0.5,), (0.0,)), ((0.5,), (-1.0,))])
def test_one_mean_and_positive_std_a_channel(mean, std):
    with pytest.raises(ValueError, match="one number a channel, every std above 0"):
        PixelNormalization(mean, std)
