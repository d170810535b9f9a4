"""Rare classes: weights of the loss, and images that are repeated."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, Augmentation, Mixing, Subset, TrainingData, evaluation_dataset
from keras_mae.data.balance import balanced_indices, class_weights
from tests.base import random_images

UNCHANGED = Augmentation(None, False, 1.0)


def training(source, batch_size, transforms=()):
    return TrainingData(source, source.image_shape, batch_size, 0, UNCHANGED, transforms, with_labels=True)


def test_weights_are_inverse_to_the_frequency():
    labels = np.repeat([0, 2, 3], [6, 3, 1])
    weights = class_weights(labels, 5)
    np.testing.assert_allclose(weights, [10 / 18, 0, 10 / 9, 10 / 3, 0], rtol=1e-6)
    assert np.isclose(weights[labels].mean(), 1)


@pytest.mark.medium
def test_batches_carry_weights_in_training_only():
    labels = np.array([0, 0, 0, 1, 0, 0])
    source = ArraySource(random_images(6, (4, 4, 1)), labels)
    source.class_weights = class_weights(labels, 2)
    _, found, weights = next(iter(training(Subset(source, np.arange(6)), 6).at(1)))
    assert weights.dtype == tf.float32
    np.testing.assert_array_equal(weights, source.class_weights[found.numpy()])
    assert len(evaluation_dataset(source, (4, 4, 1), 3, 1.0, with_labels=True).element_spec) == 2


def test_mixed_labels_have_the_weighted_cross_entropy():
    """As the sum over classes of weight, share and logarithm, which is PyTorch's, worked out here in NumPy."""
    labels = np.arange(8) % 3
    source = ArraySource(random_images(8, (4, 4, 1)), labels)
    plain = training(source, 8, (Mixing(3),))
    _, shares = next(iter(plain.at(5)))
    weights = np.array([0.25, 1.0, 4.0], "float32")
    source.class_weights = weights
    _, found, weight = next(iter(training(source, 8, (Mixing(3),)).at(5)))
    logs = np.log(np.random.default_rng(0).dirichlet(np.ones(3), 8))
    expected = -(weights * shares.numpy() * logs).sum(axis=1)
    np.testing.assert_allclose(-(found.numpy() * logs).sum(axis=1) * weight.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(found.numpy().sum(axis=1), 1, rtol=1e-6)


def test_every_class_comes_equally_often():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 4], [50, 7, 1]))
    chosen = balanced_indices(labels, 3)
    assert np.bincount(labels[chosen]).tolist() == [50, 50, 0, 0, 50]
    copies = np.bincount(chosen, minlength=len(labels))
    assert set(copies[labels == 0]) == {1} and set(copies[labels == 1]) == {7, 8} and copies[labels == 4] == [50]
    assert chosen.tolist() == balanced_indices(labels, 3).tolist() != balanced_indices(labels, 4).tolist()


def test_repeated_images_are_examples_of_their_own():
    """An epoch has each place once, begins at any step, and keeps near images near in storage."""
    source = ArraySource(random_images(5, (4, 4, 1)), np.array([0, 0, 0, 0, 1]))
    repeated = Subset(source, balanced_indices(source.labels, 0))
    data = training(repeated, 4)
    epoch = [batch[1].numpy() for batch in data.at(0).take(2)]
    assert np.bincount(np.concatenate(epoch)).tolist() == [4, 4]
    np.testing.assert_array_equal(next(iter(data.at(1)))[1], epoch[1])
    source.storage_order = np.array([4, 2, 0, 1, 3])
    order = Subset(source, np.array([0, 4, 4, 3, 0])).storage_order
    assert order.tolist() == [1, 2, 0, 4, 3]


@pytest.mark.medium
@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_balanced_accuracy_rises(balance):
    """Two overlapping classes, one of them 19 times as frequent: a linear layer all but ignores the other one."""
    rng = np.random.default_rng(0)

    def drawn(counts):
        labels = np.repeat([0, 1], counts)
        levels = rng.normal(115, 25, (len(labels), 4, 4, 1)) + 20 * labels[:, None, None, None]
        return np.clip(levels, 0, 255).astype("uint8"), labels

    def with_bias(pixels):
        return np.hstack([pixels.reshape(len(pixels), -1) / 64 - 2, np.ones((len(pixels), 1))])

    images, labels = drawn((475, 25))
    test_images, test_labels = drawn((300, 300))

    def accuracy(source):
        """Of a linear layer, by gradient descent on what the data set yields."""
        weights = np.zeros((17, 2))
        for batch in training(source, 100).at(0).take(200):
            pixels, found, *of_images = (one.numpy() for one in batch)
            inputs = with_bias(pixels)
            scores = np.exp(inputs @ weights)
            errors = scores / scores.sum(axis=1, keepdims=True) - np.eye(2)[found]
            weights -= 0.05 * inputs.T @ (errors * (of_images[0] if of_images else np.ones(100))[:, None]) / 100
        right = (with_bias(test_images) @ weights).argmax(axis=1) == test_labels
        return np.mean([right[test_labels == label].mean() for label in (0, 1)])

    source = ArraySource(images, labels)
    before = accuracy(source)
    if balance == "weights":
        source.class_weights = class_weights(labels, 2)
        after = accuracy(source)
    else:
        after = accuracy(Subset(source, balanced_indices(labels, 0)))
    assert after > before + 0.05, (before, after)
