"""What a user's own heads, losses and metrics meet: labels in several forms, optimizers before `compile`, functions."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.models import ImageClassifier, ImageHead, ImageRegressor, ImageSegmenter
from keras_mae.optimizers import adamw
from tests.base import fill_randomly, random_images, small_encoder

FEATURES = np.random.default_rng(5).normal(size=(8, 16)).astype("float32")  # in place of images: a small graph
CLASSES = np.array([0, 1, 2, 3, 1, 2, 0, 3])
ONE_HOT = np.eye(4, dtype="float32")[CLASSES]


class OneNumber(ImageHead):
    def __init__(self, encoder, **kwargs):
        super().__init__(encoder, **kwargs)
        self.number = keras.layers.Dense(1, name="number")

    def call(self, inputs, training=False, seed=None):
        return self.number(self.features(inputs, training, seed))


def test_an_optimizer_before_compile_knows_the_head():
    model = OneNumber(small_encoder())
    optimizer = adamw(model, 0.0, weight_decay=0.1, layer_decay=0.5)
    optimizer.build(model.trainable_variables)
    by_path = dict(zip([variable.path for variable in model.trainable_variables], optimizer._decayed, strict=True))
    assert {path.rpartition("/")[2]: decays for path, decays in by_path.items() if "number" in path} == {
        "kernel": True,
        "bias": False,
    }


class Squares(keras.losses.Loss):
    """A class and functions of one's own do not align shapes, as Keras' do."""

    def call(self, y_true, y_pred):
        assert y_true.shape.as_list() == y_pred.shape.as_list()
        return tf.reduce_mean(tf.square(y_true - y_pred), axis=-1)


def test_one_number_has_labels_of_one_shape():
    model = fill_randomly(ImageRegressor(small_encoder(), 1))
    model.compile("sgd", Squares(), metrics=[lambda labels, numbers: tf.abs(labels - numbers)], run_eagerly=True)
    flat, column = (
        model.evaluate(FEATURES, labels, verbose=0, return_dict=True) for labels in (CLASSES, CLASSES[:, None])
    )
    error = model(FEATURES).numpy()[:, 0] - CLASSES
    assert flat == column == pytest.approx({"loss": (error**2).mean(), "lambda": np.abs(error).mean()}, rel=1e-5)


def own(labels, logits):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(tf.reshape(labels, [-1]), tf.int32), logits)


@pytest.mark.parametrize("labels", [CLASSES, CLASSES[:, None]], ids=["flat", "column"])
def test_a_loss_of_ones_own_takes_numbers_of_classes(labels):
    model = fill_randomly(ImageClassifier(small_encoder(), 4))
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(CLASSES, model(FEATURES))
    for loss in (own, lambda labels, logits: own(labels, logits)):
        model.compile("sgd", loss, metrics=[], run_eagerly=True)
        np.testing.assert_allclose(model.evaluate(FEATURES, labels, verbose=0), expected, rtol=1e-5)


def test_several_labels_are_told_by_each_compile():
    model = fill_randomly(ImageClassifier(small_encoder(), 4))
    for loss in (
        "binary_crossentropy",
        keras.losses.BinaryCrossentropy(name="bce"),
        keras.losses.binary_focal_crossentropy,
        functools.partial(keras.losses.binary_crossentropy, label_smoothing=0.1),
    ):
        model.compile("sgd", loss, run_eagerly=True)
        assert model.multi_label
        model.compile("sgd", run_eagerly=True)
        assert not model.multi_label
    expected = keras.losses.CategoricalCrossentropy(from_logits=True)(ONE_HOT, model(FEATURES))
    loss = model.evaluate(FEATURES, ONE_HOT, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_labels_that_a_loss_does_not_take_are_told_in_one_sentence():
    model = fill_randomly(ImageClassifier(small_encoder(), 4))
    for loss, labels in (("categorical_crossentropy", CLASSES), ("sparse_categorical_crossentropy", ONE_HOT)):
        model.compile("sgd", loss, run_eagerly=True)
        with pytest.raises(ValueError, match="categorical losses take one-hot labels, sparse ones numbers of classes"):
            model.evaluate(FEATURES, labels, verbose=0)


IMAGES = random_images(3, (8, 12, 3))
PIXELS = np.random.default_rng(1).integers(-1, 3, (3, 8, 12))


@pytest.mark.medium
def test_pixels_without_label_weigh_nothing_for_keras_losses_and_metrics():
    model = fill_randomly(ImageSegmenter(small_encoder(), 3))
    logits = model(IMAGES)
    labelled, probabilities = PIXELS >= 0, np.asarray(tf.nn.softmax(logits))
    right = (probabilities.argmax(axis=-1) == PIXELS)[labelled].mean()
    chosen = np.take_along_axis(probabilities, np.maximum(PIXELS, 0)[..., None], axis=-1)[..., 0]
    one_hot = np.eye(3)[np.maximum(PIXELS, 0)] * labelled[..., None]
    seen = probabilities * labelled[..., None]
    dice = 1 - (2 * (one_hot * seen).sum() + 1e-7) / (one_hot.sum() + seen.sum() + 1e-7)
    by_all = -(np.log(chosen) * labelled).mean()
    for loss, expected in (
        ("sparse_categorical_crossentropy", by_all),
        ("categorical_crossentropy", by_all),
        (keras.losses.Dice(), dice),
        (keras.losses.SparseCategoricalCrossentropy(ignore_class=-1), -np.log(chosen)[labelled].mean()),
    ):
        for labels in (PIXELS, PIXELS[..., None]):
            accuracies = ["accuracy", keras.metrics.SparseCategoricalAccuracy(name="again")]
            model.compile("sgd", loss, metrics=accuracies, run_eagerly=True)
            logs = model.evaluate(IMAGES, labels, verbose=0, return_dict=True)
            assert logs == pytest.approx({"loss": expected, "accuracy": right, "again": right}, rel=1e-4), loss
