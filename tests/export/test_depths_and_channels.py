"""What was trained on 16 bits, or on other than 1 or 3 channels, is served as it was trained."""

import functools
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import evaluation_dataset, open_source
from keras_mae.export import export_autoencoder, export_classifier, export_encoder, verify
from keras_mae.export.image_files import files_decoder, in_dtype
from keras_mae.export.served_autoencoder import ServedAutoencoder
from keras_mae.export.served_classifier import ServedClassifier
from keras_mae.export.signatures import ServedEncoder
from keras_mae.models import ImageClassifier
from tests import two_formats
from tests.base import random_noise, small_encoder, small_mae
from tests.drawn import as_image, encoded, write

SHAPE = (8, 12, 1)
ROUND_OFF = 1e-5  # of values of about 1: another order of float32 sums


def x_ray(height, width, seed):
    """A picture of 12 bits in 16: uint16 `(height, width)`, of which the upper 8 hold 16 levels."""
    y, x = np.mgrid[:height, :width]
    return ((np.sin(x / (3 + seed)) + np.cos(y / (4 + seed / 2)) + 2) / 4 * 4095).astype("uint16")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """PNG files by name: of 16 bits, of 8 bits, and of both."""
    root = tmp_path_factory.mktemp("depths")
    for number in range(6):
        pixels = x_ray(20 + number, 30 - number, number)
        files = {16: encoded(as_image(pixels[..., None]), "PNG")}
        files[8] = encoded(as_image((pixels[..., None] // 16).astype("uint8")), "PNG")
        if number in (2, 5):  # TIFF knows both depths too
            files = {16: encoded(as_image(pixels[..., None]), "TIFF"), 8: files[8]}
        if number in (3, 4):
            files[8] = encoded(as_image((pixels[..., None] // 16).astype("uint8")), "TIFF")
        for name, bits in (("deep", 16), ("plain", 8), ("mixed", 8 + 8 * (number % 2))):
            form = "png" if files[bits].startswith(b"\x89PNG") else "tif"
            write(str(root / name / f"{number}.{form}"), files[bits])
    return root


CROP = 0.9


@pytest.fixture(scope="module", autouse=True)
def _png_and_tiff():
    """No graph holds the decoders of other formats, which have 8 bits alone."""
    with pytest.MonkeyPatch.context() as patch:
        two_formats.patched(patch, and_tiff=True)
        yield


@pytest.fixture(scope="module")
def files(folders):
    """By folder: the files' bytes."""

    def of(name):
        return [tf.io.read_file(path).numpy() for path in open_source(f"folder:{folders / name}").paths]

    return of


@pytest.fixture(scope="module")
def evaluated(folders, files):
    """By folder: what evaluation shows the model of its images, float32; the files' bytes; and its source's dtype."""

    @functools.cache
    def of(name):
        source = open_source(f"folder:{folders / name}")
        batches = evaluation_dataset(source, SHAPE, source.num_images, CROP)
        return tf.cast(next(iter(batches)), tf.float32).numpy(), files(name), source.dtype

    return of


@pytest.mark.medium
@pytest.mark.parametrize(
    ("name", "dtype", "pixel_dtypes"),
    [
        pytest.param("deep", "uint16", ("auto", "uint16"), marks=pytest.mark.slow),  # half of the mixed ones
        ("plain", "uint8", ("auto", "uint8")),
        ("mixed", "uint16", ("uint16",)),
    ],
)
def test_files_are_decoded_as_in_evaluation(evaluated, name, dtype, pixel_dtypes):
    expected, files, found = evaluated(name)
    assert found == dtype
    for pixel_dtype in pixel_dtypes:
        images = files_decoder(SHAPE, CROP, pixel_dtype)(tf.constant(files))
        assert images.dtype == ("float32" if pixel_dtype == "auto" else pixel_dtype)
        levels = images.numpy().astype("float32") / (257 if pixel_dtype == "uint16" else 1)
        np.testing.assert_allclose(levels, expected, rtol=0, atol=2e-5)  # a rounding of float32 at 255
    if name != "plain":
        deep = expected[1]  # has more levels than 8 bits can tell
        assert np.abs(deep - deep.round()).max() > 0.2


@pytest.mark.medium
def test_each_file_of_its_own_depth(evaluated):
    """`auto`, of a batch of both: each file is what it is alone, those of 16 bits as evaluation in 16 has them."""
    images = files_decoder(SHAPE, CROP)(tf.constant(evaluated("mixed")[1]))
    for name, chosen in (("plain", slice(0, None, 2)), ("mixed", slice(1, None, 2))):
        # a rounding of float32 at 255
        np.testing.assert_allclose(images[chosen], evaluated(name)[0][chosen], rtol=0, atol=2e-5)


@pytest.mark.medium
def test_as_a_run_of_8_bits_has_seen_a_file_of_16(files):
    coarse, fine = (
        files_decoder(SHAPE, CROP, dtype)(tf.constant(files("deep"))).numpy() for dtype in ("uint8", "auto")
    )
    assert coarse.dtype == "uint8" and coarse.max() <= 16
    assert 0.5 < np.abs(coarse - fine).max() < 2  # up to a level is cut off before the resize, which rounds by a half


MODELS = {
    "encoder": (export_encoder, lambda shape: small_encoder(shape), {}),
    "classifier": (export_classifier, lambda shape: ImageClassifier(small_encoder(shape), 3), {"labels": "abc"}),
    "autoencoder": (export_autoencoder, lambda shape: small_mae(image_shape=shape), {}),
}


@pytest.mark.medium
@pytest.mark.parametrize(
    "kind", ["encoder", *(pytest.param(kind, marks=pytest.mark.slow) for kind in MODELS if kind != "encoder")]
)
def test_signatures_of_a_model_of_16_bits(evaluated, tmp_path, unverified, kind):
    export, make, arguments = MODELS[kind]
    live = make(SHAPE)
    if kind != "autoencoder":
        arguments = {**arguments, "crop_ratio": CROP}
    with pytest.MonkeyPatch.context() as patch:  # TIFF files are shown above
        two_formats.patched(patch)
        path = export(live, str(tmp_path / "model"), pixel_dtype="uint16", **arguments)
    signatures = tf.saved_model.load(path).signatures
    for name, signature in signatures.items():
        given = signature.structured_input_signature[1]
        assert name == "serving_default" or given["images"].dtype == tf.uint16
    levels, files, _ = evaluated("mixed")
    png = [number for number, file in enumerate(files) if file.startswith(b"\x89PNG")]
    levels, files = levels[png], [files[number] for number in png]
    assert {file[24] for file in files} == {8, 16}  # bits a channel
    images = tf.constant((levels * 257).round().astype("uint16"))
    if kind == "encoder":
        expected = live(levels)["patch_tokens"].numpy().mean(axis=1)
        found = [signatures["embed"](images=images), signatures["serving_default"](image_bytes=tf.constant(files))]
        for outputs in found:
            np.testing.assert_allclose(outputs["embedding"], expected, rtol=0, atol=ROUND_OFF)
        assert np.abs(live(levels.round())["patch_tokens"].numpy().mean(axis=1) - expected).max() > 10 * ROUND_OFF
    elif kind == "classifier":
        outputs = signatures["classify"](images=images)
        np.testing.assert_allclose(outputs["logits"], live(levels), rtol=0, atol=ROUND_OFF)
        of_files = signatures["serving_default"](image_bytes=tf.constant(files))
        np.testing.assert_allclose(of_files["probabilities"], tf.nn.softmax(live(levels)), rtol=0, atol=ROUND_OFF)
    else:
        mask = (random_noise(len(files), 6) >= 0.5).astype("float32")
        outputs, expected = signatures["reconstruct"](images=images, mask=mask), live.reconstruct(levels, mask=mask)
        for name, value in outputs.items():
            np.testing.assert_allclose(value, expected[name], rtol=0, atol=255 * ROUND_OFF)  # of levels up to 255
    with open(os.path.join(path, "assets", "metadata.json")) as file:
        assert json.load(file)["pixel_dtype"] == "uint16"


SERVED = {
    "encoder": lambda: ServedEncoder(small_encoder(SHAPE), pixel_dtype="uint16"),
    "classifier": lambda: ServedClassifier(ImageClassifier(small_encoder(SHAPE), 3), pixel_dtype="uint16"),
    "autoencoder": lambda: ServedAutoencoder(small_mae(image_shape=SHAPE), pixel_dtype="uint16"),
}


@pytest.mark.medium
@pytest.mark.parametrize("kind", SERVED)
def test_the_check_and_the_warm_up_are_of_the_models_depth(kind):
    served = SERVED[kind]()
    for given in ("uint8", "uint16", None):
        images = None if given is None else verify.drawn_images(SHAPE, 3, given)
        cases = verify.example_cases(served, images)
        assert set(cases) == set(served.signatures())
        levels = in_dtype(verify.drawn_images(SHAPE, 3, given or "uint16"), "uint16")
        for inputs in cases.values():
            if "images" in inputs:
                assert inputs["images"].dtype == "uint16" and inputs["images"].max() > 60_000
            else:
                decoded = [tf.io.decode_png(file, dtype="uint16").numpy() for file in inputs["image_bytes"]]
                assert [file[24] for file in inputs["image_bytes"]] == [16, 16, 16]  # the header's bits a channel
                np.testing.assert_array_equal(decoded, levels)


@pytest.mark.medium
def test_the_check_of_any_depth_has_files_of_both():
    cases = verify.example_cases(ServedEncoder(small_encoder(SHAPE)), None)
    assert [file[24] for file in cases["serving_default"]["image_bytes"]] == [8, 16, 8]
    assert cases["embed"]["images"].dtype == "uint8"


def test_checked_images_are_those_that_were_given():
    levels = verify.drawn_images(SHAPE)
    np.testing.assert_array_equal(in_dtype(in_dtype(levels, "uint16"), "uint8"), levels)
    assert in_dtype(np.array([[0, 255]], "uint8"), "uint16").tolist() == [[0, 65535]]


@pytest.mark.medium
def test_many_channels_of_16_bits_are_served_as_arrays(tmp_path, verified_here):
    shape = (8, 12, 5)
    images = verify.drawn_images(shape, 4, "uint16")
    encoder = small_encoder(shape)
    loaded = tf.saved_model.load(export_encoder(encoder, str(tmp_path / "encoder"), pixel_dtype="uint16"))
    assert set(loaded.signatures) == {"embed", "features"}
    live = encoder(images / np.float32(257))
    embedding = loaded.signatures["embed"](images=tf.constant(images))["embedding"]
    np.testing.assert_allclose(embedding, live["patch_tokens"].numpy().mean(axis=1), rtol=0, atol=ROUND_OFF)
    features = loaded.signatures["features"](images=tf.constant(images))
    for name, expected in live.items():
        np.testing.assert_allclose(features[name], expected, rtol=0, atol=ROUND_OFF)
    warmup = list(tf.data.TFRecordDataset(str(tmp_path / "encoder/1/assets.extra/tf_serving_warmup_requests")))
    assert len(warmup) == 2 and b"serving_default" not in b"".join(record.numpy() for record in warmup)


@pytest.mark.medium
def test_a_classifier_of_four_channels_takes_arrays(tmp_path, unverified):
    shape = (8, 12, 4)
    images, classifier = verify.drawn_images(shape, 4), ImageClassifier(small_encoder(shape), 3)
    loaded = tf.saved_model.load(export_classifier(classifier, str(tmp_path / "classifier"), labels="abc"))
    assert set(loaded.signatures) == {"classify"}
    outputs = loaded.signatures["classify"](images=tf.constant(images))
    np.testing.assert_allclose(outputs["logits"], classifier(images), rtol=0, atol=ROUND_OFF)


@pytest.mark.medium
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("format", [pytest.param("onnx", marks=pytest.mark.slow), "litert"])
def test_other_formats_of_many_channels_and_16_bits(tmp_path, format):
    """Their own check compares them with the live model, in the format's runtime."""
    path = export_encoder(small_encoder((8, 12, 5)), str(tmp_path / "five"), format=format, pixel_dtype="uint16")
    with open(os.path.join(path, "metadata.json")) as file:
        assert json.load(file)["pixel_dtype"] == "uint16"
