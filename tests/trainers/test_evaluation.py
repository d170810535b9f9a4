"""The evaluations against slow or independent ones."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from keras_mae.trainers import evaluation
from tests.base import random_images, small_encoder


def features(count, seed, classes=4, width=6):
    """Overlapping clouds, one a class, at different distances from the origin: some are classified wrongly."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    labels = rng.permutation(np.arange(count) % classes)
    points = (centres[labels] + rng.normal(size=(count, width))) * rng.uniform(0.2, 5, (count, 1))
    return points.astype("float32"), labels


@pytest.mark.parametrize("k", [1, 5, 20])
def test_knn_is_that_of_scikit_learn(k):
    train_x, train_y = features(150, seed=0)
    test_x, test_y = features(90, seed=1)
    classifier = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07))
    expected = classifier.fit(train_x, train_y).score(test_x, test_y)
    assert evaluation.knn_accuracy(train_x, train_y, test_x, test_y, k=k) == pytest.approx(expected, abs=1e-9)  # counts
    assert 0.3 < expected < 0.95  # neither trivial nor hopeless, and so sensitive to the votes


def test_knn_weights_matter():
    """One near neighbour outvotes two that are far: cosines 1, and 0.8 twice: exp(2.86) > 2."""
    train_x, train_y = np.array([[1.0, 0], [0.8, 0.6], [0.8, -0.6]]), np.array([1, 0, 0])
    assert evaluation.knn_accuracy(train_x, train_y, np.array([[3.0, 0]]), np.array([1]), k=3) == 1


def test_majority_share():
    assert evaluation.majority_share(np.array([2, 0, 2, 5, 2, 0, 1, 2])) == 0.5
    assert evaluation.majority_share(np.array([3])) == 1
    labels = np.repeat(np.arange(7), [1, 5, 2, 3, 1, 4, 4])
    assert evaluation.majority_share(labels, 5) == 0.9
    assert evaluation.majority_shares(labels, 7) == {"majority_share": 0.25, "majority_share_top5": 0.9}
    assert evaluation.majority_shares(labels % 5, 5) == {"majority_share": 0.45}


def test_few_labels_are_as_many_of_each_class():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 2, 5], [12, 30, 7]))
    chosen = evaluation.few_labels(labels, 4, seed=1)
    assert len(set(chosen.tolist())) == 12
    assert np.bincount(labels[chosen]).tolist() == [4, 0, 4, 0, 0, 4]
    assert (chosen == evaluation.few_labels(labels, 4, seed=1)).all()
    assert (chosen != evaluation.few_labels(labels, 4, seed=2)).any()


def test_linear_accuracy_tells_what_is_linear_from_what_is_not():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)) * [1, 100, 1e-3]
    linear, product = (x[:, 1] / 100 + x[:, 2] * 1e3 > 0).astype(int), (x[:, 0] * x[:, 1] > 0).astype(int)
    train, test = evaluation.standardized(x[:200], x[200:])
    # float64 round-off, of values up to 300
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(train.std(axis=0), 1, atol=1e-9)
    np.testing.assert_allclose(test * x[:200].std(axis=0) + x[:200].mean(axis=0), x[200:], atol=1e-9)
    assert evaluation.linear_accuracy(train, linear[:200], test, linear[200:]) > 0.95
    # chance is 0.5 with a standard deviation of 0.05 on 100 examples
    assert evaluation.linear_accuracy(train, product[:200], test, product[200:]) < 0.7


@pytest.mark.medium
def test_fine_tuning_learns_and_leaves_the_encoder_alone():
    encoder = small_encoder()
    before = [weight.numpy().copy() for weight in encoder.weights]
    images = random_images(40, (8, 12, 3)) // 4
    labels = np.arange(40) % 2
    images[labels == 1] += 100
    arguments = {"epochs": 15, "batch_size": 10, "learning_rate": 3e-3}
    accuracy = evaluation.fine_tuned_accuracy(encoder, images[:20], labels[:20], images[20:], labels[20:], **arguments)
    assert accuracy == 1
    assert all((old == new.numpy()).all() for old, new in zip(before, encoder.weights, strict=True))


@pytest.mark.medium
def test_fine_tuning_on_fewer_images_than_a_batch_and_a_class_that_only_the_test_has():
    """What cannot be learned is missed, not taken for class 0."""
    images = random_images(12, (8, 12, 3)) // 8
    images[::2] += 150
    labels = np.arange(12) % 2
    tested = np.concatenate([images[:4], images[:4]])
    test_labels = np.array([0, 1, 0, 1, 2, 2, 2, 2])
    arguments = {"epochs": 30, "batch_size": 50, "learning_rate": 3e-3}
    assert evaluation.fine_tuned_accuracy(small_encoder(), images, labels, tested, test_labels, **arguments) == 0.5
