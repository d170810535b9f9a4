"""How images of any depth and number of channels are shown."""

import numpy as np
import pytest

from keras_mae.data.display import _NOT_FINITE, Display
from tests.drawn import drawn


def stack(channels, count=3, size=(20, 24)):
    return np.stack([drawn(*size, channels, seed=n) for n in range(count)])


@pytest.mark.parametrize("channels", [1, 3])
def test_photographs_are_shown_as_they_are(channels):
    images = stack(channels)
    display = Display(images)
    np.testing.assert_array_equal(display(images), np.broadcast_to(images, (3, 20, 24, 3)))
    assert display.notes == []
    predicted = images + np.float32(0.4)
    np.testing.assert_array_equal(display(predicted), np.broadcast_to(images, (3, 20, 24, 3)))
    assert display(np.full((1, 1, 1, channels), -3.0)).tolist() == [[[[0, 0, 0]]]]


@pytest.mark.parametrize("channels", [1, 3])
def test_levels_of_deeper_images_are_stretched_for_each_as_its_original_needs(channels):
    """12 bits in 16: levels 0 to 4095 of 65535, hence 0 to 15.9 of 255; and one image of all 16 bits among them."""
    images = stack(channels).astype("float32") * (4095 / 65535)
    images[2] *= 16
    display = Display(images)
    shown = display(images)
    for image, found in zip(images, shown):
        low, high = np.percentile(image, [0.5, 99.5])
        expected = np.clip(np.round(255 * (image.astype("float64") - low) / (high - low)), 0, 255)
        np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))
        assert (found < 5).any() and (found > 250).any()
    # whatever is compared with them is stretched alike: a prediction of half the contrast looks like one
    half = display(images / 2 + images.mean(axis=(1, 2, 3), keepdims=True) / 2).astype(int)
    inside = (shown > 10) & (shown < 245)
    ratio = half[0][inside[0]].std() / shown[0][inside[0]].std()
    assert ratio == pytest.approx(0.5, abs=0.01)  # of rounded levels
    assert display.notes == ["Levels are stretched, from the 0.5th to the 99.5th percentile of the originals."]


def test_few_bright_pixels_are_seen():
    image = np.zeros((1, 100, 100, 1), "float32")
    image[0, 3, 4] = 2.0
    shown = Display(image)(image)
    assert shown[0, 3, 4, 0] == 255 and shown.sum() == 3 * 255


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_constant_image(channels, dtype):
    images = np.full((2, 8, 8, channels), 7, dtype)
    shown = Display(images)(images)
    assert shown.shape == (2, 8, 8, 3) and (shown == shown[0, 0, 0]).all()
    if channels < 4:
        assert (shown == 7).all()  # nothing to stretch


def test_two_channels_are_green_and_magenta():
    images = stack(2)
    shown = Display(images)(images)
    np.testing.assert_array_equal(shown[..., 1], images[..., 0])
    np.testing.assert_array_equal(shown[..., 0], images[..., 1])
    np.testing.assert_array_equal(shown[..., 2], images[..., 1])
    deep = images.astype("float32") * [0.01, 0.2]  # levels that have nothing to do with each other
    shown = Display(deep)(deep)
    assert shown[..., 0].max() == shown[..., 1].max() == 255 and (shown[..., 0] == shown[..., 2]).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_many_channels_are_their_principal_components(dtype):
    """Of 13 channels that are mixtures of three pictures, the colours hold all there is to see."""
    rng = np.random.default_rng(0)
    sources = stack(3, count=4).astype("float64")
    mixture = rng.uniform(0, 0.3, (3, 13)) * np.geomspace(1, 0.02, 13)  # channels of very different levels
    images = (sources @ mixture).astype(dtype)
    display = Display(images)
    shown = display(images)
    assert shown.shape == (4, 20, 24, 3) and shown.dtype == np.uint8
    for channel in range(3):
        assert (shown[..., channel] < 5).any() and (shown[..., channel] > 250).any()
    pixels = images.reshape(-1, 13).astype("float64")
    centred = (pixels - pixels.mean(axis=0)) / np.where(pixels.std(axis=0) > 0, pixels.std(axis=0), 1)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    for channel in range(3):
        first = centred @ axes[channel]
        middle = (shown[..., channel].ravel() > 0) & (shown[..., channel].ravel() < 255)
        # 256 levels in place of floats
        assert abs(np.corrcoef(first[middle], shown[..., channel].ravel()[middle])[0, 1]) > 0.999
    brighter = display(images * 1.2).astype(int) - shown
    assert brighter[..., 0].mean() > 0  # the first component rises with most channels
    np.testing.assert_array_equal(display(images[2:3]), shown[2:3])  # one basis and one stretch for all
    assert len(display.notes) == 2 and "components of the 13 channels" in display.notes[0]


def test_channels_that_are_equal_or_empty_make_no_noise():
    gray = stack(1).repeat(6, axis=-1)
    gray[..., 5] = 9
    shown = Display(gray)(gray).astype(int)
    assert np.ptp(shown[..., 0]) == 255 and np.ptp(shown[..., 1]) <= 1 and np.ptp(shown[..., 2]) <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_red(channels, bad):
    images = stack(channels)
    display = Display(images)
    predicted = images.astype("float32")
    predicted[1, 2, 3, channels - 1] = bad
    shown, expected = display(predicted), display(images)
    assert tuple(shown[1, 2, 3]) == _NOT_FINITE
    shown[1, 2, 3] = expected[1, 2, 3]
    np.testing.assert_array_equal(shown, expected)
