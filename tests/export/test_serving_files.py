"""What TF Serving reads beside a SavedModel, and a client that speaks to a server."""

import json
import os
import shutil

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from keras_mae.export import export_encoder, serving, write_models_config
from keras_mae.export.verify import drawn_images
from tests.base import PLANES, small_encoder
from tests.drawn import write
from tests.export.conftest import FILES
from tests.export.prediction_service import prediction_service

NAMES = ['a "quoted" one', "back\\slash", "Gürteltier", "line\nbreak"]

pytestmark = pytest.mark.medium


def test_the_folder(served):
    found = {
        os.path.relpath(os.path.join(folder, file), served.path)
        for folder, _, files in os.walk(served.path)
        for file in files
    }
    assert found == {
        "saved_model.pb",
        "fingerprint.pb",
        "batching_params.pbtxt",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "assets/metadata.json",
        "assets.extra/tf_serving_warmup_requests",
    }
    with open(os.path.join(served.path, "assets", "metadata.json")) as file:
        metadata = json.load(file)
    assert metadata["image_shape"] == [28, 28, 3] and metadata["crop_ratio"] == 0.875
    assert (metadata["pooling"], metadata["normalize"], metadata["compute_dtype"]) == ("mean", False, "float32")
    assert metadata["parameters"] == served.encoder.count_params() and metadata["encoder"]["num_layers"] == 2


def test_warmup_requests_parse_and_run(served):
    path = os.path.join(served.path, "assets.extra", "tf_serving_warmup_requests")
    seen = []
    for record in tf.data.TFRecordDataset(path):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "encoder"  # the folder above the version
        seen.append(request.model_spec.signature_name)
        signature = served.loaded.signatures[request.model_spec.signature_name]
        outputs = signature(**{key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()})
        assert all(np.isfinite(value).all() and len(value) == 1 for value in outputs.values())
    assert seen == list(served.loaded.signatures)


def test_prediction_log_is_what_the_library_writes():
    inputs = {"images": np.arange(600, dtype="uint8").reshape(2, 300), "image_bytes": np.array([b"a\0", b""], object)}
    expected = prediction_log_pb2.PredictionLog()
    request = expected.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = "x" * 200, "embed"
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    assert prediction_log_pb2.PredictionLog.FromString(serving.prediction_log("x" * 200, "embed", inputs)) == expected


def batching_parameters():
    """An empty `tensorflow.serving.BatchingParameters`, which tensorflow-serving-api does not have.

    Its fields are those of tensorflow_serving/servables/tensorflow/session_bundle_config.proto.
    """
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="tensorflow.serving", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name="BatchingParameters")
    names = ["max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"]
    for number, name in enumerate(names, start=1):
        wrapper = {"type": kind.TYPE_MESSAGE, "type_name": ".google.protobuf.Int64Value"}
        message.field.add(name=name, number=number, label=kind.LABEL_OPTIONAL, **wrapper)
    message.field.add(name="allowed_batch_sizes", number=6, type=kind.TYPE_INT64, label=kind.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters"))()


def test_batching_parameters(served):
    with open(os.path.join(served.path, "batching_params.pbtxt")) as file:
        parameters = text_format.Parse(file.read(), batching_parameters())
    sizes = list(parameters.allowed_batch_sizes)
    assert sizes == sorted(set(sizes)) and sizes[0] == 1
    assert parameters.max_batch_size.value == sizes[-1]  # TF Serving does not load the model otherwise
    assert parameters.batch_timeout_micros.value > 0 and parameters.max_enqueued_batches.value > 0
    assert not parameters.HasField("num_batch_threads")  # which all models share, so that a model cannot set it


def parsed(path):
    with open(path) as file:
        return text_format.Parse(file.read(), model_server_config_pb2.ModelServerConfig()).model_config_list.config


def test_models_config_lists_every_model(tmp_path):
    for name in ("b/1", "a/3", "a/12", "onnx/1", "empty", "a/.4.partial"):
        (tmp_path / name).mkdir(parents=True)
        if name[0] in "ab":
            (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "onnx" / "1" / "model.onnx").touch()
    path = write_models_config(str(tmp_path))
    assert [(m.name, m.base_path, m.model_platform) for m in parsed(path)] == [
        ("a", "/models/a", "tensorflow"),
        ("b", "/models/b", "tensorflow"),
    ]
    (tmp_path / "c" / "1").mkdir(parents=True)
    (tmp_path / "c" / "1" / "saved_model.pb").touch()
    assert write_models_config(str(tmp_path), "/srv/") == path
    assert [m.base_path for m in parsed(path)] == ["/srv/a", "/srv/b", "/srv/c"]
    assert not [name for name in os.listdir(tmp_path) if name.startswith("models.config.")]


def test_names_in_models_config_are_quoted(tmp_path):
    for name in NAMES:
        write(str(tmp_path / name / "1" / "saved_model.pb"), b"")
    found = [(m.name, m.base_path) for m in parsed(write_models_config(str(tmp_path)))]
    assert found == [(name, f"/models/{name}") for name in sorted(NAMES)]


def test_models_config_of_somebody_else_is_left_alone(tmp_path):
    write(str(tmp_path / "models.config"), b"model_config_list { }\n")
    assert write_models_config(str(tmp_path)) is None
    assert (tmp_path / "models.config").read_text() == "model_config_list { }\n"


def test_versions_beside_each_other(served, tmp_path, unverified):
    encoder = small_encoder(PLANES)
    shutil.copytree(served.path, tmp_path / "model" / "1")  # an older version
    paths = [str(tmp_path / "model" / "1"), export_encoder(encoder, str(tmp_path / "model"), 2)]
    before = [sorted(os.walk(path)) for path in paths]
    with pytest.raises(ValueError, match="/2 is there already"):
        export_encoder(encoder, str(tmp_path / "model"), 2)
    assert sorted(os.listdir(tmp_path / "model")) == ["1", "2"]
    assert [sorted(os.walk(path)) for path in paths] == before


def test_nothing_is_seen_before_all_of_it_is_there(tmp_path, monkeypatch):
    """While the model is checked, TF Serving finds no version; if writing fails, nothing stays, not even the folder."""
    from keras_mae.export import saved_model

    def failing(live, path, *rest):
        assert os.path.exists(os.path.join(path, serving.WARMUP))
        assert not [name for name in os.listdir(tmp_path / "model") if name.isdigit()]
        raise KeyboardInterrupt

    monkeypatch.setattr(saved_model, "verify_export", failing)
    with pytest.raises(KeyboardInterrupt):
        export_encoder(small_encoder(PLANES), str(tmp_path / "model"))
    assert os.listdir(tmp_path) == []


def test_grpc_client(served):
    """The README's client, against a stand-in for the server."""
    with prediction_service("encoder", served.path) as address:
        channel = grpc.insecure_channel(address)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "encoder"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(FILES[:2]))
        embedding = tf.make_ndarray(stub.Predict(request, timeout=60).outputs["embedding"])
        np.testing.assert_allclose(embedding, served.live_of_files(FILES[:2]), rtol=0, atol=1e-5)  # round-off
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([FILES[0], b"no image"]))
        with pytest.raises(grpc.RpcError) as error:
            stub.Predict(request, timeout=60)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "the request:] [1]" in error.value.details()
        request.model_spec.signature_name = "embed"
        request.inputs.clear()
        images = drawn_images((28, 28, 3))
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
        embedding = tf.make_ndarray(stub.Predict(request, timeout=60).outputs["embedding"])
        np.testing.assert_allclose(embedding, served.live(images), rtol=0, atol=1e-5)  # round-off
