"""The pixel target, plain and normalised, under the contract of all targets and against NumPy."""

import numpy as np
import pytest

from keras_mae.targets import PixelTarget
from tests.base import geometry, random_images
from tests.contracts import TargetContract
from tests.reference import numpy_mae


class TestPixelTarget(TargetContract):
    def make(self):
        return PixelTarget()


class TestNormalizedPixelTarget(TargetContract):
    def make(self):
        return PixelTarget(normalize=True)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_against_numpy(channels, normalize):
    mean, std = tuple(np.linspace(0.3, 0.6, channels)), tuple(np.linspace(0.2, 0.4, channels))
    target = PixelTarget(normalize=normalize)
    target.attach(geometry((6, 4, channels), (2, 4), mean, std))
    images = random_images(2, (6, 4, channels))
    expected = [
        numpy_mae.pixel_target(numpy_mae.patchify(numpy_mae.normalize_pixels(image, mean, std), 2, 4), normalize)
        for image in images
    ]
    # float32 numbers of size 1 to 4, after a handful of roundings of 1.2e-7 each
    np.testing.assert_allclose(target(images), expected, atol=5e-6)


def test_variance_is_the_unbiased_one():
    """A patch of the levels 0 and 255 alone: mean 1/2, and a variance of 1/4 by N, 1/2 by N - 1."""
    target = PixelTarget(normalize=True)
    target.attach(geometry((1, 2, 1), (1, 2), (0.0,), (1.0,)))
    values = target(np.array([0, 255], "uint8").reshape(1, 1, 2, 1))
    np.testing.assert_allclose(values[0, 0], np.array([-0.5, 0.5]) / np.sqrt(0.5 + 1e-6), rtol=1e-6)


def test_a_patch_of_one_value_is_finite():
    target = PixelTarget(normalize=True)  # one pixel, one channel: N - 1 = 0
    target.attach(geometry((2, 2, 1), (1, 1), (0.0,), (1.0,)))
    assert np.isfinite(target(random_images(1, (2, 2, 1)))).all()
