"""OpenVINO's files, by its own converter."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mae.export.exchange_format import ExchangeFormat, NumbersOnly

_TELEMETRY = "openvino_telemetry"


class OpenvinoFile(ExchangeFormat):
    """`model.xml`, with the weights in `model.bin` beside it, for OpenVINO and its Model Server.

    Keras' exporter makes the same of a model's call, and names neither the input nor the file's licence.
    """

    name = "openvino"
    files = ("model.xml", "model.bin")
    dtypes = ("float32", "int8")

    def packages(self) -> Any:
        with without_telemetry():
            import openvino

            return openvino

    def write(self, model: NumbersOnly, file: str, licence: str | None) -> None:
        openvino = self.runtime()
        function = tf.function(model.call, input_signature=[model.spec], autograph=False).get_concrete_function()
        with without_telemetry():
            converted = openvino.convert_model(function)
        (given,) = converted.inputs
        given.get_node().set_friendly_name("images")
        given.tensor.set_names({"images"})
        if licence is not None:
            converted.set_rt_info(licence, ["model_info", "licence"])
        openvino.save_model(converted, file, compress_to_fp16=False)

    def run(self, file: str, images: np.ndarray) -> dict[str, np.ndarray]:
        # On a processor with instructions for bfloat16 OpenVINO computes in it, unless it is told otherwise
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = self.runtime().Core().compile_model(file, "CPU", settings)
        outputs = compiled({"images": images})
        return {output.any_name: np.array(outputs[output]) for output in compiled.outputs}


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Hides the package that reports each import of OpenVINO, and each conversion, to its makers.

    It does so unless `opt_in_out --opt_out` was run once for the user. OpenVINO takes a stub where it is missing. A
    program that has imported OpenVINO before keeps what it has.
    """
    before = sys.modules.get(_TELEMETRY)
    if before is None:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's way to make an import fail
    try:
        yield
    finally:
        if before is None:
            del sys.modules[_TELEMETRY]
