"""The exported encoder: its signatures, its embeddings against the live encoder's, and what a failure leaves."""

import io
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mae.export import export_encoder, saved_model, signatures
from keras_mae.export.verify import drawn_images, verify_export
from tests.base import PLANES, random_images, small_encoder
from tests.drawn import as_image, write
from tests.export.conftest import CROP, FILES, Served

SHAPE, WIDTH, PATCHES = (28, 28, 3), 32, 16
ROUND_OFF = 1e-5  # of values of about 1: another order of float32 sums

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    encoder = small_encoder((8, 8, 1), position_embedding="learned")
    return Served(encoder, export_encoder(encoder, str(tmp_path_factory.mktemp("gray")), 3, "cls", CROP), "cls")


def test_is_where_tf_serving_looks_and_nothing_else_is_there(served):
    folder, version = os.path.split(served.path)
    assert version == "2" and os.listdir(folder) == ["2"]
    assert {"saved_model.pb", "variables"} <= set(os.listdir(served.path))


def test_names_types_and_shapes_of_the_signatures(served):
    def described(specs):
        return {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in specs.items()}

    embedding = {"embedding": ("float32", [None, WIDTH])}
    images = {"images": ("uint8", [None, *SHAPE])}
    expected = {
        "serving_default": ({"image_bytes": ("string", [None])}, embedding),
        "embed": (images, embedding),
        "features": (
            images,
            {"cls_token": ("float32", [None, WIDTH]), "patch_tokens": ("float32", [None, PATCHES, WIDTH])},
        ),
    }
    found = {
        name: (described(function.structured_input_signature[1]), described(function.structured_outputs))
        for name, function in served.loaded.signatures.items()
    }
    assert found == expected


@pytest.mark.parametrize("batch_size", [1, 3])
def test_uint8_images_give_the_live_tokens(served, batch_size):
    images = random_images(batch_size, SHAPE, seed=batch_size)
    embedding = served.loaded.signatures["embed"](images=tf.constant(images))["embedding"]
    np.testing.assert_allclose(embedding, served.live(images), rtol=0, atol=ROUND_OFF)
    features, live = served.loaded.signatures["features"](images=tf.constant(images)), served.encoder(images)
    for name, expected in live.items():
        np.testing.assert_allclose(features[name], expected, rtol=0, atol=ROUND_OFF)
    assert len(np.unique(embedding.numpy().round(3), axis=0)) == batch_size


@pytest.mark.slow
def test_gray_images_and_the_class_token(gray):
    images = random_images(2, (8, 8, 1))
    embedding = gray.loaded.signatures["embed"](images=tf.constant(images))["embedding"]
    np.testing.assert_allclose(embedding, gray.live(images), rtol=0, atol=ROUND_OFF)
    mean = gray.encoder(images)["patch_tokens"].numpy().mean(axis=1)
    assert np.abs(embedding - mean).max() > 0.01  # which is another one
    embedding = gray.loaded.signatures["serving_default"](image_bytes=tf.constant(FILES))["embedding"]
    np.testing.assert_allclose(embedding, gray.live_of_files(FILES), rtol=0, atol=ROUND_OFF)
    assert len(np.unique(embedding.numpy().round(3), axis=0)) == len(FILES)


def test_the_embedding_does_not_depend_on_the_rest_of_the_batch(served):
    embed = served.loaded.signatures["serving_default"]
    together = embed(image_bytes=tf.constant(FILES))["embedding"].numpy()
    alone = np.concatenate([embed(image_bytes=tf.constant([file]))["embedding"] for file in FILES])
    np.testing.assert_allclose(alone, together, rtol=0, atol=ROUND_OFF)
    assert len(np.unique(together.round(3), axis=0)) == len(FILES)


@pytest.mark.parametrize("contents", [b"", b"no image", FILES[1][:200]])
def test_a_corrupt_file_is_an_error(served, contents):
    with pytest.raises(tf.errors.InvalidArgumentError):
        served.loaded.signatures["serving_default"](image_bytes=tf.constant([FILES[0], contents]))


def test_bfloat16_encoders_are_served_in_float32(tmp_path, unverified):
    encoder = small_encoder(PLANES, dtype="mixed_bfloat16")
    signature = tf.saved_model.load(export_encoder(encoder, str(tmp_path))).signatures["embed"]
    images = random_images(2, PLANES)
    embedding = signature(images=tf.constant(images))["embedding"]
    assert embedding.dtype == tf.float32
    exact = small_encoder(PLANES)
    exact.set_weights(encoder.get_weights())
    np.testing.assert_allclose(embedding, exact(images)["patch_tokens"].numpy().mean(axis=1), rtol=0, atol=1e-5)
    with open(os.path.join(tmp_path, "1", "assets", "metadata.json")) as file:
        assert json.load(file)["compute_dtype"] == "float32"


def test_an_existing_version_is_refused(served):
    before, folder = sorted(os.listdir(served.path)), os.path.dirname(served.path)
    with pytest.raises(
        ValueError, match="/2 is there already, and a served version never changes: export a higher ver"
    ):
        export_encoder(served.encoder, folder, version=2)
    assert os.listdir(folder) == ["2"] and sorted(os.listdir(served.path)) == before


