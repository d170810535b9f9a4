"""Whole forward passes and losses against the slow NumPy implementation, every weight random."""

import numpy as np
import pytest

from keras_mae.example_seed import ExampleSeed
from tests.base import random_images, random_noise, small_encoder, small_mae
from tests.reference import from_keras, numpy_mae

# The reference is float64 and ours float32, with epsilon 1.2e-7, through three blocks: errors stay below 1e-5.
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}

CASES = [
    # image shape, patch, positions
    ((8, 12, 3), 4, "sincos"),
    ((6, 8, 1), (3, 2), "learned"),  # a rectangular patch, gray images, 2 x 4 grid
    ((8, 4, 5), (2, 4), "sincos"),  # five channels, and a single column of patches
]


def reference_patches(encoder, image):
    pixels = numpy_mae.normalize_pixels(image, encoder.normalize_pixels.mean, encoder.normalize_pixels.std)
    return numpy_mae.patchify(pixels, *encoder.patch_size)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("image_shape", "patch_size", "positions"), CASES)
def test_prediction_mask_and_loss(image_shape, patch_size, positions, normalize):
    encoder = small_encoder(image_shape, patch_size, num_layers=2, position_embedding=positions)
    mae = small_mae(encoder, mask_ratio=0.6, normalize=normalize, decoder={"position_embedding": positions})
    images, noise = random_images(3, image_shape), random_noise(3, encoder.num_patches)
    weights = from_keras.encoder_weights(encoder), from_keras.decoder_weights(mae.decoder)

    predictions, targets, masks = [], [], []
    for image, row in zip(images, noise, strict=True):
        patches = reference_patches(encoder, image)
        ids_keep, ids_restore, mask = numpy_mae.mask_from_noise(row, int(encoder.num_patches * (1 - 0.6)))
        predictions.append(numpy_mae.decode(numpy_mae.encode(patches, weights[0], ids_keep), weights[1], ids_restore))
        targets.append(numpy_mae.pixel_target(patches, normalize))
        masks.append(mask)

    inputs = {"images": images, "noise": noise}
    outputs = mae(inputs)
    np.testing.assert_array_equal(outputs["mask"], masks)
    np.testing.assert_allclose(outputs["prediction"], predictions, **TOLERANCE)
    np.testing.assert_allclose(mae.target(images), targets, **TOLERANCE)
    loss = mae.batch_loss(inputs, ExampleSeed.of(0, 0), training=True)
    np.testing.assert_allclose(loss, numpy_mae.loss(predictions, targets, masks), rtol=1e-5)
    # the masks as such give what the noise gives, though they order the visible patches otherwise
    given = mae.batch_loss({"images": images, "mask": np.array(masks)}, ExampleSeed.of(0, 0), training=True)
    np.testing.assert_allclose(given, loss, rtol=1e-5)


@pytest.mark.parametrize(("image_shape", "patch_size", "positions"), CASES)
def test_encoder_sees_every_patch(image_shape, patch_size, positions):
    encoder = small_encoder(image_shape, patch_size, num_layers=2, position_embedding=positions)
    images = random_images(2, image_shape, seed=3)
    weights = from_keras.encoder_weights(encoder)
    expected = np.array([numpy_mae.encode(reference_patches(encoder, image), weights) for image in images])
    outputs = encoder(images)
    np.testing.assert_allclose(outputs["cls_token"], expected[:, 0], **TOLERANCE)
    np.testing.assert_allclose(outputs["patch_tokens"], expected[:, 1:], **TOLERANCE)


def test_encoder_with_a_mask_token():
    encoder = small_encoder()
    images = random_images(2, (8, 12, 3))
    mask = np.array([[1, 0, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0]])  # counts may differ here: nothing is dropped
    token = np.random.default_rng(5).normal(size=16)
    outputs = encoder.encode(images, mask=mask, mask_token=token.astype("float32").reshape(1, 1, 16))
    weights = from_keras.encoder_weights(encoder)
    expected = np.array(
        [
            numpy_mae.encode(reference_patches(encoder, image), weights, mask=row, mask_token=token)
            for image, row in zip(images, mask, strict=True)
        ]
    )
    np.testing.assert_allclose(outputs.prefix[:, 0], expected[:, 0], **TOLERANCE)
    np.testing.assert_allclose(outputs.patches, expected[:, 1:], **TOLERANCE)
