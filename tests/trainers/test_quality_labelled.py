"""Measures by labels, against scikit-learn and NumPy, on the features of an encoder."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from keras_mae.data import ArraySource, FolderSource, Subset
from keras_mae.data.relabelled import Relabelled
from keras_mae.trainers.labelled_data import LabelledSources
from keras_mae.trainers.quality_labelled import LabelledQuality
from keras_mae.trainers.quality_ridge import ALPHAS
from tests.base import random_images, small_encoder
from tests.drawn import write_pictures

NUMBER, TRAIN = 200, 150
BRIGHT = np.random.default_rng(0).uniform(0.3, 1, (NUMBER, 1, 1, 1))
IMAGES = np.round(random_images(NUMBER, (8, 12, 3)) * BRIGHT).astype("uint8")
NOISY = BRIGHT[:, 0, 0, 0] + np.random.default_rng(1).normal(0, 0.1, NUMBER)


@pytest.fixture(scope="module")
def encoder():
    return small_encoder()


def parts(labels, task, outputs):
    source = ArraySource(IMAGES)
    names = [f"n{k}" for k in range(outputs)]
    if task == "classes":
        source = Relabelled(source, np.arange(NUMBER), labels, class_names=names)
    else:
        source = Relabelled(source, np.arange(NUMBER), labels, task, label_names=names)
    train, tested = Subset(source, np.arange(TRAIN)), Subset(source, np.arange(TRAIN, NUMBER))
    return LabelledSources(train, tested, task, outputs, names)


def features(encoder):
    found = encoder.encode(IMAGES.astype("float32")).patches.numpy().mean(axis=1)
    return found[:TRAIN], found[TRAIN:]


def neighbours(train, test, labels):
    """Labels of the 20 nearest by cosine, and their weights."""
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test))
    cosines = other @ one.T
    near = np.argsort(-cosines, axis=1)[:, :20]
    return labels[near], np.exp(np.take_along_axis(cosines, near, 1) / 0.07)


def standardised(train, test):
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


def test_classes(encoder):
    labels = np.digitize(NOISY, [0.5, 0.75]).astype("int64")
    quality = LabelledQuality(encoder, parts(labels, "classes", 3), 1.0)
    found, (train, test) = quality(), features(encoder)
    near, weights = neighbours(train, test, labels[:TRAIN])
    votes = np.stack([np.sum(weights * (near == k), axis=1) for k in range(3)], axis=1)
    assert found["knn"] == np.mean(votes.argmax(axis=1) == labels[TRAIN:])
    one, other = standardised(train, test)
    reference = RidgeClassifierCV(alphas=ALPHAS).fit(one, labels[:TRAIN])
    assert found["ridge"] == reference.score(other, labels[TRAIN:])
    assert 0.45 < found["knn"] < 0.99 and 0.45 < found["ridge"] < 0.99
    assert quality.encoded == 200 and quality.counts() == {"train_images": 150, "validation_images": 50}
    assert quality.described().startswith("kNN and a ridge probe on 150 images of 3 classes, tested on 50, ")


def test_several_labels(encoder):
    labels = np.stack([NOISY > 0.6, NOISY < 0.4, np.zeros(NUMBER)], axis=1).astype("float32")
    found = LabelledQuality(encoder, parts(labels, "labels", 3), 1.0)()
    train, test = features(encoder)
    near, weights = neighbours(train, test, labels[:TRAIN])
    shares = np.einsum("nk,nkt->nt", weights, near)
    one, other = standardised(train, test)
    predicted = RidgeCV(alphas=ALPHAS).fit(one, labels[:TRAIN]).predict(other)
    for name, scores in (("knn_auc", shares / weights.sum(axis=1)[:, None]), ("ridge_auc", predicted)):
        # the third label, which no image has, has no area
        expected = np.mean([roc_auc_score(labels[TRAIN:, k], scores[:, k]) for k in range(2)])
        assert found[name] == pytest.approx(expected, abs=2e-3)  # float32 cosines may exchange two images
        assert 0.6 < found[name] < 1


def test_numbers_of_other_units_count_alike(encoder):
    labels = np.stack([NOISY, 1e4 * NOISY[::-1]], axis=1).astype("float32")
    found = LabelledQuality(encoder, parts(labels, "numbers", 2), 1.0)()
    train, test = features(encoder)
    near, weights = neighbours(train, test, labels[:TRAIN])
    means = np.einsum("nk,nkt->nt", weights / weights.sum(axis=1)[:, None], near)
    assert found["knn_r2"] == pytest.approx(r2_score(labels[TRAIN:], means), abs=1e-4)
    one, other = standardised(train, test)
    scale = labels[:TRAIN].std(axis=0, dtype="float64")
    predicted = RidgeCV(alphas=ALPHAS).fit(one, labels[:TRAIN] / scale).predict(other) * scale
    assert found["ridge_r2"] == pytest.approx(r2_score(labels[TRAIN:], predicted), abs=1e-6)


def test_features_that_are_not_finite_are_refused(encoder):
    quality = LabelledQuality(encoder, parts((NOISY > 0.6).astype("int64"), "classes", 2), 1.0)
    weight = next(one for one in encoder.weights if one.path.endswith("gamma"))
    before = weight.numpy()
    weight.assign(np.full(before.shape, np.nan))
    with pytest.raises(ValueError, match="the encoder's features of 200 of 200 images are not finite"):
        quality()
    weight.assign(before)
    assert quality()["knn"] > 0.5  # the present weights each time


def test_images_that_cannot_be_decoded_are_left_out_and_named(encoder, tmp_path):
    """One of six tested images: more than the 1 % that training tolerates."""
    folder = write_pictures(tmp_path / "pictures", 30, size=(12, 16))
    source = FolderSource(folder)
    labels = np.arange(30) % 2
    source = Relabelled(source, np.arange(30), labels, class_names=["even", "odd"])
    train, tested = Subset(source, np.arange(24)), Subset(source, np.arange(24, 30))
    with open(source.name_of(26), "wb") as file:
        file.write(b"no image")
    quality = LabelledQuality(encoder, LabelledSources(train, tested, "classes", 2, ["even", "odd"]), 1.0)
    found = quality()
    assert [list(each.names) for each in quality.corrupt] == [[], [2]]
    assert all(5 * value == round(5 * value) for value in found.values())  # shares of five images


def test_classes_with_large_numbers_cost_nothing_and_those_never_trained_on_are_wrong(encoder):
    small = np.random.default_rng(2).integers(0, 3, NUMBER)
    numbers = np.array([7, 30_000_000, 90_000_000])
    expected = LabelledQuality(encoder, parts(small, "classes", 3), 1.0)()
    many = dataclasses.replace(parts(numbers[small], "classes", 3), num_outputs=90_000_001)
    assert LabelledQuality(encoder, many, 1.0)() == expected
    small[TRAIN:] = 5
    assert LabelledQuality(encoder, parts(small, "classes", 6), 1.0)() == {"knn": 0.0, "ridge": 0.0}
