"""bfloat16 inside, and ONNX and LiteRT files."""

import builtins
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_images

from keras_mae.data import evaluation_transform
from keras_mae.export import exchange_formats, export_classifier, export_encoder, saved_model, verify
from keras_mae.export.openvino_file import without_telemetry
from keras_mae.export.signatures import ServedEncoder
from keras_mae.models import ImageClassifier, ViTEncoder
from tests.base import PLANES, fill_randomly, random_images, small_encoder, small_mae

ROUND_OFF = 1e-5  # of values of about 1: another order of float32 sums

pytestmark = pytest.mark.medium


@pytest.mark.parametrize("make", [small_encoder, lambda: ImageClassifier(small_encoder(), 3), small_mae])
def test_a_copy_in_bfloat16_has_the_weights_in_bfloat16(make):
    model = make()
    copy = saved_model.model_in_dtype(model, "bfloat16")
    encoder = getattr(copy, "encoder", copy)
    assert type(copy) is type(model) and {weight.dtype for weight in encoder.weights} == {"bfloat16"}
    assert encoder.blocks[0].mlp_hidden.compute_dtype == encoder.compute_dtype == "bfloat16"
    for found, expected in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(found, tf.cast(tf.cast(expected, found.dtype), tf.float32))  # rounded once
    assert saved_model.model_in_dtype(model, "float32") is model
    back = saved_model.model_in_dtype(copy, "float32")
    assert {weight.dtype for weight in back.weights} == {"float32"}


def test_a_model_that_trains_in_bfloat16_is_served_with_its_weights_in_it_too():
    copy = saved_model.model_in_dtype(small_encoder(dtype="mixed_bfloat16"), "bfloat16")
    assert {weight.dtype for weight in copy.weights} == {"bfloat16"}


def test_bfloat16_is_asked_for(tmp_path, verified_here):
    """It cannot be trained: small steps would be lost in the roundings of its weights."""
    encoder, images = small_encoder(PLANES), random_images(5, PLANES)
    path = export_encoder(encoder, str(tmp_path), dtype="bfloat16")  # checked against the live one, in float32
    loaded = tf.saved_model.load(path)
    embedding = loaded(images).numpy()
    expected = encoder(images)["patch_tokens"].numpy().mean(axis=1)
    assert embedding.dtype == np.float32 and {v.dtype for v in loaded.variables} == {tf.bfloat16}
    # two roundings to 8 bits, 0.4 %, in the only block, of values up to 3
    assert 1e-4 < np.abs(embedding - expected).max() < 0.05
    with open(os.path.join(path, "assets", "metadata.json")) as file:
        assert json.load(file)["compute_dtype"] == "bfloat16"
    assert list(loaded.trainable_variables) == [] and not hasattr(loaded, "embed_training")
    with pytest.raises(ValueError, match="Could not find matching concrete function"):
        loaded(tf.constant(random_images(2, PLANES)), training=True)


def test_products_biases_and_gelu_are_one_operation_of_a_served_graph(tmp_path, unverified):
    """As TensorFlow's optimizer for processors looks for them: a matrix, and GELU by erf."""
    loaded = tf.saved_model.load(export_encoder(small_encoder(PLANES), str(tmp_path)))
    graph = loaded.signatures["embed"].graph.as_graph_def()
    nodes = {node.name: node for function in graph.library.function for node in function.node_def}
    operations = [node.op for node in nodes.values()]
    assert "Erf" in operations and "Erfc" not in operations
    for node in nodes.values():
        if node.op == "Erf":
            scaled = nodes[node.input[0].partition(":")[0]]
            assert scaled.op == "Mul" and nodes[scaled.input[0].partition(":")[0]].op == "BiasAdd"
    products = {name for name, node in nodes.items() if node.op == "MatMul"}
    with_bias = {node.input[0].partition(":")[0] for node in nodes.values() if node.op == "BiasAdd"}
    assert len(products) == 5 and products == with_bias  # of the patches, and four of the block


@pytest.mark.parametrize("num_layers", [2, pytest.param(24, marks=pytest.mark.slow)])
def test_the_tolerance_of_bfloat16_holds_with_room_for_deep_networks(num_layers):
    encoder = ViTEncoder((32, 32, 3), 4, hidden_dim=192, num_layers=num_layers, num_heads=3)
    images = verify.drawn_images((32, 32, 3), 8)
    tokens = {
        dtype: tf.cast(saved_model.model_in_dtype(encoder, dtype)(images)["patch_tokens"], tf.float32).numpy()
        for dtype in ("float32", "bfloat16")
    }
    difference = np.abs(tokens["bfloat16"] - tokens["float32"]).max() / np.abs(tokens["float32"]).max()
    assert 1e-4 < difference < verify.TOLERANCES["bfloat16"] / 2


@pytest.mark.parametrize("preset", ["vit_tiny_patch16", pytest.param("vit_base_patch16", marks=pytest.mark.slow)])
def test_embeddings_of_photographs_in_bfloat16_point_the_same_way(preset):
    encoder = ViTEncoder.from_preset(preset)
    photographs = [image[:, left : left + 400] for image in load_sample_images().images for left in (0, 240)]
    images = np.stack([evaluation_transform(tf.constant(image), encoder.image_shape) for image in photographs])
    for pooling in ("mean", "cls"):
        one, other = (
            tf.cast(saved_model.model_in_dtype(encoder, dtype).features(images, pooling), tf.float32).numpy()
            for dtype in ("float32", "bfloat16")
        )
        cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        assert 0.999 < cosines.min() and not np.array_equal(one, other)