@pytest.mark.parametrize("version", [0, -1, 1.5])
def test_a_version_is_a_positive_integer(tmp_path, version):
    with pytest.raises(ValueError, match=f"a version is a positive integer, got {version}"):
        export_encoder(small_encoder(), str(tmp_path), version=version)


def test_bad_arguments_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="no pooling is called 'max'.* mean, cls, both"):
        export_encoder(small_encoder(PLANES), str(tmp_path / "model"), pooling="max")
    with pytest.raises(ValueError, match=r"a crop ratio lies in \(0, 1\], got 1.5"):
        export_encoder(small_encoder(), str(tmp_path / "model"), crop_ratio=1.5)
    with pytest.raises(ValueError, match="pixel_dtype is one of auto, uint8, uint16; got 'int16'"):
        export_encoder(small_encoder(), str(tmp_path / "model"), pixel_dtype="int16")
    with pytest.raises(ValueError, match="images to check an export with are uint8 or uint16, got float64"):
        export_encoder(small_encoder(PLANES), str(tmp_path / "model"), images=np.zeros((1, *PLANES)))
    assert os.listdir(tmp_path) == []


def test_a_model_that_differs_from_the_live_one_is_removed(tmp_path, monkeypatch, verified_here):
    """The live encoder is changed behind the export's back, after its variables were written."""
    encoder, save = small_encoder(PLANES), tf.saved_model.save

    def save_and_change(served, path, **arguments):
        save(served, path, **arguments)
        encoder.norm.beta.assign_add(np.full(encoder.hidden_dim, 1e-4))

    monkeypatch.setattr(tf.saved_model, "save", save_and_change)
    with pytest.raises(
        RuntimeError, match=r"the exported model differs from the live one in \w+/\w+/\w+ by 1\.\d+e-04"
    ):
        export_encoder(encoder, str(tmp_path / "new" / "model"))
    assert os.listdir(tmp_path) == []


def test_a_failure_leaves_the_folders_that_were_there(tmp_path, monkeypatch):
    def failing(*arguments):
        if (tmp_path / "new").exists():
            (tmp_path / "new" / "other").mkdir()  # by somebody else, meanwhile
        raise RuntimeError

    monkeypatch.setattr(saved_model, "write_saved_model", lambda _, path, name: write(f"{path}/{name}", b"a model"))
    monkeypatch.setattr(saved_model, "verify_export", failing)
    (tmp_path / "old").mkdir()
    for directory in (tmp_path / "old", tmp_path / "new" / "model"):
        with pytest.raises(RuntimeError):
            export_encoder(small_encoder(PLANES), str(directory))
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]
    assert os.listdir(tmp_path / "new") == ["other"] and os.listdir(tmp_path / "old") == []


def test_a_model_that_needs_keras_mae_is_refused(tmp_path, monkeypatch):
    """A SavedModel that calls back into Python of this process cannot run in a fresh one."""

    class Calling(signatures.ServedEncoder):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            embed = self.embed

            @tf.function(input_signature=embed.input_signature)
            def calling(images):
                return {"embedding": tf.numpy_function(lambda x: x, [embed(images)["embedding"]], tf.float32)}

            self.embed = calling

    monkeypatch.setattr(saved_model, "ServedEncoder", Calling)
    with pytest.raises(RuntimeError, match="a fresh process cannot use the exported model:\n"):
        export_encoder(small_encoder(PLANES), str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_the_fresh_process_has_this_ones_path_but_not_keras_mae(tmp_path, monkeypatch, real_checks_of_exports):
    """A stand-in for TensorFlow on the path tells what it sees."""
    stand_in = "try: import keras_mae\nexcept ImportError: raise SystemExit('found, and keras_mae is not')\n"
    (tmp_path / "tensorflow.py").write_text(stand_in)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        RuntimeError, match="a fresh process cannot use the exported model:\nfound, and keras_mae is not"
    ):
        verify_export(signatures.ServedEncoder(small_encoder(PLANES)), "nowhere")


def test_verification_compares_every_output(served):
    assert set(served.differences) == {
        "serving_default/image_bytes/embedding",
        "embed/images/embedding",
        "features/images/cls_token",
        "features/images/patch_tokens",
    }
    assert max(served.differences.values()) < ROUND_OFF


@pytest.mark.parametrize("channels", [1, 3])
def test_drawn_images_differ_everywhere(channels):
    images = drawn_images((9, 14, channels), 4)
    assert images.shape == (4, 9, 14, channels) and images.dtype == np.uint8
    flat = images.reshape(4, -1).astype(int)
    assert all(np.abs(a - b).mean() > 10 for i, a in enumerate(flat) for b in flat[:i])
    buffer = io.BytesIO()
    as_image(images[0]).save(buffer, "PNG")
    np.testing.assert_array_equal(np.asarray(Image.open(buffer)).reshape(images[0].shape), images[0])
