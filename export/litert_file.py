"""LiteRT files, by Keras' exporter."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_mae.export.exchange_format import ExchangeFormat, NumbersOnly


class LitertFile(ExchangeFormat):
    """`model.tflite`, for LiteRT; it has no place for the licence."""

    name = "litert"
    files = ("model.tflite",)

    def packages(self) -> Any:
        from ai_edge_litert import interpreter

        return interpreter

    def write(self, model: NumbersOnly, file: str, licence: str | None) -> None:
        model.export(file, format="litert", input_signature=[model.spec], verbose=False)

    def run(self, file: str, images: np.ndarray) -> dict[str, np.ndarray]:
        return self.runtime().Interpreter(file).get_signature_runner()(images=images)
