"""RandAugment's operations against Pillow's or keras-cv's, and its random choices."""

import itertools
import math
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from keras_mae.data import RandAugment
from keras_mae.data.image_operations import OPERATIONS, keras_cvs, operations_on, posterize
from keras_mae.data.rand_augment import _apply
from keras_mae.example_seed import ExampleSeed
from tests.drawn import as_image, drawn

IMAGE = drawn(40, 48)


def ours(name, strength, sign=1.0, image=IMAGE):
    operation = operations_on(image.shape[-1])[name]
    return _apply(operation, tf.constant(image), tf.constant(strength), tf.constant(sign)).numpy().astype(int)


def turned(matrix):
    """Pillow's affine transform about pixel centres, gray outside."""
    a, b, c, d, e, f = matrix
    moved = (a, b, c + 0.5 * (1 - a - b), d, e, f + 0.5 * (1 - d - e))
    image = as_image(IMAGE).transform(
        (48, 40), Image.Transform.AFFINE, moved, Image.Resampling.BILINEAR, fillcolor=(128,) * 3
    )
    return np.asarray(image).astype(int)


def pillow(name, strength, sign):
    """What the recipe means by a strength, by Pillow: the image, and how far single values may be off."""
    image = as_image(IMAGE)
    enhanced = 1 + 0.9 * strength * sign
    threshold = 256 - int(strength * 256)
    return {
        "auto contrast": (lambda: ImageOps.autocontrast(image), 1),
        "equalize": (lambda: ImageOps.equalize(image), 0),
        "invert": (lambda: ImageOps.invert(image), 0),
        "posterize": (lambda: ImageOps.posterize(image, 4 - int(strength * 4)), 0),
        "solarize": (lambda: ImageOps.solarize(image, threshold), 0),
        "add": (lambda: np.where(IMAGE < 128, np.minimum(IMAGE + int(strength * 110), 255), IMAGE), 0),
        "color": (lambda: ImageEnhance.Color(image).enhance(enhanced), 2),
        "brightness": (lambda: ImageEnhance.Brightness(image).enhance(enhanced), 1),
        "sharpness": (lambda: ImageEnhance.Sharpness(image).enhance(enhanced), 2),
    }[name]


WITHOUT_SIGN = ("auto contrast", "equalize", "invert", "posterize", "solarize", "add")
COLOURS = [
    *itertools.product(WITHOUT_SIGN, [(0.9, 1.0), (0.5, -1.0)]),
    *itertools.product(("color", "brightness", "sharpness"), itertools.product([0.9, 0.5], [1.0, -1.0])),
]


@pytest.mark.parametrize(("name", "amount"), COLOURS, ids=str)
def test_colours_are_pillows(name, amount):
    expected, atol = pillow(name, *amount)
    found = ours(name, *amount)
    np.testing.assert_allclose(found, np.asarray(expected()).astype(int), rtol=0, atol=atol)
    assert (found != IMAGE).any()


def test_contrast_is_keras_cvs_about_the_mean_of_each_channel():
    """Pillow's is about the mean of the gray image."""
    pixels = IMAGE.astype("float32")
    mean = pixels.mean(axis=(0, 1))
    np.testing.assert_allclose(ours("contrast", 0.5), np.clip((pixels - mean) * 1.45 + mean, 0, 255), atol=0.51)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", ["rotate", "shear x", "shear y", "translate x", "translate y"])
def test_geometry_is_pillows_with_gray_outside(name, sign):
    strength = 0.7
    angle, shear, moved = sign * strength * math.radians(30), sign * strength * 0.3, sign * strength * 0.45
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = {
        "rotate": (cos, -sin, 23.5 - cos * 23.5 + sin * 19.5, sin, cos, 19.5 - sin * 23.5 - cos * 19.5),
        "shear x": (1, shear, 0, 0, 1, 0),
        "shear y": (1, 0, 0, shear, 1, 0),
        "translate x": (1, 0, -moved * 48, 0, 1, 0),
        "translate y": (1, 0, 0, 0, 1, -moved * 40),
    }[name]
    difference = np.abs(ours(name, strength, sign) - turned(matrix))
    # at the border Pillow does not blend with what lies outside, and TensorFlow does
    assert np.median(difference) <= 1 and (difference > 2).mean() < 0.08, np.mean(difference > 2)
    assert (ours(name, strength, sign) == 128).all(axis=-1).mean() > 0.02


@pytest.mark.medium
@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_is_keras_cvs(bits):
    import keras_cv  # takes seconds, and not while tests are collected

    expected = keras_cv.layers.Posterization((0, 255), bits).augment_image(tf.constant(IMAGE, tf.float32))
    np.testing.assert_array_equal(posterize(tf.constant(IMAGE, tf.float32), tf.constant(bits)), expected)
    assert not posterize(tf.constant(IMAGE, tf.float32), tf.constant(0)).numpy().any()


