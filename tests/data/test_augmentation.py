"""The random resized crop: its distribution, its bounds and a slow version of it; the flip."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keras_mae.data import Augmentation, evaluation_transform, random_flip, random_resized_crop
from keras_mae.data.augmentation import color_jitter, crop_window
from keras_mae.example_seed import ExampleSeed
from tests.drawn import drawn

SCALE, RATIO = (0.2, 1.0), (3 / 4, 4 / 3)
LAST = 1 - 2.0**-24  # the largest number that ExampleSeed.uniform yields


def windows(size, count, scale, ratio, seed=0):
    """`count` windows `(top, left, height, width)`, and the numbers that they are functions of."""

    @tf.function
    def all_windows(draws):
        return tf.map_fn(lambda row: crop_window(size, row, scale, ratio), draws, fn_output_signature=tf.int32)

    draws = ExampleSeed.of(seed, 0).uniform(count, (10, 4))
    return all_windows(draws).numpy(), draws


def distance_from_uniform(numbers):
    """The Kolmogorov-Smirnov distance between a sample and the uniform distribution on [0, 1]."""
    numbers, count = np.sort(numbers), len(numbers)
    ranks = np.arange(count) / count
    return max(np.abs(numbers - ranks).max(), np.abs(numbers - ranks - 1 / count).max())


def test_area_aspect_and_place_have_the_stated_distribution():
    """The bound 2.23 / sqrt(n) has a false-alarm rate of 1e-4 a quantity, were the seed drawn anew each time."""
    count, size = 2000, (2000, 2400)
    scale = (0.1, 0.6)  # small enough that every draw fits, as rejection would change the distribution
    found, _ = windows(size, count, scale, RATIO)
    top, left, height, width = found.T.astype(float)
    shares = height * width / math.prod(size)
    quantities = {
        "area": (shares - scale[0]) / (scale[1] - scale[0]),
        "aspect": (np.log(width / height) - math.log(RATIO[0])) / (math.log(RATIO[1]) - math.log(RATIO[0])),
        "top": (top + 0.5) / (size[0] - height + 1),
        "left": (left + 0.5) / (size[1] - width + 1),
    }
    for name, numbers in quantities.items():
        assert distance_from_uniform(numbers) < 2.23 / math.sqrt(count), name
    # and they are independent: |correlation| of 6 pairs below 4 / sqrt(n), false-alarm rate 6 x 6e-5
    correlations = np.corrcoef(list(quantities.values())) - np.eye(4)
    assert np.abs(correlations).max() < 4 / math.sqrt(count), correlations


def slow_window(size, draws):
    """The first of the draws that fits, as a loop over plain numbers."""
    for area, aspect, top, left in draws:
        area = size[0] * size[1] * (SCALE[0] + area * (SCALE[1] - SCALE[0]))
        aspect = math.exp(math.log(RATIO[0]) + aspect * (math.log(RATIO[1]) - math.log(RATIO[0])))
        height, width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 1 <= height <= size[0] and 1 <= width <= size[1]:
            return int(top * (size[0] - height + 1)), int(left * (size[1] - width + 1)), height, width
    return None


@pytest.mark.parametrize("size", [(375, 500), (64, 40), (32, 32)])
def test_is_the_first_draw_that_fits(size):
    found, draws = windows(size, 300, SCALE, RATIO)
    expected = [slow_window(size, row) for row in draws.numpy().astype(float)]
    assert all(expected)  # none needed the fallback
    # float32 against float64: where a side is an exact half it may round the other way, and moves the place by one
    differs = np.abs(found - np.array(expected)).max(axis=1)
    assert differs.max() <= 1 and (differs > 0).mean() < 0.01
    first_fits = [slow_window(size, row[:1]) is not None for row in draws.numpy().astype(float)]
    assert 0.5 < np.mean(first_fits) < 1  # so that first and later draws both occur


numbers = st.sampled_from([0.0, 0.25, 0.5, LAST]) | st.floats(0, LAST, width=32)


@pytest.mark.medium
@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    draws=st.lists(st.tuples(*[numbers] * 4), min_size=10, max_size=10),
    low=st.floats(0.01, 1),
)
def test_is_always_inside_the_image(size, draws, low):
    top, left, height, width = crop_window(size, tf.constant(draws), (low, 1.0), RATIO).numpy()
    assert height >= 1 and width >= 1 and top >= 0 and left >= 0
    assert top + height <= size[0] and left + width <= size[1]


@pytest.mark.parametrize(
    ("size", "window"),
    [((10, 1000), (0, 493, 10, 13)), ((1000, 12), (492, 0, 16, 12)), ((90, 3), (43, 0, 4, 3))],
)
def test_if_nothing_fits_it_is_the_largest_centred_rectangle_of_an_allowed_aspect(size, window):
    """10 rows: at most 10 x 4/3 = 13 columns, of which (1000 - 13) // 2 = 493 lie to the left."""
    found, _ = windows(size, 20, SCALE, RATIO)
    assert {tuple(row) for row in found.tolist()} == {window}


