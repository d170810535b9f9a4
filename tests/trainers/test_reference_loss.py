"""What a loss is compared with: against sums written out in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.models import MAEDecoder, MaskedAutoencoder
from keras_mae.targets import PCATarget, PixelTarget, TokenTarget
from keras_mae.trainers.reference_loss import Reference, reference_loss
from tests.base import random_images, small_encoder, small_mae, small_simmim

IMAGES = random_images(5, (8, 12, 3))
IMAGES[:, :4, :4] = 90  # one patch of six without contrast


def patches_of(model):
    """Normalised as the network sees them: float64 `(B, L, ph * pw * C)`."""
    pixels = (IMAGES / 255 - model.encoder.normalize_pixels.mean) / model.encoder.normalize_pixels.std
    return pixels.reshape(5, 2, 4, 3, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(5, 6, 48)


def test_of_pixels_it_is_each_patchs_variance():
    mae = small_mae(normalize=False)
    found = reference_loss(mae, IMAGES)
    assert found.loss == pytest.approx(patches_of(mae).var(axis=-1).mean(), rel=1e-5)  # float32
    assert found.prediction == "each patch's mean"


def test_of_normalised_pixels_it_is_one_but_for_what_has_no_contrast():
    """47/48, as the variance is the unbiased one; and the flat patch, here a sixth, cannot be wrong."""
    images = random_images(5, (8, 12, 3), seed=1)
    assert reference_loss(small_mae(normalize=True), images).loss == pytest.approx(47 / 48, rel=1e-4)
    mae = small_mae(normalize=True, mean=(0.5,) * 3, std=(0.25,) * 3)  # gray stays gray
    assert reference_loss(mae, IMAGES).loss == pytest.approx(47 / 48 * 5 / 6, rel=1e-4)
    assert str(Reference(1.0, "each patch's mean")) == "a loss of 1.00 is that of predicting each patch's mean"
    assert Reference(0.00123, "").rounded == "0.0012"


@pytest.mark.parametrize("visible_weight", [0.0, 0.25])
def test_it_is_the_loss_of_a_network_that_predicts_this(visible_weight):
    """With the loss on visible patches; of normalised pixels the mean is 0, which a head of zeros predicts."""
    decoder = MAEDecoder(hidden_dim=12, num_layers=1, num_heads=3)
    mae = MaskedAutoencoder(small_encoder(), decoder, target=PixelTarget(True), visible_weight=visible_weight)
    for variable in decoder.head.weights:
        variable.assign(tf.zeros_like(variable))
    images = random_images(5, (8, 12, 3), seed=1)  # none without contrast, so that all patches weigh alike
    loss = mae.batch_loss(images, ExampleSeed.of(0, 0), training=True)
    assert reference_loss(mae, images).loss == pytest.approx(float(loss), rel=1e-4)  # epsilon of each variance


def test_of_simmim_it_is_an_absolute_error():
    simmim = small_simmim()
    patches = patches_of(simmim)
    expected = np.abs(patches - patches.mean(axis=-1, keepdims=True)).mean()
    assert reference_loss(simmim, IMAGES).loss == pytest.approx(expected, rel=1e-5)  # float32


def test_of_tokens_it_is_that_of_guessing_and_of_components_there_is_none():
    inputs = keras.Input((8, 12, 3))
    tokenizer = keras.Model(inputs, keras.layers.Conv2D(32, 4, strides=4)(inputs))
    decoder = {"hidden_dim": 12, "num_layers": 1, "num_heads": 3}
    target = TokenTarget(tokenizer, vocabulary_size=32)
    bit = MaskedAutoencoder(small_encoder(), MAEDecoder(**decoder), target=target)
    found = reference_loss(bit, IMAGES)
    assert found.loss == pytest.approx(np.log(32)) and str(found).startswith("a loss of 3.47 is that of predicting")
    pca = MaskedAutoencoder(small_encoder(), MAEDecoder(**decoder), target=PCATarget(3))
    assert reference_loss(pca, IMAGES) is None