def test_a_model_trained_in_float16_is_written_in_float32():
    live = small_encoder(PLANES, dtype="mixed_float16")
    written = saved_model.model_in_dtype(live, "float32")
    assert written.compute_dtype == "float32"
    served = {model.compute_dtype: ServedEncoder(model) for model in (live, written)}
    cases = verify.example_cases(served["float16"], None)
    outputs = {dtype: verify.live_outputs(model, cases) for dtype, model in served.items()}
    differences = verify.compare(cases, outputs["float16"], outputs["float32"], set(served))
    assert 1e-5 < max(differences.values()) < 0.01


def test_unknown_dtype_and_format(tmp_path):
    with pytest.raises(ValueError, match="dtype is one of float32, bfloat16, int8; got 'float16'"):
        export_encoder(small_encoder(PLANES), str(tmp_path / "model"), dtype="float16")
    with pytest.raises(ValueError, match="a format is one of savedmodel, onnx, litert, openvino; got 'h5'"):
        export_encoder(small_encoder(), str(tmp_path / "model"), format="h5")
    assert os.listdir(tmp_path) == []


def of_openvino(file, images, precision="f32"):
    with without_telemetry():
        import openvino
    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    (given,) = compiled.inputs
    assert (given.any_name, given.element_type) == ("images", openvino.Type.u8)
    return {output.any_name: value for output, value in compiled({"images": images}).items()}


def runtime(format):
    """`run(file, images)` of the format's own runtime."""
    if format == "litert":
        from ai_edge_litert import interpreter

        return lambda file, images: interpreter.Interpreter(file).get_signature_runner()(images=images)
    if format == "openvino":
        return of_openvino
    import onnxruntime

    def run(file, images):
        session = onnxruntime.InferenceSession(file)
        (given,), names = session.get_inputs(), [output.name for output in session.get_outputs()]
        assert (given.name, given.type) == ("images", "tensor(uint8)")
        return dict(zip(names, session.run(None, {"images": images}), strict=True))

    return run


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("format", exchange_formats.FORMATS)
def test_encoder_file(tmp_path, format):
    run, encoder = runtime(format), small_encoder(PLANES)
    path = export_encoder(encoder, str(tmp_path), version=4, format=format, pooling="both")
    assert sorted(os.listdir(path)) == sorted(["metadata.json", *exchange_formats.FORMATS[format].files])
    for count in (1, 3, 64):
        images = random_images(count, PLANES, seed=count)
        live = encoder(images)
        expected = np.concatenate([live["cls_token"], live["patch_tokens"].numpy().mean(axis=1)], axis=1)
        found = run(os.path.join(path, exchange_formats.FORMATS[format].files[0]), images)
        assert list(found) == ["embedding"]
        np.testing.assert_allclose(found["embedding"], expected, rtol=0, atol=ROUND_OFF)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("format", exchange_formats.FORMATS)
def test_classifier_file(tmp_path, format):
    run, classifier = runtime(format), fill_randomly(ImageClassifier(small_encoder(PLANES), 3))
    path = export_classifier(classifier, str(tmp_path), labels="abc", format=format)
    images = random_images(3, PLANES)
    found = run(os.path.join(path, exchange_formats.FORMATS[format].files[0]), images)
    assert set(found) == {"probabilities", "logits"}
    np.testing.assert_allclose(found["logits"], classifier(images), rtol=0, atol=ROUND_OFF)
    with open(os.path.join(path, "metadata.json")) as file:
        assert json.load(file)["labels"] == ["a", "b", "c"]


def test_a_file_that_differs_is_removed(tmp_path, monkeypatch):
    encoder, write = small_encoder(PLANES), exchange_formats.write

    def write_and_change(*arguments):
        write(*arguments)
        encoder.norm.beta.assign_add(np.full(16, 1e-3))

    monkeypatch.setattr(exchange_formats, "write", write_and_change)
    with pytest.raises(RuntimeError, match="differs from the live one in embed/images/embedding by 1.0"):
        export_encoder(encoder, str(tmp_path), format="litert")
    assert os.listdir(tmp_path) == []


def test_files_are_float32(tmp_path):
    with pytest.raises(ValueError, match="format 'litert' is written in float32: pass dtype='float32'"):
        export_encoder(small_encoder(), str(tmp_path), format="litert", dtype="bfloat16")


@pytest.mark.parametrize(
    ("format", "package"), [("onnx", "tf2onnx"), ("litert", "ai_edge_litert"), ("openvino", "openvino")]
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, format, package):
    original = builtins.__import__

    def missing(name, *arguments, **keywords):
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {name!r}")
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", missing)
    message = (
        rf"format '{format}' needs packages that are not installed: pip install 'keras-mae\[{format}\]' .*{package}"
    )
    with pytest.raises(ValueError, match=message):
        export_encoder(small_encoder(), str(tmp_path), format=format)
    assert os.listdir(tmp_path) == []