def test_pixels_are_those_of_the_window_resized():
    image, draws = drawn(60, 90), ExampleSeed.of(4, 2).uniform(1, (10, 4))[0]
    top, left, height, width = crop_window((60, 90), draws, SCALE, RATIO).numpy()
    assert (height, width) != (60, 90)
    part = image[top : top + height, left : left + width].astype("float32")
    expected = np.stack([np.asarray(Image.fromarray(part[..., c]).resize((20, 16), 3)) for c in range(3)], axis=-1)
    result = random_resized_crop(image, (16, 20), draws, SCALE, RATIO)
    assert result.shape == (16, 20, 3) and result.dtype == tf.uint8
    # 0.5 for rounding; Pillow's float bicubic agrees to within 0.05 levels
    assert np.abs(result.numpy() - np.clip(expected, 0, 255)).max() <= 0.55


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop_scale": (math.nan, 1)},
        {"crop_scale": (1, 0.2)},
        {"crop_scale": (0.2, 5)},
        {"crop_ratio": 0},
        {"jitter": -1},
    ],
)
def test_numbers_out_of_range(wrong):
    with pytest.raises(
        ValueError, match=r"crop_scale is \(smallest, largest\) in \(0, 1\], crop_ratio lies in .*; got Augm"
    ):
        Augmentation(**wrong)


def test_flip():
    image = drawn(5, 7)
    for draw, expected in [(0.0, image[:, ::-1]), (0.499, image[:, ::-1]), (0.5, image), (LAST, image)]:
        np.testing.assert_array_equal(random_flip(image, tf.constant(draw)), expected)


@pytest.mark.medium
@pytest.mark.parametrize("crop_scale", [None, (0.3, 1.0)])
def test_half_of_the_images_are_mirrored_and_no_other_thing_depends_on_it(crop_scale):
    """Mirrored are Binomial(200, 1/2): outside 100 +- 32 once in 1e5 seeds (4.5 sigma), were it drawn anew."""
    image = drawn(12, 12)
    flipping, plain = (tf.function(Augmentation(crop_scale, flip)) for flip in (True, False))
    mirrored = 0
    for number in range(200):
        seed = ExampleSeed.of(0, 1, tf.constant(number, tf.int64))
        one, other = flipping(image, (8, 8, 3), seed).numpy(), plain(image, (8, 8, 3), seed).numpy()
        mirrored += (one != other).any()
        assert (one == other).all() or (one == other[:, ::-1]).all()
    assert 68 <= mirrored <= 132


def test_without_a_random_crop_it_is_the_evaluation_transform():
    image = drawn(30, 44)
    result = Augmentation(crop_scale=None, flip=False, crop_ratio=0.7)(image, (16, 12, 3), ExampleSeed.of(1, 2))
    np.testing.assert_array_equal(result, evaluation_transform(image, (16, 12, 3), 0.7))


def slow_jitter(image, draws, strength):
    """Brightness, contrast, saturation in float64; gray is the luma of three channels, or the mean."""
    brightness, contrast, saturation = 1 + strength * (2 * np.asarray(draws, float) - 1)
    weights = (0.299, 0.587, 0.114) if image.shape[-1] == 3 else (1 / image.shape[-1],) * image.shape[-1]
    pixels = np.clip(image * brightness, 0, 255)
    mean = (pixels @ weights).mean()
    pixels = np.clip(mean + contrast * (pixels - mean), 0, 255)
    if image.shape[-1] == 3:
        gray = (pixels @ weights)[..., None]
        pixels = np.clip(gray + saturation * (pixels - gray), 0, 255)
    return pixels


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("draws", [(0.1, 0.9, 0.2), (0.9, 0.3, 0.95), (0.0, 0.0, 0.0), (LAST, LAST, LAST)])
def test_color_jitter(channels, draws):
    images = np.stack([drawn(9, 7, channels, seed=seed) for seed in (0, 1)])
    both = np.float32([draws, (0.5, 0.5, 0.5)])  # the second image keeps its levels
    result = color_jitter(images, tf.constant(both), 0.4)
    assert result.dtype == tf.uint8 and result.shape == images.shape
    # 0.5 for rounding, and what float32 may shift at a half
    assert np.abs(result[0].numpy() - slow_jitter(images[0].astype(float), draws, 0.4)).max() <= 0.501
    np.testing.assert_array_equal(result[1], images[1])
    np.testing.assert_array_equal(color_jitter(images[0], both[0], 0.4), result[0])  # one image alone


def test_color_jitter_of_sixteen_bits_is_that_of_eight():
    image = drawn(9, 7)
    deep = color_jitter(image.astype("uint16") * 257, tf.constant([0.2, 0.8, 0.7]), 0.3)
    assert deep.dtype == tf.uint16
    difference = deep.numpy() / 257 - color_jitter(image, tf.constant([0.2, 0.8, 0.7]), 0.3).numpy()
    assert np.abs(difference).max() <= 0.51  # of which 0.5 is the rounding to eight bits


def test_jitter_is_drawn_for_each_example():
    image, jitter = drawn(12, 12), Augmentation(None, False, 1.0, jitter=0.4)
    assert not jitter.keeps((12, 12, 3), (12, 12, 3))
    first, again, other = (jitter(image, (12, 12, 3), ExampleSeed.of(0, 1, n)).numpy() for n in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != image).any()
