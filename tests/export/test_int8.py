"""Exports that multiply in 8 bits: their numbers, where they are computed, and what is refused."""

import functools
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_mae import cli
from keras_mae.export import VerificationError, export_autoencoder, export_classifier, export_encoder, int8, verify
from keras_mae.export.signatures import ServedEncoder
from keras_mae.models import ImageClassifier, ImageRegressor
from tests.base import PLANES, fill_randomly, random_images, run_forked, run_python, small_encoder, small_mae
from tests.drawn import write_pictures
from tests.encoders.test_published_kinds import made_of_them_all
from tests.export.test_precision_and_formats import of_openvino
from tests.toys import ConvEncoder
from tests.typed import refused

SHAPE = PLANES  # no graph holds the decoders of image files
SIZES = {"hidden_dim": 64, "num_layers": 2, "mlp_dim": 96}

pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("png_and_jpeg")]


@pytest.fixture(autouse=True)
def one_dnn():
    """TensorFlow's operation exists with oneDNN only, which the command turns on; processes begin with it here."""
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        pytest.skip("TF_ENABLE_ONEDNN_OPTS=0 turns oneDNN off")


def rounded_by_hand(inputs, kernel, bias, low, high):
    """The product of a linear layer in 8 bits, with loops of NumPy in float64 and integers."""
    largest, widest = np.maximum(-low, high), np.abs(kernel).max(1)
    shift = np.sqrt(largest / widest)
    lowest, highest = (low / shift).min(), (high / shift).max()
    step = (highest - lowest) / 255
    zero = np.round(-lowest / step)
    levels = np.clip(np.round(inputs / shift / step + zero), 0, 255).astype("int64")
    outputs = np.zeros((len(inputs), kernel.shape[1]))
    for column in range(kernel.shape[1]):
        weights = kernel[:, column] * shift
        gain = np.abs(weights).max() / 63
        whole = np.round(weights / gain).astype("int64")
        outputs[:, column] = ((levels - int(zero)) @ whole) * step * gain + bias[column]
    return outputs


@pytest.mark.parametrize("product", [int8.Int8Product, int8._FakeProduct])
def test_a_product_against_integers(product):
    rng = np.random.default_rng(0)
    layer = small_encoder(SHAPE, **SIZES).blocks[0].mlp_hidden
    inputs = rng.normal(size=(5, 3, 64)).astype("float32") * np.exp(rng.normal(size=64)).astype("float32")
    flat = inputs.reshape(15, 64)
    low, high = np.minimum(flat.min(0), 0) * 0.9, np.maximum(flat.max(0), 0) * 0.9  # some inputs lie outside
    kernel, bias = np.asarray(layer.kernel, "float64"), np.asarray(layer.bias, "float64")
    expected = rounded_by_hand(flat.astype("float64"), kernel, bias, low.astype("float64"), high.astype("float64"))
    call = product(layer, low, high)
    found = tf.function(call)(tf.constant(inputs)).numpy()
    assert found.shape == (5, 3, 96)
    # float32's round-off may take a value that lies half-way to the next of 255 steps: of one term in 64
    assert np.mean(np.abs(found.reshape(15, 96) - expected) > 1e-4 * np.abs(expected).max()) < 0.1
    exact = flat @ kernel + bias
    error = np.abs(expected - exact).max() / np.abs(exact).max()
    assert 1e-4 < error < 0.1
    np.testing.assert_allclose(found.reshape(15, 96), expected, atol=0.01 * np.abs(expected).max())


SATURATED = """
import sys
import numpy as np, tensorflow as tf
from keras_mae.export import int8
int8._LEVELS = int(sys.argv[1])
from tests.export.test_int8 import layer_of_largest
layer, inputs = layer_of_largest()
product = int8.Int8Product(layer, np.zeros(64, "float32"), np.ones(64, "float32"))
found = tf.function(product)(tf.constant(inputs)).numpy()
expected = inputs @ np.asarray(layer.kernel) + np.asarray(layer.bias)
assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max(), (found, expected)
"""


def layer_of_largest():
    """A layer and inputs at the ends of their ranges, whose products are the largest that there are."""
    layer = small_encoder(SHAPE, **SIZES).blocks[0].mlp_hidden
    layer.kernel.assign(np.where(np.arange(96) % 2, -0.5, 0.5) * np.ones((64, 96)))
    return layer, np.repeat(np.eye(2, dtype="float32")[:, :1], 64, axis=1)  # ones, then zeros


