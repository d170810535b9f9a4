"""Crop and flip of a whole batch: the numbers of one image at a time, and its random choices."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, Augmentation, FineTuningAugmentation, TrainingData
from keras_mae.data.batched import applies_to, augment_batch
from keras_mae.example_seed import ExampleSeed
from tests.drawn import drawn

INDICES = tf.constant([5, 0, 1000, 2**31 - 1, 7, 8], tf.int64)


def one_by_one(augmentation, images, image_shape, seed, epoch, indices):
    return np.stack(
        [augmentation(image, image_shape, ExampleSeed.of(seed, epoch, n)) for image, n in zip(images, indices)]
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("size", "image_shape"), [((28, 28, 1), (28, 28, 1)), ((40, 30, 3), (32, 48, 3)), ((60, 64, 3), (16, 20, 3))]
)
@pytest.mark.parametrize("flip", [True, False])
def test_numbers_are_those_of_one_image_at_a_time(size, image_shape, dtype, flip):
    """Both are float32 sums of the same terms: they round differently where a sum is within 1e-3 of a half."""
    images = np.stack([drawn(*size, seed=n) for n in range(len(INDICES))]).astype(dtype)
    if dtype == "uint16":
        images *= 257
    augmentation = Augmentation(crop_scale=(0.2, 1.0), flip=flip)
    expected = one_by_one(augmentation, images, image_shape, 3, 9, INDICES).astype(int)
    found = augment_batch(augmentation, tf.constant(images), image_shape, 3, tf.constant(9, tf.int64), INDICES)
    assert found.dtype == dtype and found.shape == expected.shape
    difference = np.abs(found.numpy() - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < (0.001 if dtype == "uint8" else 0.05)


def test_flip_alone_is_exact():
    images = np.stack([drawn(9, 11, seed=n) for n in range(len(INDICES))])
    augmentation = Augmentation(None, True, 1.0)
    found = augment_batch(augmentation, tf.constant(images), (9, 11, 3), 3, tf.constant(9, tf.int64), INDICES)
    np.testing.assert_array_equal(found, one_by_one(augmentation, images, (9, 11, 3), 3, 9, INDICES))
    assert 0 < (found.numpy() == images).all(axis=(1, 2, 3)).sum() < len(INDICES)


def test_jitter_is_that_of_one_image_at_a_time():
    """Sums of the same float32 terms: they round differently where one is within 1e-3 of a half."""
    images = np.stack([drawn(9, 11, seed=n) for n in range(len(INDICES))])
    augmentation = Augmentation(None, True, 1.0, jitter=0.4)
    assert applies_to(augmentation, (9, 11, 3), (9, 11, 3))
    found = augment_batch(augmentation, tf.constant(images), (9, 11, 3), 3, tf.constant(9, tf.int64), INDICES)
    expected = one_by_one(augmentation, images, (9, 11, 3), 3, 9, INDICES).astype(int)
    difference = np.abs(found.numpy() - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < 0.001


def test_where_it_applies():
    crop = Augmentation()
    assert applies_to(crop, (28, 28, 1), (28, 28, 1))
    assert not applies_to(crop, None, (28, 28, 1))  # images of different sizes
    assert not applies_to(crop, (500, 500, 3), (224, 224, 3))  # no longer faster
    assert not applies_to(Augmentation(None, True, 0.875), (28, 28, 1), (28, 28, 1))
    assert applies_to(Augmentation(None, True, 1.0), (500, 400, 3), (500, 400, 3))
    assert not applies_to(FineTuningAugmentation(), (28, 28, 3), (28, 28, 3))


@pytest.mark.medium
def test_the_stream_takes_it_and_restarts_within():
    source = ArraySource(np.stack([drawn(14, 14, 1, seed=n) for n in range(23)]))

    data = TrainingData(source, (12, 10, 1), 4, 3, Augmentation())

    def stream(count, **place):
        return list(data.at(**place).take(count).as_numpy_iterator())

    whole = stream(12)
    np.testing.assert_array_equal(stream(5, step=7), whole[7:])
    both = [stream(12, num_hosts=2, host=host) for host in range(2)]
    parts = np.concatenate(both, axis=1).astype(int)
    assert np.abs(parts - np.stack(whole)).max() <= 1
