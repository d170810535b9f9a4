"""What Keras' own `fit` does with losses, metrics and callbacks, on a plain model, ours does on the same layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.models import ImageClassifier, ImageRegressor
from tests.base import fill_randomly, small_encoder

FEATURES = np.random.default_rng(5).normal(size=(8, 16)).astype("float32")  # in place of images
ONE_HOT = np.eye(4, dtype="float32")[[0, 1, 2, 3, 1, 2, 0, 3]]
NUMBERS = np.abs(np.random.default_rng(7).normal(size=(8, 2))).astype("float32")
WEIGHTS = np.linspace(0.2, 2.0, 8).astype("float32")


class Weighted(keras.losses.Loss):
    """A loss of one's own, with an argument, that no file knows."""

    def __init__(self, factors):
        super().__init__(name="weighted")
        self.factors = factors

    def call(self, y_true, y_pred):
        return tf.reduce_mean(self.factors * tf.square(y_true - y_pred), axis=-1)


LOSSES = {
    "huber": keras.losses.Huber(delta=0.3),
    "cosine": keras.losses.CosineSimilarity(axis=1),
    "own": Weighted([3.0, 0.5]),
    "percentage": "mean_absolute_percentage_error",
    "logarithmic": "msle",
    "log cosh": keras.losses.LogCosh(),
}


def plain(model, activation=None):
    dense = keras.layers.Dense(model.head.units, activation)
    copy = keras.Sequential([keras.Input((16,)), dense])
    dense.set_weights(model.head.get_weights())
    return copy


def classifier():
    return fill_randomly(ImageClassifier(small_encoder(), 4))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("huber", "own") else pytest.mark.slow) for name in LOSSES]
)
def test_losses_keep_their_arguments(name):
    """Batches of 3, 3 and 2. Keras' configs lack Huber's delta, so that a copy of the loss has another one."""
    model, found = fill_randomly(ImageRegressor(small_encoder(), 2)), []
    for one in (model, plain(model)):
        one.compile(keras.optimizers.SGD(0.05), LOSSES[name], metrics=["mae"], run_eagerly=True)
        history = one.fit(FEATURES, NUMBERS, 3, 2, sample_weight=WEIGHTS, shuffle=False, verbose=0).history
        found.append([history["loss"], history["mae"], *one.layers[-1].get_weights()])
    for ours, keras_own in zip(*found, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-5, atol=1e-6)


@pytest.mark.medium
def test_callbacks_know_which_way_a_given_metric_gets_better(tmp_path):
    modes = {"val_auc": "greater", "val_f1": "greater", "val_mae": "less", "accuracy": "greater", "val_loss": "less"}
    model, found = classifier(), []
    for one in (model, plain(model, "softmax")):
        metrics = [keras.metrics.AUC(name="auc"), keras.metrics.F1Score("macro", name="f1"), "mae", "accuracy"]
        one.compile("sgd", "categorical_crossentropy", metrics=metrics, run_eagerly=True)
        callbacks = [keras.callbacks.EarlyStopping(monitor) for monitor in modes]
        callbacks += [
            keras.callbacks.ReduceLROnPlateau("val_auc"),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_f1", save_best_only=True),
        ]
        data = (FEATURES, ONE_HOT)
        one.fit(*data, validation_data=data, verbose=0, callbacks=callbacks)
        found.append([callback.monitor_op.__name__ for callback in callbacks])
    assert found[0] == found[1] == [*modes.values(), "greater", "greater"]
