"""The models that are put through what Keras offers, and the table of features and models."""

import keras
import numpy as np
import pytest

from keras_mae.models import ImageClassifier
from tests.base import fill_randomly, random_images, small_encoder, small_mae, small_simmim

IMAGES, LABELS = random_images(4, (8, 12, 3)), np.arange(4)
MODELS = {
    "encoder": small_encoder,
    "masked autoencoder": small_mae,
    "SimMIM": small_simmim,
    "classifier": lambda: fill_randomly(ImageClassifier(small_encoder(), 4)),
    "probe": lambda: fill_randomly(ImageClassifier(small_encoder(), 4, num_trainable_layers=0)),
}
TRAINED = [name for name in MODELS if name != "encoder"]


def values(model, images=IMAGES):
    return [np.asarray(output) for output in keras.tree.flatten(model(images))]


def assert_same_values(got, expected, tolerance=1e-5):
    """1e-5 for graphs: TensorFlow's fused kernels add up in another order."""
    got = keras.tree.flatten(got)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance, rtol=tolerance)


def trained(model, epochs=1, **arguments):
    if hasattr(model, "encoder"):
        if not model.compiled:
            model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), run_eagerly=True)
        model.fit(IMAGES, LABELS, batch_size=2, shuffle=False, epochs=epochs, verbose=0, **arguments)
    return model


def table(features, names):
    """Every feature on every model; in the normal set each on one model, another one from feature to feature."""
    only_slow = ("export_after_fit", "best_checkpoint", "early_stopping")  # the others export, and come back, too
    for row, feature in enumerate(features):
        for column, name in enumerate(names):
            is_quick = column == row % len(names) and feature.__name__ not in only_slow
            mark = pytest.mark.medium if is_quick else pytest.mark.slow
            yield pytest.param(feature, name, marks=mark, id=f"{feature.__name__}-{name}")
