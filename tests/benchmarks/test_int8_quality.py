"""What 8 bits cost a trained encoder."""

import json

import keras
import numpy as np
import pytest

from benchmarks import int8_quality
from keras_mae.data.sources import digits_source
from keras_mae.models import ImageClassifier, ViTEncoder


@pytest.mark.slow
def test_a_trained_encoder_keeps_its_directions_and_neighbours():
    """Training makes the activations' ranges differ, which fresh weights do not."""
    keras.utils.set_random_seed(0)
    train, test = digits_source("train"), digits_source("test")
    images, labels = train.images[::4], train.required_labels()[::4]
    encoder = ViTEncoder((28, 28, 1), 7, hidden_dim=48, num_layers=2, num_heads=2)
    classifier = ImageClassifier(encoder, 10)
    classifier.compile(keras.optimizers.AdamW(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = classifier.fit(images, labels, batch_size=50, epochs=8, verbose=0).history
    assert history["accuracy"][-1] > 0.7  # of ten classes: it is trained
    tested = (test.images, test.required_labels())
    found = json.loads(int8_quality.line("digits", encoder, (images, labels), tested))
    # an image whose embedding changes most with any rounding, as with bfloat16's, is further away: 0.997
    assert found["cosine"]["mean"] >= 0.9995 and found["cosine"]["of_1_in_100"] >= 0.998
    assert 0.99 < found["cosine"]["least"] < found["cosine"]["of_1_in_100"]
    assert abs(found["knn"]["int8"] - found["knn"]["float32"]) <= 0.5 and found["knn"]["float32"] > 60
    assert found["tested"] == len(np.unique(test.images, axis=0)) == 1000
