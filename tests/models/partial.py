"""Which patches a step predicts, and the whole step by the reference in PyTorch."""

import keras
import numpy as np
import tensorflow as tf
import torch

from keras_mae.example_seed import ExampleSeed
from keras_mae.losses import MaskedMeanSquaredError
from keras_mae.masking import RandomMasking
from keras_mae.models import CrossDecoder, MAEDecoder, MaskedAutoencoder
from keras_mae.targets import PixelTarget
from tests.base import fill_randomly, small_encoder
from tests.reference import from_keras, numpy_mae, torch_mae

DECODERS = {"plain": MAEDecoder, "cross": CrossDecoder}


@keras.saving.register_keras_serializable(package="tests")
class Recording(MaskedMeanSquaredError):
    """Keeps the targets of which each call of the loss was, in a list that has no part in its config."""

    def __init__(self):
        self.targets = []

    def __call__(self, target, prediction):
        self.targets.append(target)
        return super().__call__(target, prediction)


def make(decoder="plain", mask_ratio=0.6, normalize=True, encoder=None, settings=None, **arguments):
    """A small model, every weight random, with tables that have gradients; `settings` are those of the decoder."""
    if encoder is None:
        encoder = small_encoder((8, 16, 3), num_layers=2, position_embedding="learned")
    sizes = {"hidden_dim": 12, "num_layers": 2, "num_heads": 3, "mlp_dim": 20, "position_embedding": "learned"}
    return fill_randomly(
        MaskedAutoencoder(
            encoder,
            DECODERS[decoder](**{**sizes, **(settings or {})}),
            RandomMasking(mask_ratio),
            PixelTarget(normalize=normalize),
            Recording(),
            **arguments,
        )
    )


def step_of(mae, inputs, seed=0, step=0, training=True):
    """The loss of a step, and the patches that each call of the loss was of, by the rows of the target."""
    mae.masked_loss.targets.clear()
    loss = mae.batch_loss(inputs, ExampleSeed.of(seed, step), training=training)
    images = inputs["images"] if isinstance(inputs, dict) else inputs
    rows = mae.target(images).numpy()  # (B, L, dim), no two alike
    return loss, [_places(target.numpy(), rows) for target in mae.masked_loss.targets]


def _places(targets, rows):
    """`(B, N)`: for each target the one patch of its image whose row it is."""
    same = (targets[:, :, None] == rows[:, None]).all(axis=-1)  # (B, N, L)
    assert (same.sum(axis=-1) == 1).all(), "two patches look alike, or a target is none of the image's"
    return same.argmax(axis=-1)


def gradients_of(mae, inputs):
    """The loss, the patches of each call, and the gradients of all trainable variables by path."""
    with tf.GradientTape() as tape:
        loss, places = step_of(mae, inputs)
    variables = mae.trainable_variables
    found = tape.gradient(loss, [variable.value for variable in variables])
    assert len({variable.path for variable in mae.weights}) == len(mae.weights)
    return loss, places, {v.path: None if g is None else g.numpy() for v, g in zip(variables, found, strict=True)}


def reference_step(mae, images, masks, ids, visible_weight=0.0, encoder_layers=None):
    """The loss of the patches `ids`, one row an example, and the gradients by path, from PyTorch in float64."""
    encoder, decoder, leaves = mae.encoder, mae.decoder, torch_mae.Leaves()
    weights = from_keras.encoder_weights(encoder, leaves)
    is_cross = isinstance(decoder, CrossDecoder)
    of_decoder = (from_keras.cross_decoder_weights if is_cross else from_keras.decoder_weights)(decoder, leaves)
    token = leaves(mae.mask_token)[0, 0] if mae.mask_tokens_in_encoder else None
    predictions, targets = ([], []), ([], [])
    for image, mask, wanted in zip(images, masks, ids, strict=True):
        pixels = numpy_mae.normalize_pixels(image, encoder.normalize_pixels.mean, encoder.normalize_pixels.std)
        patches = numpy_mae.patchify(pixels, *encoder.patch_size)
        target = torch.tensor(numpy_mae.pixel_target(patches, mae.target.normalize))
        visible, seen = np.flatnonzero(mask == 0), range(len(mask)) if token is not None else np.flatnonzero(mask == 0)
        after, tokens = torch_mae.encode(torch.tensor(patches), weights, list(visible), token)
        groups = (list(wanted), list(visible) if visible_weight else [])
        everything = [*groups[0], *groups[1]]
        if is_cross:
            found = torch_mae.cross_decode(after, tokens, of_decoder, everything, encoder_layers)
        else:
            masked = [] if token is not None else groups[0]
            found = torch_mae.decode(tokens, of_decoder, list(seen), masked, everything)
        for number, (part, group) in enumerate(zip(found.split([len(g) for g in groups]), groups, strict=True)):
            predictions[number].append(part)
            targets[number].append(target[group])
    loss = torch_mae.mean_squared_error(predictions[0], targets[0])
    if visible_weight:
        loss = loss + visible_weight * torch_mae.mean_squared_error(predictions[1], targets[1])
    loss.backward()
    return loss.item(), leaves.gradients()


def assert_same_step(mae, inputs, masks, visible_weight=0.0, encoder_layers=None, unused=()):
    """Loss to 1e-5 and every gradient to 1e-5 of the reference, which reads every weight; the patches predicted."""
    loss, places, gradients = gradients_of(mae, inputs)
    expected, theirs = reference_step(mae, inputs["images"], masks, places[0], visible_weight, encoder_layers)
    # float64 against float32 with epsilon 1.2e-7, through four blocks and back
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert {v.path for v in mae.weights} - set(theirs) <= set(unused)
    for path, gradient in gradients.items():
        if path in unused:
            assert gradient is None or not gradient.any(), path
            continue
        if not (encoder_layers and len(encoder_layers) == 1 and path.endswith("layer_weights")):
            assert np.abs(theirs[path]).max() > 1e-4, f"{path}: a gradient of zero compares nothing"
        np.testing.assert_allclose(gradient, theirs[path], atol=1e-5, rtol=1e-5, err_msg=path)
    return places