@pytest.mark.medium
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"posterize", "add", "brightness"}))
def test_ours_are_keras_cvs(name, channels):
    """What takes the place of an operation that keras-cv drops, or does not offer with the Keras that is installed."""
    if name == "color" and channels != 3:
        return
    own, amount = OPERATIONS[name]
    image = tf.constant(drawn(40, 48, channels)[None], tf.float32)
    flat = tf.concat([image[..., :-1], tf.fill([1, 40, 48, 1], 7.0)], axis=-1)  # a channel of one level
    for strength, sign in ((0.0, 1.0), (0.35, -1.0), (0.9, 1.0), (1.0, -1.0)):
        of = amount(tf.constant(strength), tf.constant(sign))
        for images in (image, flat, 0.4 * image + 30):
            np.testing.assert_allclose(own(images, of), keras_cvs(name)(images, of), rtol=0, atol=1e-3)  # round-off


@pytest.mark.medium
def test_without_keras_cv_the_same_images(monkeypatch):
    import keras_cv

    with_keras_cv = [RandAugment(probability=1.0)(tf.constant(IMAGE), ExampleSeed.of(3, 0, n)) for n in range(6)]
    assert all(keras_cvs(name) is None for name in ("posterize", "add", "brightness"))
    for lacking in ({"RandomShear", "Equalization"}, None):
        operations_on.cache_clear()
        if lacking is None:
            monkeypatch.setitem(sys.modules, "keras_cv", None)  # `import keras_cv` raises ImportError
        else:
            kept = {name: each for name, each in vars(keras_cv.layers).items() if name not in lacking}
            monkeypatch.setattr(keras_cv, "layers", types.SimpleNamespace(**kept))
        assert [keras_cvs(name) is None for name in ("shear x", "equalize", "rotate")] == [True, True, lacking is None]
        for n, expected in enumerate(with_keras_cv):
            result = RandAugment(probability=1.0)(tf.constant(IMAGE), ExampleSeed.of(3, 0, n))
            np.testing.assert_allclose(result.numpy().astype(int), expected.numpy().astype(int), rtol=0, atol=1)
    operations_on.cache_clear()


def test_no_operation_at_no_strength():
    for name in set(operations_on(3)) - {"auto contrast", "equalize", "invert", "posterize"}:
        np.testing.assert_allclose(ours(name, 0.0), IMAGE, atol=1, err_msg=name)


@pytest.fixture(scope="module")
def augment():
    return tf.function(lambda image, number: RandAugment()(image, ExampleSeed.of(5, 0, number)))


@pytest.mark.medium
def test_is_a_function_of_the_seed_alone_in_any_graph(augment):
    numbers = tf.range(24, dtype=tf.int64)
    alone = np.stack([augment(tf.constant(IMAGE), number) for number in numbers])
    dataset = tf.data.Dataset.from_tensor_slices(numbers).map(
        lambda number: augment(tf.constant(IMAGE), number), num_parallel_calls=6
    )
    np.testing.assert_array_equal(np.stack(list(dataset)), alone)
    for number in (0, 7, 23):
        np.testing.assert_array_equal(RandAugment()(tf.constant(IMAGE), ExampleSeed.of(5, 0, number)), alone[number])
    assert alone.dtype == np.uint8
    # a quarter is left alone by both operations: Binomial(24, 1/4) is above 18 once in 1e7 seeds
    assert len(np.unique(alone, axis=0)) >= 6


@pytest.mark.medium
def test_half_of_the_operations_take_place(augment):
    """Unchanged are (1 - p)^2 = 1/4 and few others: Binomial(400, 1/4), 100 +- 4.5 x 8.7."""
    image = drawn(12, 12)
    unchanged = sum((augment(tf.constant(image), tf.constant(n, tf.int64)).numpy() == image).all() for n in range(400))
    assert 61 <= unchanged <= 150


def test_probability_none_and_all():
    image = tf.constant(IMAGE)
    np.testing.assert_array_equal(RandAugment(probability=0.0)(image, ExampleSeed.of(0, 0)), IMAGE)
    changed = [RandAugment(probability=1.0)(image, ExampleSeed.of(0, 0, n)).numpy() for n in range(4)]
    assert sum((one != IMAGE).any() for one in changed) >= 2  # the image has all contrast already, and so on


def test_gray_images_and_other_types():
    gray = tf.constant(drawn(12, 12, 1))
    assert RandAugment()(gray, ExampleSeed.of(0, 0)).shape == (12, 12, 1)
    assert "color" not in operations_on(1) and len(operations_on(3)) == 15
    with pytest.raises(ValueError, match="takes uint8 images, got uint16"):
        RandAugment()(tf.cast(gray, tf.uint16), ExampleSeed.of(0, 0))
