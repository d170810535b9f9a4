"""Loss, prediction and every gradient against Hugging Face transformers, with their weights and the same noise."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_mae.example_seed import ExampleSeed
from keras_mae.masking import RandomMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder, ViTEncoder
from keras_mae.targets import PixelTarget
from tests.base import random_images, random_noise
from tests.reference.hf_mae import copy_weights, correspondence, hf_mae

# Both sides compute in float32 (epsilon 1.2e-7) and agree to 2e-6 here; libraries may order their sums otherwise.
# With GELU by tanh the predictions are 6e-4 apart, with the biased variance the losses 1e-2.
TOLERANCE = 1e-5


@pytest.mark.parametrize("normalize", [False, True])
def test_loss_prediction_and_every_gradient(normalize):
    hf = hf_mae(image_size=12, patch_size=4, normalize=normalize, mask_ratio=0.6)
    mae = MaskedAutoencoder(
        ViTEncoder((12, 12, 3), 4, 24, 2, 3, 40, position_embedding="learned", mean=(0.5,) * 3, std=(0.5,) * 3),
        MAEDecoder(16, 2, 4, 28, position_embedding="learned"),  # learned: the tables have gradients to compare
        RandomMasking(0.6),
        PixelTarget(normalize=normalize),
    )
    copy_weights(mae, hf)
    images, noise = random_images(3, (12, 12, 3)), random_noise(3, 9)

    pixels = (images.astype("float64") / 127.5 - 1).transpose(0, 3, 1, 2)  # they take normalised (B, C, H, W)
    theirs = hf(pixel_values=torch.tensor(pixels, dtype=torch.float32), noise=torch.tensor(noise))
    theirs.loss.backward()

    inputs = {"images": images, "noise": noise}
    ours = mae(inputs)
    np.testing.assert_array_equal(ours["mask"], theirs.mask.numpy())
    np.testing.assert_allclose(ours["prediction"], theirs.logits.detach().numpy(), atol=TOLERANCE, rtol=TOLERANCE)

    with tf.GradientTape() as tape:
        loss = mae.batch_loss(inputs, ExampleSeed.of(0, 0), training=True)
    np.testing.assert_allclose(loss, theirs.loss.item(), rtol=TOLERANCE)

    rows = correspondence(mae, hf)
    gradients = tape.gradient(loss, [variable.value for variable, _, _ in rows])
    for (variable, linear_map, tensors), gradient in zip(rows, gradients, strict=True):
        expected = linear_map(*(tensor.grad.numpy() for tensor in tensors))
        assert np.abs(expected).max() > 1e-3, f"{variable.path}: a gradient of zero compares nothing"
        np.testing.assert_allclose(
            tf.convert_to_tensor(gradient), expected, atol=TOLERANCE, rtol=TOLERANCE, err_msg=variable.path
        )
