"""The ablation of Table 1c: the encoder sees mask tokens, the decoder fills in none."""

import keras
import numpy as np
import pytest

from keras_mae.example_seed import ExampleSeed
from keras_mae.masking import RandomMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder
from keras_mae.optimizers import adamw
from tests.base import fill_randomly, random_images, random_noise, small_encoder
from tests.reference import from_keras, numpy_mae

IMAGES, NOISE = random_images(3, (8, 12, 3)), random_noise(3, 6)


@pytest.fixture(scope="module")
def mae():
    decoder = MAEDecoder(12, 1, 3, 20)
    return fill_randomly(
        MaskedAutoencoder(small_encoder(), decoder, RandomMasking(0.5), mask_tokens_in_encoder=True, seed=2)
    )


def test_prediction_and_loss_against_numpy(mae):
    encoder, weights = mae.encoder, from_keras.decoder_weights(mae.decoder)
    token, predictions, targets, masks = mae.mask_token.numpy()[0, 0].astype(float), [], [], []
    for image, noise in zip(IMAGES, NOISE, strict=True):
        pixels = numpy_mae.normalize_pixels(image, encoder.normalize_pixels.mean, encoder.normalize_pixels.std)
        patches = numpy_mae.patchify(pixels, 4, 4)
        _, _, mask = numpy_mae.mask_from_noise(noise, 3)
        tokens = numpy_mae.encode(patches, from_keras.encoder_weights(encoder), mask=mask, mask_token=token)
        predictions.append(numpy_mae.decode(tokens, weights, np.arange(6)))  # all six are there, in order
        targets.append(patches)
        masks.append(mask)
    inputs = {"images": IMAGES, "noise": NOISE}
    # float64 against float32, with epsilon 1.2e-7, through two blocks
    np.testing.assert_allclose(mae(inputs)["prediction"], predictions, atol=1e-5, rtol=1e-5)
    loss = mae.batch_loss(inputs, ExampleSeed.of(0, 0), training=True)
    np.testing.assert_allclose(loss, numpy_mae.loss(predictions, targets, masks), rtol=1e-5)


def test_what_is_hidden_has_no_influence_on_the_prediction(mae):
    noise = np.array([[0, 1, 2, 3, 4, 5]] * 3, "float32")
    changed = IMAGES.copy()
    changed[:, 4:] = random_images(3, (4, 12, 3), seed=8)  # the lower row of patches, all hidden
    np.testing.assert_array_equal(*(mae({"images": x, "noise": noise})["prediction"] for x in (IMAGES, changed)))


@pytest.mark.medium
def test_the_token_is_trained_saved_and_not_decayed(mae, tmp_path):
    copy = MaskedAutoencoder.from_config(mae.get_config())
    copy.set_weights(mae.get_weights())
    groups = [variable for group in copy.layer_groups() for variable in group]
    assert sorted(v.path for v in groups) == sorted(v.path for v in copy.trainable_variables)
    assert copy.mask_token is copy.no_weight_decay()[-1]
    copy.compile(optimizer=adamw(copy, 1e-2), run_eagerly=True)
    copy.fit(IMAGES, batch_size=3, verbose=0)
    assert np.abs(copy.mask_token - mae.mask_token).min() > 1e-4
    # nothing is missing where the decoder would put its own token
    np.testing.assert_array_equal(copy.decoder.mask_token, mae.decoder.mask_token)
    copy.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(IMAGES)["prediction"], copy(IMAGES)["prediction"])