@pytest.mark.parametrize("levels", [63, 127])
def test_older_processors_give_the_same_numbers(levels):
    """Without VNNI the sum of two products saturates at 2^15 - 1, which weights of 127 steps a side exceed."""
    process = run_forked("-c", SATURATED, levels, ONEDNN_MAX_CPU_ISA="AVX2", TF_ENABLE_ONEDNN_OPTS="1")
    assert (process.returncode == 0) == (levels == 63), process.stderr[-2000:]
    assert levels == 63 or "AssertionError" in process.stderr


def cosines(one, other):
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def in_session(path, images):
    """The signature `embed` in a session, in which TensorFlow Serving computes."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], path).signature_def["embed"]
        return session.run(signature.outputs["embedding"].name, {signature.inputs["images"].name: images})


@pytest.mark.parametrize("format", ["savedmodel", "openvino"])
def test_an_encoder(tmp_path, format, verified_here):
    encoder, images = small_encoder(SHAPE, **SIZES), random_images(40, SHAPE)
    path = export_encoder(encoder, str(tmp_path), images=images, dtype="int8", format=format)
    others = random_images(7, SHAPE, seed=1)
    expected = encoder(others)["patch_tokens"].numpy().mean(axis=1)
    if format == "savedmodel":
        loaded = tf.saved_model.load(path)
        found = loaded.signatures["embed"](images=tf.constant(others))["embedding"].numpy()
        # by the same operations: a value that lies half-way may go to either of two of 255 steps
        np.testing.assert_allclose(in_session(path, others), found, rtol=0, atol=0.02)
        kernels = [variable for variable in loaded.variables if variable.dtype == tf.int8]
        # 4 layers of each of 2 blocks, and none of their weights in float32
        assert len(kernels) == 8 and not loaded.trainable_variables
        wide = [tuple(v.shape) for v in loaded.variables if v.dtype == tf.float32 and len(v.shape) == 2]
        assert wide == [(16 * SHAPE[-1], 64), (7, 64)]  # of the patch projection and the positions
    else:
        found = of_openvino(os.path.join(path, "model.xml"), others)["embedding"]
    assert 0.999 < cosines(found, expected).min() < 0.999999
    with open(os.path.join(path, *(["assets"] if format == "savedmodel" else []), "metadata.json")) as file:
        said = json.load(file)
    assert (said["compute_dtype"], said["parameters"]) == ("int8", encoder.count_params())
    assert (said["calibration"]["images"], said["calibration"]["checked_on"]) == (32, 8)
    of_check = cosines(
        *(model.features(images[:8]).numpy() for model in (encoder, int8.int8_copy(encoder, images, True)))
    )
    assert said["calibration"]["cosine"]["embedding"] == pytest.approx(of_check.min(), abs=2e-5)  # steps at ties


@pytest.mark.parametrize("format", [pytest.param("savedmodel", marks=pytest.mark.slow), "openvino"])
def test_a_classifier(tmp_path, format, verified_here):
    classifier, images = fill_randomly(ImageClassifier(small_encoder(SHAPE, **SIZES), 5)), random_images(40, SHAPE)
    path = export_classifier(classifier, str(tmp_path), images=images, dtype="int8", format=format)
    others = random_images(6, SHAPE, seed=1)
    if format == "savedmodel":
        found = tf.saved_model.load(path).signatures["classify"](images=tf.constant(others))["logits"].numpy()
    else:
        found = of_openvino(os.path.join(path, "model.xml"), others)["logits"]
    assert cosines(found, classifier(others).numpy()).min() > 0.998  # on images of neither calibration nor check


def test_an_encoder_of_every_published_kind_of_layer():
    """Gated MLPs, queries, keys and values with a bias of which the keys have none, rotated, and more."""
    encoder, images = made_of_them_all(functools.partial(small_encoder, SHAPE, **SIZES)), random_images(40, SHAPE)
    expected = encoder.features(images).numpy()
    for fake in (False, True):
        copy = int8.int8_copy(encoder, images, fake)
        found = tf.function(copy.features)(tf.constant(images)).numpy()
        assert 0.99 < cosines(found, expected).min() < 0.999999
        assert len(int8.int8_products(copy)) == 8 and not int8.int8_products(encoder)


def test_a_model_trained_in_bfloat16(tmp_path, verified_here):
    encoder, images = small_encoder(SHAPE, dtype="mixed_bfloat16", **SIZES), random_images(24, SHAPE)
    path = export_encoder(encoder, str(tmp_path), images=images, dtype="int8", format="openvino")
    assert sorted(os.listdir(path)) == ["metadata.json", "model.bin", "model.xml"]


def test_below_the_bound_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(int8, "_LEVELS", 1)
    with pytest.raises(VerificationError, match=r"embedding: in 8 bits the cosine is 0\.\d+, and 0.999 is asked for"):
        export_encoder(
            small_encoder(SHAPE, **SIZES),
            str(tmp_path),
            images=random_images(24, SHAPE),
            dtype="int8",
            format="openvino",
        )
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("wrong", [1.1, -1.0, np.nan])
def test_numbers_without_a_direction_are_compared_by_their_sizes(wrong):
    """A regressor gives one number an example."""
    regressor = fill_randomly(ImageRegressor(small_encoder(SHAPE, **SIZES), 1))
    values = regressor(random_images(8, SHAPE)).numpy() / 100
    cases, expected = {"predict": {"images": None}}, {"predict": {"values": values}}
    with pytest.raises(VerificationError, match="differs from the live one in predict/images/values: in 8 bits"):
        verify.compare(cases, expected, {"predict": {"values": wrong * values}}, {"float32", "int8"})
    verify.compare(cases, expected, {"predict": {"values": 1.02 * values}}, {"float32", "int8"})


def test_least_cosine_by_hand():
    one, other = np.eye(2, 16, dtype="float32"), np.eye(2, 16, dtype="float32")
    other[1, 2] = 0.75
    assert verify.least_cosine(one, other) == pytest.approx(0.8)  # 1 / sqrt(1 + 9 / 16)
    assert verify.least_cosine(0 * one, 0 * one) == 1 and verify.least_cosine(0 * one, one) == 0
    assert verify.least_cosine(np.float32([[3], [4]]), np.float32([[3], [4]])) == 1
    assert verify.least_cosine(np.float32([[3], [4]]), np.float32([[4], [3]])) == pytest.approx(0.96)  # 1 - 2 / 50


def test_what_is_refused(tmp_path):
    encoder, images = small_encoder(SHAPE, **SIZES), random_images(24, SHAPE)
    for few, count in ((None, 0), (images[:15], 15)):
        with pytest.raises(ValueError, match=f"calibrated on images of the model's data: pass 16 or more.*got {count}"):
            export_encoder(encoder, str(tmp_path), dtype="int8", images=few)
    for format in ("onnx", "litert"):
        message = f"'{format}' is written in float32: .* for int8 format='savedmodel' or 'openvino'"
        with pytest.raises(ValueError, match=message):
            export_encoder(encoder, str(tmp_path), dtype="int8", images=images, format=format)
    with pytest.raises(ValueError, match="'int8' is for encoders and heads"):
        export_autoencoder(small_mae(), str(tmp_path), dtype="int8", images=images)
    with pytest.raises(ValueError, match="with transformer blocks; ConvEncoder has none"):
        export_encoder(ConvEncoder(SHAPE), str(tmp_path), dtype="int8", images=images)
    assert os.listdir(tmp_path) == []


OFF = """
import sys
from keras_mae.export import export_encoder
from tests.base import PLANES, random_images, small_encoder
try:
    export_encoder(small_encoder(PLANES), sys.argv[1], dtype="int8", images=random_images(16, PLANES))
