"""The fine-tuning recipe's augmentation: its order, random erasing, mixup and cutmix."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import (
    ArraySource,
    Augmentation,
    FineTuningAugmentation,
    Mixing,
    RandAugment,
    TrainingData,
    mix_batch,
)
from keras_mae.data.fine_tuning import random_erasing
from keras_mae.example_seed import ExampleSeed
from tests.drawn import drawn

IMAGE = tf.constant(np.full((40, 30, 3), 10, "uint8"))


def test_all_off_it_is_the_crop_and_the_flip():
    image = drawn(30, 40)
    off = FineTuningAugmentation(rand_augment=None, erasing=0.0)
    for number in range(4):
        seed = ExampleSeed.of(0, 1, number)
        expected = Augmentation((0.08, 1.0))(image, (16, 16, 3), seed)
        np.testing.assert_array_equal(off(image, (16, 16, 3), seed), expected)


@pytest.mark.medium
def test_crop_and_flip_come_first_then_rand_augment_then_erasing():
    image, shape = drawn(30, 40), (16, 16, 3)
    full = FineTuningAugmentation(erasing=1.0)
    for number in range(6):
        seed = ExampleSeed.of(0, 1, number)
        expected = Augmentation((0.08, 1.0))(image, shape, seed)
        expected = random_erasing(RandAugment()(expected, seed), seed)
        np.testing.assert_array_equal(full(image, shape, seed), expected)


@pytest.fixture(scope="module")
def erased():
    """For many seeds, where the image is not what it was."""
    erase = tf.function(lambda number: random_erasing(IMAGE, ExampleSeed.of(7, 0, number)))
    return np.stack([erase(tf.constant(number, tf.int64)) for number in range(300)])


@pytest.mark.medium
def test_erases_one_rectangle_of_the_stated_area_and_aspect(erased):
    areas, aspects = [], []
    for image in erased:
        changed = (image != 10).any(axis=-1)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.95  # noise may be 10, too
        areas.append(height * width / 1200)
        aspects.append(height / width)
    # a rounded side moves the area of a small rectangle by a tenth
    assert 0.015 < min(areas) < 0.05 and 0.28 < max(areas) <= 0.36
    assert min(aspects) > 0.25 and max(aspects) < 4 and 0.6 < np.exp(np.mean(np.log(aspects))) < 1.4


@pytest.mark.medium
def test_the_noise_is_normal_and_differs_everywhere(erased):
    noise = erased[(erased != 10).any(axis=-1)].astype(float)
    assert abs(noise.mean() - 127.5) < 1.5 and 50 < noise.std() < 60
    correlation = np.corrcoef(noise.T) - np.eye(3)
    assert np.abs(correlation).max() < 0.05


@pytest.mark.medium
def test_a_quarter_is_erased():
    """Binomial(400, 1/4): 100 +- 4.5 x 8.7."""
    policy = FineTuningAugmentation(crop_scale=None, flip=False, crop_ratio=1.0, rand_augment=None)
    augment = tf.function(lambda number: policy(IMAGE, (40, 30, 3), ExampleSeed.of(7, 0, number)))
    changed = sum((augment(tf.constant(n, tf.int64)).numpy() != 10).any() for n in range(400))
    assert 61 <= changed <= 139


IMAGES = np.stack([drawn(32, 24, seed=n) for n in range(6)])
LABELS = np.array([0, 1, 2, 3, 4, 4])


def mixed(step, **arguments):
    return [part.numpy() for part in mix_batch(IMAGES, LABELS, 5, 3, step, **arguments)]


def test_nothing_mixed_but_labels_smoothed():
    images, labels = mixed(0, mixup=0.0, cutmix=0.0)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_allclose(labels, np.eye(5)[LABELS] * 0.9 + 0.02, rtol=1e-6)


def test_images_of_16_bits_are_mixed_as_their_levels():
    images, labels = (part.numpy() for part in mix_batch(IMAGES.astype("uint16") * 257, LABELS, 5, 3, 0))
    expected_images, expected_labels = mixed(0)
    np.testing.assert_allclose(images, expected_images, atol=1e-4)  # a few roundings of float32 at 255
    np.testing.assert_array_equal(labels, expected_labels)


def test_mixup_blends_images_and_labels_by_one_share():
    for step in range(8):
        images, labels = mixed(step, cutmix=0.0, label_smoothing=0.0)
        share = labels[0, 0]  # of image 0 in the first place, where its counterpart has class 4
        np.testing.assert_allclose(images, share * IMAGES + (1 - share) * IMAGES[::-1], atol=1e-3)
        expected = share * np.eye(5)[LABELS] + (1 - share) * np.eye(5)[LABELS[::-1]]
        np.testing.assert_allclose(labels, expected, atol=1e-6)


def test_cutmix_pastes_one_rectangle_and_mixes_labels_by_its_area():
    for step in range(8):
        images, labels = mixed(step, mixup=0.0, label_smoothing=0.0)
        pasted = (images[0] == IMAGES[-1]).all(axis=-1)
        kept = (images[0] == IMAGES[0]).all(axis=-1)
        assert (pasted | kept).all()
        np.testing.assert_allclose(labels[0, 0], 1 - pasted.mean(), atol=0.01)  # pixels may agree by chance
        rows, columns = pasted.any(axis=1), pasted.any(axis=0)
        assert pasted[np.ix_(rows, columns)].all()
        np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)


def beta_distance(numbers, parameter):
    """The Kolmogorov-Smirnov distance from Beta(parameter, parameter)."""
    from scipy import stats

    return stats.kstest(numbers, stats.beta(parameter, parameter).cdf).statistic


@pytest.mark.medium
def test_shares_are_beta_distributed_and_batches_choose_fairly():
    """1.95 / sqrt(n) has a false-alarm rate of 1e-3 a quantity, were the seed drawn anew each time."""

    @tf.function
    def shares(step):
        of_mixup = mix_batch(IMAGES, LABELS, 5, 3, step, cutmix=0.0, label_smoothing=0.0)[1][0, 0]
        both = mix_batch(IMAGES, LABELS, 5, 3, step)[0][0]
        taken = tf.reduce_all((both == IMAGES[0]) | (both == IMAGES[-1]))
        return of_mixup, taken

    found = [shares(tf.constant(step)) for step in range(600)]
    assert beta_distance([float(share) for share, _ in found], 0.8) < 1.95 / 600**0.5
    assert 240 < sum(bool(taken) for _, taken in found) < 360  # Binomial(600, 1/2): 300 +- 4.9 x 12.2


@pytest.mark.medium
def test_same_in_tf_data_in_a_function_and_compiled():
    functions = [tf.function(mix_batch, jit_compile=compiled) for compiled in (False, True)]
    for step in range(4):
        expected = mixed(step)
        for function in functions:
            found = function(tf.constant(IMAGES), tf.constant(LABELS), 5, 3, tf.constant(step))
            for one, other in zip(found, expected):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)
    source = ArraySource(IMAGES, LABELS)
    data = TrainingData(source, (32, 24, 3), 6, 3, Augmentation(None, False, 1.0), with_labels=True)
    plain = next(iter(data.at(step=7)))
    mixing = dataclasses.replace(data, transforms=(Mixing(5),))
    for one, other in zip(next(iter(mixing.at(step=7))), mix_batch(*plain, 5, 3, 7)):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_out_of_range():
    for wrong in ({"num_classes": 0}, {"label_smoothing": 1.5}, {"mixup": math.nan}):
        with pytest.raises(ValueError, match="num_classes is above 0, smoothing in .*got mixup="):
            mix_batch(IMAGES, LABELS, **{"num_classes": 5, "seed": 0, "step": 0, **wrong})
    with pytest.raises(ValueError, match="mixup and cutmix are at least 0, .*; got mixup=-1, cutmix=0, num_classes=5"):
        mixed(0, mixup=-1, cutmix=0)
