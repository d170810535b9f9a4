"""Exported regressors, classifiers of several labels, and heads of one's own, against the live ones."""

import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import decode_image, evaluation_transform
from keras_mae.export import export_head
from keras_mae.export.served_classifier import ServedClassifier
from keras_mae.export.served_head import ServedHead
from keras_mae.models import ImageClassifier, ImageHead, ImageRegressor
from tests.base import fill_randomly, random_images, small_encoder
from tests.export.conftest import PNG_AND_JPEG

SHAPE, CROP = (8, 12, 3), 0.8
IMAGES = random_images(3, SHAPE)

pytestmark = pytest.mark.usefixtures("png_and_jpeg")


@pytest.mark.medium
def test_a_regressor_gives_numbers_in_their_units(tmp_path):
    live = fill_randomly(ImageRegressor(small_encoder(), 2, mean=(100.0, -3.0), std=(20.0, 0.5)))
    path = export_head(live, str(tmp_path / "sizes"), labels=["width", "angle"], crop_ratio=CROP)
    loaded = tf.saved_model.load(path)
    np.testing.assert_allclose(loaded.signatures["predict"](images=IMAGES)["values"], live(IMAGES), rtol=1e-5)
    images = np.stack([evaluation_transform(decode_image(file, 3), SHAPE, CROP) for file in PNG_AND_JPEG])
    outputs = loaded.signatures["serving_default"](image_bytes=tf.constant(PNG_AND_JPEG))
    assert set(outputs) == {"values"}
    np.testing.assert_allclose(outputs["values"], live(images), rtol=1e-5)
    with open(os.path.join(path, "assets", "metadata.json"), encoding="utf-8") as file:
        assert json.load(file)["labels"] == ["width", "angle"]
    with open(os.path.join(path, "assets", "labels.txt"), encoding="utf-8") as file:
        assert file.read() == "width\nangle\n"
    with pytest.raises(ValueError, match="one name a column of the output is needed: got 1 for 2 columns"):
        ServedHead(live, ["width"])


@pytest.mark.medium
def test_several_labels_have_probabilities_and_no_class():
    live = fill_randomly(ImageClassifier(small_encoder(), 4, multi_label=True))
    served = ServedClassifier(live, ["a", "b", "c", "d"])
    outputs = served.signatures()["classify"](images=tf.constant(IMAGES))
    assert set(outputs) == {"probabilities", "logits"} and served.metadata()["multi_label"]
    np.testing.assert_allclose(outputs["probabilities"], 1 / (1 + np.exp(-live(IMAGES).numpy())), atol=1e-5)


class TwoOutputs(ImageHead):
    def __init__(self, encoder, **kwargs):
        super().__init__(encoder, **kwargs)
        self.age, self.map = keras.layers.Dense(1), keras.layers.Dense(2)

    def call(self, inputs, training=False, seed=None):
        tokens = self.encoder.intermediates(inputs, [1], training)[0]
        return {"age": self.age(self.features(inputs, training, seed)), "map": self.map(tokens)}


@pytest.mark.medium
def test_a_head_of_ones_own_has_its_own_names():
    live = TwoOutputs(small_encoder())
    live.build()
    signatures = ServedHead(live).signatures()
    outputs = signatures["predict"](images=tf.constant(IMAGES))
    assert set(outputs) == {"age", "map"} == set(signatures["serving_default"].structured_outputs)
    for name, value in live(IMAGES).items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-5)
