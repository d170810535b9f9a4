"""ONNX and LiteRT files, by Keras' own exporters, checked against the live model."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae import _compat
from keras_mae.export.signatures import ServedModel
from keras_mae.export.verify import compare, example_cases, live_outputs
from keras_mae.layers import pixel_levels

FILES = {"onnx": "model.onnx", "litert": "model.tflite"}


def write(served: ServedModel, path: str, format: str) -> None:
    """Writes `model.onnx` or `model.tflite`, and `metadata.json`, into the folder `path`.

    The file takes `images`, uint8 or uint16 `(B, H, W, C)` with a dynamic batch size, and gives the numbers, but not
    the strings, of the signature `embed` or `classify`.

    Args:
        served: to export; it computes in float32.
        path: an existing folder.
        format: `"onnx"` or `"litert"`.

    Raises:
        ValueError: if a package is missing, or the model computes in bfloat16.
    """
    _runtime(format)
    if served.compute_dtype != "float32":
        raise ValueError(f"format {format!r} is written in float32: pass dtype='float32'")
    file = os.path.join(path, FILES[format])
    spec = served.images_spec()
    with _compat.copies_are_freed() if format == "onnx" else contextlib.nullcontext():
        _NumbersOnly(served).export(file, format=format, input_signature=[spec], verbose=False)
    if format == "onnx":
        _finish_onnx(file, served.metadata().get("licence"))
    with open(os.path.join(path, "metadata.json"), "w", encoding="utf-8") as record:
        json.dump(served.metadata(), record, indent=2)


def verify(served: ServedModel, path: str, format: str, images: np.ndarray | None = None) -> dict[str, float]:
    """Runs the file in its own runtime, and compares it with the live model.

    Returns:
        The largest absolute difference by `signature/input/output`.

    Raises:
        VerificationError: if one is larger than 1e-5 of the largest value.
    """
    signature = served.of_images[0]
    cases = {signature: example_cases(served, images)[signature]}
    expected = live_outputs(served, cases)
    found = {signature: _run(os.path.join(path, FILES[format]), format, cases[signature]["images"])}
    numbers = {signature: {name: expected[signature][name] for name in found[signature]}}
    return compare(cases, numbers, found, {served.compute_dtype, "float32"})


class _NumbersOnly(keras.Model):
    """The signature of images as a Keras model, as Keras' exporters need it, without outputs of strings."""

    def __init__(self, served: ServedModel) -> None:
        super().__init__(name="served")  # a scope must not begin with an underscore, as the class's name does
        self._function = lambda: getattr(served, served.of_images[0])
        self.built = True

    def call(self, images, training=False) -> dict[str, Any]:
        if images.dtype == tf.uint16:  # LiteRT cannot transpose it
            images = pixel_levels(images)
        outputs = self._function().python_function(images)
        return {name: value for name, value in outputs.items() if value.dtype == tf.float32}


def _finish_onnx(file: str, licence: str | None) -> None:
    """Replaces `Erfc(x)`, which ONNX does not have, by `1 - Erf(x)`, and writes the licence into the file's metadata.

    TensorFlow's exact GELU contains it, and tf2onnx writes it into a file that no runtime opens.
    """
    import onnx

    model = onnx.load(file)
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Erfc":
            erf = f"{node.output[0]}/erf"
            nodes.append(onnx.helper.make_node("Erf", node.input, [erf]))
            nodes.append(onnx.helper.make_node("Sub", ["one_of_erfc", erf], node.output))
        else:
            nodes.append(node)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(1, "float32"), "one_of_erfc"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if licence is not None:
        onnx.helper.set_model_props(model, {"licence": licence})
    onnx.checker.check_model(model)
    onnx.save(model, file)


def _run(file: str, format: str, images: np.ndarray) -> dict[str, np.ndarray]:
    runtime = _runtime(format)
    if format == "litert":
        return runtime.Interpreter(file).get_signature_runner()(images=images)
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def _runtime(format: str) -> Any:
    try:
        if format == "litert":
            from ai_edge_litert import interpreter

            return interpreter
        import onnx  # noqa: F401
        import onnxruntime
        import tf2onnx  # noqa: F401

        return onnxruntime
    except ImportError as error:
        raise ValueError(
            f"format {format!r} needs packages that are not installed: pip install 'keras-mae[{format}]' ({error})"
        ) from error
