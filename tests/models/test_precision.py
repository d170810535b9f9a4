"""Mixed precision: finite, close to float32, and float32 where it matters."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.models import ImageClassifier, ImageSegmenter, MAEDecoder, MaskedAutoencoder
from tests.base import LossPerStep, fill_randomly, random_images, random_noise, small_encoder, small_mae, weights_of

IMAGES, NOISE = random_images(4, (8, 12, 3)), random_noise(4, 6)
INPUTS = {"images": IMAGES, "noise": NOISE}
# the type's epsilon (bfloat16 2^-8, float16 2^-11) times some ten roundings one after the other on the way
POLICIES = [("mixed_bfloat16", 10 * 2**-8), ("mixed_float16", 10 * 2**-11)]


@pytest.mark.parametrize(("policy", "tolerance"), POLICIES)
def test_forward_pass_is_close_to_float32(policy, tolerance):
    mae, reference = small_mae(dtype=policy), small_mae()
    for ours, theirs in zip(weights_of(mae), weights_of(reference), strict=True):
        np.testing.assert_array_equal(ours, theirs)  # weights stay float32
    prediction, expected = mae(INPUTS)["prediction"], reference(INPUTS)["prediction"]
    assert prediction.dtype == tf.float32
    error = np.sqrt(np.mean(np.square(prediction - expected)) / np.mean(np.square(expected)))
    assert 0 < error < tolerance
    tokens = mae.encoder(IMAGES)["patch_tokens"]
    assert tokens.dtype == policy.removeprefix("mixed_")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_pixels_and_targets_are_float32_under_every_policy(policy):
    mae, reference = small_mae(dtype=policy, normalize=True), small_mae(normalize=True)
    np.testing.assert_array_equal(mae.target(IMAGES), reference.target(IMAGES))
    reconstruction = mae.reconstruct(IMAGES, noise=NOISE)["reconstruction"]
    assert reconstruction.dtype == tf.float32 and np.isfinite(reconstruction).all()


@pytest.mark.medium
@pytest.mark.parametrize(("policy", "tolerance"), POLICIES)
def test_training_is_finite_and_close_to_float32(policy, tolerance):
    losses = []
    for dtype in ("float32", policy):
        mae = small_mae(dtype=dtype)
        mae.compile(optimizer=keras.optimizers.SGD(0.05), run_eagerly=True)
        recorder = LossPerStep()
        mae.fit(INPUTS, batch_size=4, shuffle=False, epochs=3, verbose=0, callbacks=[recorder])
        losses.append(recorder.losses)
        assert all(np.isfinite(weight).all() for weight in weights_of(mae))
    assert isinstance(mae.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    assert losses[1][-1] < losses[1][0]  # it learns
    np.testing.assert_allclose(losses[1], losses[0], rtol=tolerance)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_global_policy_is_taken(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        mae = small_mae()
    finally:
        keras.config.set_dtype_policy(before)
    layers = [mae.encoder.blocks[0].attention.qkv, mae.decoder.blocks[0].mlp_hidden, mae.decoder.head]
    assert {layer.compute_dtype for layer in layers} == {policy.removeprefix("mixed_")}
    assert np.isfinite(mae(IMAGES)["prediction"]).all()


def parts_of(model):
    decoder = model.decoder
    return [model, decoder, *decoder.blocks, *(block.attention.qkv for block in decoder.blocks), decoder.head]


@pytest.mark.parametrize("around", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_policy_is_given_once_and_is_in_the_file(around, tmp_path):
    """To the encoder; method and decoder take it, whatever the global policy is, when a file is read, too."""
    before, path = keras.config.dtype_policy(), str(tmp_path / "mae.keras")
    keras.config.set_dtype_policy(around)
    try:
        mae = fill_randomly(MaskedAutoencoder(small_encoder(dtype="mixed_bfloat16"), MAEDecoder(12, 1, 3, 20)))
        mae.save(path)
        keras.config.set_dtype_policy("float32" if around != "float32" else "mixed_float16")
        loaded = keras.saving.load_model(path)
        copy = MaskedAutoencoder.from_config(mae.get_config())
    finally:
        keras.config.set_dtype_policy(before)
    for model in (mae, loaded, copy):
        assert {part.dtype_policy.name for part in parts_of(model)} == {"mixed_bfloat16"}
    np.testing.assert_array_equal(loaded(INPUTS)["prediction"], mae(INPUTS)["prediction"])


def test_a_decoder_keeps_a_policy_of_its_own(tmp_path):
    mae = MaskedAutoencoder(small_encoder(dtype="mixed_bfloat16"), MAEDecoder(12, 1, 3, 20, dtype="float32"))
    mae.save(tmp_path / "mae.keras")
    for model in (mae, keras.saving.load_model(tmp_path / "mae.keras")):
        assert model.dtype_policy.name == "mixed_bfloat16"
        assert {part.dtype_policy.name for part in parts_of(model)[1:]} == {"float32"}


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_heads_take_the_policy_of_their_encoder(kind):
    encoder = small_encoder(dtype="mixed_bfloat16")
    make = {"classifier": ImageClassifier, "segmenter": partial(ImageSegmenter, head="mask_transformer")}[kind]
    given, own = make(encoder, 3), make(encoder, 3, dtype="float32")
    assert (given.dtype_policy.name, own.dtype_policy.name) == ("mixed_bfloat16", "float32")
    assert given(IMAGES).dtype == own(IMAGES).dtype == "float32"
    if kind == "segmenter":
        assert (given.masks.compute_dtype, own.masks.compute_dtype) == ("bfloat16", "float32")


def test_extreme_images_are_finite_in_float16():
    """All black, all white, and single bright pixels: the largest values that a network can be shown."""
    images = np.zeros((4, 8, 12, 3), "uint8")
    images[1] = 255
    images[2, ::4, ::4] = 255
    images[3, ..., 0] = 255
    mae = small_mae(encoder=small_encoder(dtype="mixed_float16"), normalize=True)
    assert np.isfinite(mae({"images": images, "noise": NOISE})["prediction"]).all()
    assert np.isfinite(mae.target(images)).all()
