"""ONNX files, by Keras' exporter."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_mae import _compat
from keras_mae.export.exchange_format import ExchangeFormat, NumbersOnly


class OnnxFile(ExchangeFormat):
    """`model.onnx`, for ONNX Runtime and others."""

    name = "onnx"
    files = ("model.onnx",)

    def packages(self) -> Any:
        import onnx  # noqa: F401
        import onnxruntime
        import tf2onnx  # noqa: F401

        return onnxruntime

    def write(self, model: NumbersOnly, file: str, licence: str | None) -> None:
        with _compat.copies_are_freed():
            model.export(file, format="onnx", input_signature=[model.spec], verbose=False)
        finish_onnx(file, licence)

    def run(self, file: str, images: np.ndarray) -> dict[str, np.ndarray]:
        session = self.runtime().InferenceSession(file, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, {"images": images}), strict=True))


def finish_onnx(file: str, licence: str | None) -> None:
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
