"""The exported encoder against PyTorch, ONNX Runtime and, where it is installed, OpenVINO; and in 8 bits."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable

import numpy as np

from benchmarks.own_process import in_own_process
from benchmarks.sizes import SIZES
from benchmarks.turns import Side, take_turns
from keras_mae.cli import TENSORFLOW_ENVIRONMENT


def result(name: str = "vit_base", batch_size: int = 16, dtype: str = "float32", rounds: int = 7) -> str:
    """Images a second of each, and our rate over that of each other one.

    ONNX Runtime computes in float32 whatever `dtype` is; OpenVINO takes bfloat16 where the processor has it. In int8
    our SavedModel is compared with that in float32, and with our files for OpenVINO in both.
    """
    with tempfile.TemporaryDirectory() as folder:
        in_own_process(export, name, dtype, folder)  # ONNX's converter takes many times the model's size
        return measure(name, batch_size, dtype, rounds, folder)


def measure(name: str, batch_size: int, dtype: str, rounds: int, folder: str) -> str:
    """As `result`, of models that `export` has written before."""
    measured = take_turns(_sides(name, batch_size, dtype, folder), rounds)
    record = {f"{side}_images_per_second": round(batch_size / each.seconds, 1) for side, each in measured.items()}
    ours = measured["ours"].seconds
    record |= {f"ratio_to_{side}": round(each.seconds / ours, 2) for side, each in measured.items() if side != "ours"}
    return json.dumps({"benchmark": f"encoder_serving_{name}_{dtype}_batch_{batch_size}", **record})


def _sides(name: str, batch_size: int, dtype: str, folder: str) -> dict[str, Side]:
    model = {"name": name, "batch_size": batch_size, "dtype": dtype}
    ours, here = "benchmarks.encoder_serving:saved_model", {**model, "folder": folder}
    sides = {"ours": Side(ours, here, TENSORFLOW_ENVIRONMENT)}
    if dtype == "int8":
        sides["ours_float32"] = Side(ours, {**here, "dtype": "float32"}, TENSORFLOW_ENVIRONMENT)
    else:
        sides["torch"] = Side("benchmarks.encoder_serving:torch_model", model)
        sides["onnxruntime"] = Side("benchmarks.encoder_serving:onnx_runtime", here)
    if not importlib.util.find_spec("openvino"):
        print("openvino is not installed: left out (pip install openvino)", file=sys.stderr)
    elif dtype == "int8":
        for side, each in (("openvino", "int8"), ("openvino_float32", "float32")):
            sides[side] = Side("benchmarks.encoder_serving:our_openvino", {**here, "dtype": each})
    else:
        sides["openvino"] = Side("benchmarks.encoder_serving:openvino_model", here)
    return sides


def export(name: str, dtype: str, folder: str) -> None:
    """Writes an encoder with fresh weights to `<folder>/savedmodel_<dtype>/1` and `<folder>/onnx/1`.

    For int8 to `savedmodel_int8`, `savedmodel_float32`, `openvino_int8` and `openvino_float32`.
    """
    encoder = encoder_of(name)
    for each in (dtype, "float32") if dtype == "int8" else (dtype,):
        export_saved_model(encoder, each, folder)
        if dtype == "int8" and importlib.util.find_spec("openvino"):
            _export(encoder, os.path.join(folder, f"openvino_{each}"), dtype=each, format="openvino")
    if dtype != "int8":
        _export(encoder, os.path.join(folder, "onnx"), format="onnx")


def encoder_of(name: str):
    """An encoder of a size in `SIZES`, with fresh weights."""
    from keras_mae.models import ViTEncoder

    size = SIZES[name]
    return ViTEncoder(size.image_shape, size.patch_size, size.hidden_dim, size.num_layers, size.num_heads)


def export_saved_model(encoder, dtype: str, folder: str) -> None:
    """Writes an encoder to `<folder>/savedmodel_<dtype>/1`."""
    _export(encoder, os.path.join(folder, f"savedmodel_{dtype}"), dtype=dtype)


def _export(encoder, path: str, **options: str) -> None:
    from keras_mae.export import export_encoder

    count = 16 if options.get("dtype") == "int8" else 1
    export_encoder(encoder, path, images=_random_images(encoder.image_shape, count), **options)


def _images(name: str, batch_size: int) -> np.ndarray:
    return _random_images(SIZES[name].image_shape, batch_size)


def _random_images(image_shape, count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *image_shape), dtype="uint8")


def saved_model(name: str, batch_size: int, dtype: str, folder: str) -> Callable[[], None]:
    """What `tf.saved_model.load` gives of our export."""
    import tensorflow as tf

    loaded = tf.saved_model.load(os.path.join(folder, f"savedmodel_{dtype}", "1"))
    embed, images = loaded.signatures["embed"], tf.constant(_images(name, batch_size))

    def turn() -> None:
        embed(images=images)["embedding"].numpy()

    turn.keep = loaded  # type: ignore[attr-defined]  # its variables live as long as it does
    return turn


def torch_model(name: str, batch_size: int, dtype: str) -> Callable[[], None]:
    """Hugging Face's `ViTModel`, its weights in `dtype`; the mean of the patch tokens."""
    import torch

    from tests.reference import torchvision_operators  # noqa: F401  before transformers, which imports torchvision

    import transformers  # isort: skip

    torch.set_num_threads(2)
    size = SIZES[name]
    config = transformers.ViTConfig(
        image_size=size.image_size,
        patch_size=size.patch_size,
        hidden_size=size.hidden_dim,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.num_heads,
        intermediate_size=4 * size.hidden_dim,
    )
    model = transformers.ViTModel(config, add_pooling_layer=False).eval().to(getattr(torch, dtype))
    pixels = torch.from_numpy(_images(name, batch_size)).permute(0, 3, 1, 2)

    def turn() -> None:
        with torch.inference_mode():
            normalized = (pixels.float() / 127.5 - 1).to(getattr(torch, dtype))
            model(pixel_values=normalized).last_hidden_state[:, 1:].mean(1).float().numpy()

    return turn


def onnx_runtime(name: str, batch_size: int, dtype: str, folder: str) -> Callable[[], None]:
    """Our ONNX file in ONNX Runtime, two threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(os.path.join(folder, "onnx", "1", "model.onnx"), options)
    images = _images(name, batch_size)
    return lambda: session.run(None, {"images": images}) and None


def our_openvino(name: str, batch_size: int, dtype: str, folder: str) -> Callable[[], None]:
    """Our files for OpenVINO."""
    return _in_openvino(os.path.join(folder, f"openvino_{dtype}", "1", "model.xml"), "f32", _images(name, batch_size))


def openvino_model(name: str, batch_size: int, dtype: str, folder: str) -> Callable[[], None]:
    """Our ONNX file in OpenVINO."""
    precision = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    return _in_openvino(os.path.join(folder, "onnx", "1", "model.onnx"), precision, _images(name, batch_size))


def _in_openvino(file: str, precision: str, images: np.ndarray) -> Callable[[], None]:
    from keras_mae.export.openvino_file import without_telemetry

    with without_telemetry():
        import openvino
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 2}
    model = openvino.Core().compile_model(file, "CPU", settings)
    return lambda: model(images) and None