except ValueError as error:
    print(error)
"""


def test_without_onednn_there_is_an_error_and_no_other_numbers(tmp_path):
    process = run_python("-c", OFF, str(tmp_path / "model"), TF_ENABLE_ONEDNN_OPTS="0")
    assert "dtype 'int8' needs a TensorFlow with oneDNN" in process.stdout, process.stderr[-2000:]
    assert os.listdir(tmp_path) == []


def test_the_command(tmp_path, capsys, monkeypatch, verified_here):
    small_encoder(**SIZES).save(tmp_path / "encoder.keras")
    command = ["export", f"--run={tmp_path}/encoder.keras", "--dtype=int8", f"--output={tmp_path}/eye"]
    assert "calibrated on images, and the model names none: give --data=folder:PATH" in refused(capsys, *command)
    assert "--format=savedmodel or openvino" in refused(capsys, *command, "--format=onnx")
    assert "is for encoders and heads" in refused(capsys, *command, "--model=autoencoder")
    data = f"--data=folder:{write_pictures(tmp_path / 'pictures', 20)}"
    assert cli.main([*command, data, "--format=openvino"]) == 0
    assert "checked it in its runtime" in capsys.readouterr().out
    with open(tmp_path / "eye" / "1" / "metadata.json") as file:
        assert json.load(file)["calibration"]["images"] == 12


def test_served_variables_of_a_float32_model_are_all_of_its_weights():
    encoder = small_encoder(SHAPE, **SIZES)
    served = ServedEncoder(encoder)
    assert len(served.variables) == len(encoder.weights)
    assert len(served.trainable_variables) == len([each for each in encoder.weights if each.value.trainable])
    assert served.compute_dtype == "float32" and served.calibration is None
