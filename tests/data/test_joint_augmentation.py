"""Image and mask are augmented alike: by properties, against a slow NumPy form, and as a function of (seed, step)."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mae.data import IGNORED, ArraySource, JointAugmentation, TrainingData
from keras_mae.data.joint_augmentation import nearest, resized_pair
from keras_mae.example_seed import ExampleSeed
from tests.data.scenes import COLOURS, scene

SHAPE = (32, 40, 3)


@pytest.fixture(scope="module")
def augmented():
    @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((None, None), tf.int32),
                                  tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.bool)])  # fmt: skip
    def apply(image, mask, seed, jitters):
        plain, jittered = (
            JointAugmentation(scale=(0.5, 2.0), jitter=strength, fill=(0.1, 0.5, 0.9))(
                image, mask, SHAPE, ExampleSeed.of(seed, 3, 7)
            )
            for strength in (0.0, 0.4)
        )
        return tf.cond(jitters, lambda: jittered, lambda: plain)

    return lambda image, mask, seed, jitters=False: [
        one.numpy() for one in apply(image, mask.astype("int32"), seed, jitters)
    ]


FILL = np.round(np.array([0.1, 0.5, 0.9]) * 255)


@pytest.mark.medium
@settings(max_examples=40, deadline=None)
@given(st.integers(9, 90), st.integers(9, 90), st.integers(0, 2**31 - 1))
def test_a_mask_of_the_colours_stays_with_them_under_every_draw(augmented, height, width, seed):
    """Wherever a pixel and all around it are of one class, its colour is that class's, or the fill outside."""
    image, mask = scene(height, width, seed % 1000, tile=13)
    pixels, classes = augmented(image, mask, seed)
    assert pixels.shape == SHAPE and classes.shape == SHAPE[:2] and pixels.dtype == np.uint8
    expected = np.where(classes[..., None] >= 0, COLOURS[classes], FILL)
    # the bicubic filter reaches two pixels of the smaller of the two grids: of the image's when it was enlarged
    reach = int(np.ceil(2 * max(1, 2.0 * max(32 / height, 40 / width)))) + 1
    padded = np.pad(classes, reach, constant_values=-9)  # what the image shows beyond the window is not known here
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1,) * 2)
    uniform = (windows.min((2, 3)) == windows.max((2, 3))) | (classes == IGNORED)
    np.testing.assert_allclose(pixels[uniform], expected[uniform], atol=1)  # of rounding


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_the_jitter_leaves_the_mask_and_the_fill(augmented, seed):
    image, mask = scene(30, 44, seed % 1000)
    pixels, classes = augmented(image, mask, seed)
    jittered, same = augmented(image, mask, seed, jitters=True)
    np.testing.assert_array_equal(classes, same)
    np.testing.assert_array_equal(jittered[classes == IGNORED], pixels[classes == IGNORED])


def test_scales_places_and_mirrors_vary(augmented):
    image, mask = scene(48, 60, 0, tile=48)
    draws = [augmented(image, mask, seed) for seed in range(40)]
    outside = np.array([np.mean(classes == IGNORED) for _, classes in draws])
    assert 0.2 < np.mean(outside > 0) < 0.5  # a third of the scales in [0.5, 2] is below 1
    assert outside.max() < 0.8
    assert len({classes.tobytes() for _, classes in draws}) > 20


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 50), st.integers(-20, 20), st.integers(1, 20))
def test_nearest_is_the_pixel_whose_place_it_is(old, new, offset, length):
    mask = np.arange(old)[:, None] * np.ones((1, 2), int)
    found = nearest(mask, tf.constant([new, 2]), tf.constant([offset, 0]), (length, 2)).numpy()[:, 0]
    # exact, in whole numbers: floor((i + 1/2) old / new)
    exact = [np.clip((2 * (place + offset) + 1) * old // (2 * new), 0, old - 1) for place in range(length)]
    np.testing.assert_array_equal(found, exact)


def test_resized_pair_keeps_equal_sizes_and_every_class_in_place():
    image, mask = scene(32, 32, 1)
    same, classes = resized_pair(image, mask, (32, 32))
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(classes, mask)
    larger, classes = resized_pair(image, mask, (64, 96))
    np.testing.assert_array_equal(classes, np.repeat(np.repeat(mask, 2, 0), 3, 1))
    assert larger.shape == (64, 96, 3)


@pytest.mark.medium
def test_batches_are_a_function_of_seed_and_step():
    pairs = [scene(36, 44, seed) for seed in range(6)]
    source = ArraySource(np.stack([image for image, _ in pairs]), masks=np.stack([mask for _, mask in pairs]))
    data = TrainingData(source, SHAPE, 2, seed=5, augmentation=JointAugmentation())
    batches = [[one.numpy() for one in batch] for batch in data.at().take(4)]
    assert batches[0][0].dtype == np.uint8 and batches[0][1].dtype == np.int32
    assert batches[0][1].shape == (2, *SHAPE[:2])
    later = [one.numpy() for one in next(iter(data.at(3)))]
    for one, other in zip(batches[3], later, strict=True):
        np.testing.assert_array_equal(one, other)
    halves = [next(iter(data.at(3, num_hosts=2, host=host))) for host in range(2)]
    for part, whole in enumerate(later):
        np.testing.assert_array_equal(np.concatenate([half[part] for half in halves]), whole)


def test_16_bits_and_other_channels():
    image = np.random.default_rng(0).integers(0, 65536, (20, 30, 5)).astype("uint16")
    mask = np.zeros((20, 30), "int32")
    pixels, classes = JointAugmentation(scale=(0.5, 0.5), flip=False)(image, mask, (16, 16, 5), ExampleSeed.of(0, 0, 0))
    assert pixels.dtype == tf.uint16 and set(np.unique(classes)) == {-1, 0}
    assert set(np.unique(pixels.numpy()[classes.numpy() < 0])) == {32768}


def test_refusals():
    with pytest.raises(ValueError, match="scale is .smallest, largest., above 0.*got Joint"):
        JointAugmentation(scale=(2.0, 0.5))
    with pytest.raises(tf.errors.InvalidArgumentError, match="image and mask are of different sizes"):
        JointAugmentation()(np.zeros((4, 5, 3), "uint8"), np.zeros((5, 4), "int32"), SHAPE, ExampleSeed.of(0, 0, 0))
    with pytest.raises(ValueError, match="masks are needed, and these images have none, such as array.0.; give two"):
        TrainingData(ArraySource(np.zeros((2, 8, 8, 3), "uint8")), SHAPE, 1, 0, JointAugmentation())
