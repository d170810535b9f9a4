"""The files of a SavedModel."""

from __future__ import annotations

import json
import os
import tempfile

import tensorflow as tf

from keras_mae.export import serving
from keras_mae.export.served_classifier import ServedClassifier
from keras_mae.export.served_head import ServedHead
from keras_mae.export.served_segmenter import ServedSegmenter
from keras_mae.export.signatures import ServedModel


def write_saved_model(served: ServedModel, path: str, name: str) -> None:
    """Writes the SavedModel, its assets, and TF Serving's files beside it."""
    signatures = served.signatures()
    served.trace_callables()
    with tempfile.TemporaryDirectory() as folder:
        assets = {"metadata.json": json.dumps(served.metadata(), indent=2)}
        if isinstance(served, (ServedClassifier, ServedHead, ServedSegmenter)) and served.labels is not None:
            assets["labels.txt"] = "\n".join(served.labels)
        served.assets = [tf.saved_model.Asset(_text_file(folder, file, text)) for file, text in assets.items()]
        tf.saved_model.save(served, path, signatures=signatures)
    serving.write_warmup(served, path, name)
    _text_file(path, serving.BATCHING, serving.batching_parameters())


def _text_file(folder: str, name: str, text: str) -> str:
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    return path
