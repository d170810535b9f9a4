"""TF Serving's files beside a SavedModel: warm-up requests, batching parameters, the list of models."""

from __future__ import annotations

import json
import os
import uuid

import numpy as np
import tensorflow as tf

from keras_mae.export.signatures import ServedModel
from keras_mae.export.verify import drawn_images

WARMUP = os.path.join("assets.extra", "tf_serving_warmup_requests")
BATCHING = "batching_params.pbtxt"  # in the version's folder, for --enable_per_model_batching_parameters
MODELS = "models.config"
ALLOWED_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
_WRITTEN = "# Written by keras_mae: lists the models in this folder. Without this line it is never written again.\n"


def write_warmup(served: ServedModel, path: str, name: str) -> None:
    """Writes a request for every signature of a SavedModel, which TF Serving runs before it answers clients."""
    file = os.path.join(path, WARMUP)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    inputs = served.example_inputs(drawn_images(served.image_shape, 1, served.images_dtype))
    with tf.io.TFRecordWriter(file) as writer:
        for signature, tensors in inputs.items():
            writer.write(prediction_log(name, signature, tensors))


def prediction_log(model: str, signature: str, inputs: dict[str, np.ndarray]) -> bytes:
    """A `tensorflow.serving.PredictionLog` that holds one `PredictRequest`, in protobuf's wire format.

    It is encoded here so that an export does not need tensorflow-serving-api.

    Reference: tensorflow_serving/apis/{prediction_log,predict,model}.proto
    """
    spec = _field(1, model.encode()) + _field(3, signature.encode())  # ModelSpec: name, signature_name
    request = _field(1, spec)  # PredictRequest: model_spec
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))  # inputs: map<string, TensorProto>
    return _field(6, _field(1, request))  # PredictionLog: predict_log; PredictLog: request


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def batching_parameters() -> str:
    """TF Serving's `BatchingParameters` as text: it pads batches to the next allowed size, so there are few shapes."""
    lines = [
        f"max_batch_size {{ value: {ALLOWED_BATCH_SIZES[-1]} }}",
        "batch_timeout_micros { value: 2000 }  # how long a request waits for others",
        "max_enqueued_batches { value: 100 }  # then requests are refused instead of waiting ever longer",
        *(f"allowed_batch_sizes: {size}" for size in ALLOWED_BATCH_SIZES),
    ]
    return "\n".join(lines)


def write_models_config(root: str, served_root: str = "/models") -> str | None:
    """Writes `<root>/models.config`, for TF Serving's `--model_config_file`, with every model in `root`.

    A model is a subfolder with at least one version, a subfolder whose name is a number and that holds a SavedModel.

    Args:
        root: the folder of the models' folders.
        served_root: the path of `root` on the server; in the docker image usually `/models`.

    Returns:
        The path; None if there is a `models.config` that this function has not written, which stays as it is.
    """
    path = os.path.join(root, MODELS)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            if not file.read().startswith(_WRITTEN):
                return None
    names = [name for name in sorted(os.listdir(root)) if _has_version(os.path.join(root, name))]
    configs = [_model_config(name, f"{served_root.rstrip('/')}/{name}") for name in names]
    aside = f"{path}.{uuid.uuid4().hex[:8]}"
    with open(aside, "w", encoding="utf-8") as file:
        file.write(f"{_WRITTEN}model_config_list {{\n{''.join(configs)}}}\n")
    os.replace(aside, path)  # a server may be polling it
    return path


def _model_config(name: str, base_path: str) -> str:
    # JSON escapes quotes and backslashes as protobuf's text format does
    name, base_path = (json.dumps(text, ensure_ascii=False) for text in (name, base_path))
    return f'  config {{ name: {name} base_path: {base_path} model_platform: "tensorflow" }}\n'


def _has_version(folder: str) -> bool:
    return os.path.isdir(folder) and any(
        version.isdigit() and os.path.exists(os.path.join(folder, version, "saved_model.pb"))
        for version in os.listdir(folder)
    )
