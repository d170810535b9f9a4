"""Patch projections of another number of channels."""

import numpy as np
import pytest
from safetensors.numpy import load_file

import keras_mae
from keras_mae.checkpoints.channels import adapted_kernel, chosen_channels
from tests.base import random_images
from tests.checkpoints.small import small_classifier, small_encoder, small_mae
from tests.checkpoints.test_strictness import refused


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A file of an encoder of three channels, and its kernel `(D, c, ph, pw)`."""
    path = str(tmp_path_factory.mktemp("channels") / "file.safetensors")
    keras_mae.save_checkpoint(small_encoder(), path, "timm")
    return path, load_file(path)["patch_embed.proj.weight"]


def loaded(path, channels, channels_from, folder):
    """The kernel of a model of this many channels after loading, in the file's layout, and the report."""
    encoder = small_encoder((8, 12, channels), seed=5)
    before = encoder.normalize_pixels.get_config()
    report = keras_mae.load_checkpoint(encoder, path, "timm", channels_from=channels_from)
    assert encoder.normalize_pixels.get_config() == before
    keras_mae.save_checkpoint(encoder, str(folder / "again.safetensors"), "timm")
    return load_file(folder / "again.safetensors")["patch_embed.proj.weight"], report


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_the_mean_keeps_the_response_to_equal_channels(channels, source, tmp_path):
    path, kernel = source
    refused(small_encoder((8, 12, channels)), path, "timm", "channels_from='mean'", "nothing was loaded")
    ours, report = loaded(path, channels, "mean", tmp_path)
    expected = kernel.mean(axis=1, keepdims=True) * 3 / channels
    np.testing.assert_allclose(ours, np.repeat(expected, channels, axis=1), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ours.sum(axis=1), kernel.sum(axis=1), rtol=1e-5, atol=1e-6)
    assert report.resized == ("encoder.patch_projection.kernel",)
    assert any(f"from 3 channels of the file to {channels}" in note for note in report.notes)


def test_a_gray_image_has_the_features_of_its_copies_in_three_channels(source, tmp_path):
    path, _ = source
    pixels = {"mean": (0.4,) * 3, "std": (0.2,) * 3}
    colour, gray = small_encoder(**pixels), small_encoder((8, 12, 1), seed=5, mean=(0.4,), std=(0.2,))
    keras_mae.load_checkpoint(colour, path, "timm")
    keras_mae.load_checkpoint(gray, path, "timm", channels_from="mean")
    images = random_images(2, (8, 12, 1))
    expected = colour(np.repeat(images, 3, axis=-1))["patch_tokens"]
    np.testing.assert_allclose(gray(images)["patch_tokens"], expected, rtol=1e-5, atol=1e-5)


def test_named_channels_alone_are_copied_to_the_bit(source, tmp_path):
    path, kernel = source
    ours, _ = loaded(path, 4, (2, 1, 0, 1), tmp_path)
    np.testing.assert_array_equal(ours, kernel[:, [2, 1, 0, 1]])
    turned, report = loaded(path, 3, [2, 1, 0], tmp_path)
    np.testing.assert_array_equal(turned, kernel[:, ::-1])
    assert report.resized


def test_named_channels_with_the_mean_are_scaled_together(source, tmp_path):
    path, kernel = source
    ours, report = loaded(path, 4, (0, 1, 2, None), tmp_path)
    expected = np.concatenate([kernel, kernel.mean(axis=1, keepdims=True)], axis=1) * 3 / 4
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ours.sum(axis=1), kernel.sum(axis=1), rtol=1e-5, atol=1e-6)
    assert any("(0, 1, 2, mean), scaled by 3/4" in note for note in report.notes)


def test_as_many_channels_stay_as_they_are(source, tmp_path):
    path, kernel = source
    ours, report = loaded(path, 3, "mean", tmp_path)
    np.testing.assert_array_equal(ours, kernel)
    assert not report.resized


@pytest.mark.parametrize(
    "asked, message",
    [
        ("average", "channels_from is 'mean', a sequence of channels, or None; got 'average'"),
        (3, "channels_from is 'mean', a sequence of channels, or None; got 3"),
        ((0, 1), "names a channel of the file for each of the model's 4; got 2"),
        ((0, 1, 2, 3), "names channel 3, and the file's 3 channels are counted from 0 to 2"),
        ((0, 1, -1, None), "names channel -1"),
        ((0, 1, True, None), "names channel True"),
    ],
)
def test_wrong_channels(asked, message, source):
    refused(small_encoder((8, 12, 4)), source[0], "timm", message, channels_from=asked)


def test_autoencoders_and_classifiers(tmp_path):
    mae, path = small_mae(), str(tmp_path / "a.safetensors")
    keras_mae.save_checkpoint(mae, path, "mae_torch")
    gray = small_mae(image_shape=(8, 12, 1), seed=5)
    refused(gray, path, "mae_torch", "decoder_pred.weight (48, 12) in the file", channels_from="mean")
    report = keras_mae.load_checkpoint(gray, path, "mae_torch", ("decoder.head.*",), channels_from="mean")
    assert report.fresh == ("decoder.head.kernel", "decoder.head.bias")
    assert "not loaded, so as they were: decoder.head.kernel, decoder.head.bias" in str(report)
    classifier = small_classifier(image_shape=(8, 12, 5))
    report = keras_mae.load_checkpoint(classifier, path, "mae_torch", ("head.*",), channels_from=(0, 1, 2, None, None))
    assert report.resized == ("encoder.patch_projection.kernel",)


def test_half_precision_files_are_averaged_in_float64():
    kernel = np.array([60000, 60000, 60000], "float16").reshape(3, 1)  # their sum overflows float16
    np.testing.assert_array_equal(adapted_kernel(kernel, (1, 1), (None, None, None)), kernel)
    assert chosen_channels(None, 4, (16, 3, 4, 4)) is None
    assert chosen_channels(np.array([2, 0]), 2, (16, 3, 4, 4)) == (2, 0)  # NumPy's integers count
