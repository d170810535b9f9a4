"""What every signature of exported models answers, in the TensorFlow that runs this file; it needs nothing else.

    python benchmarks/server_answers.py EXPORTS FILES ANSWERS.json

`EXPORTS` holds SavedModels as `NAME/1`, `FILES` image files. `benchmarks.older_servers` runs this in each environment.
"""

from __future__ import annotations

import json
import os
import re
import sys

import numpy as np
import tensorflow as tf


def main(exports: str, files: str, output: str) -> None:
    """Writes, by model, signature and output, lists of numbers; in place of them a text that says what failed."""
    contents = []
    for name in sorted(os.listdir(files)):
        with open(os.path.join(files, name), "rb") as file:
            contents.append(file.read())
    answers = {name: _of_model(os.path.join(exports, name, "1"), contents) for name in sorted(os.listdir(exports))}
    with open(output, "w", encoding="utf-8") as file:
        json.dump({"tensorflow": tf.__version__, "answers": answers}, file)


def _of_model(path: str, files: list[bytes]) -> dict | str:
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:
        return _reason(error)
    answers = {}
    for name, function in sorted(loaded.signatures.items()):
        try:
            outputs = function(**_inputs(function.structured_input_signature[1], files))
            answers[name] = {key: _plain(value) for key, value in outputs.items()}
        except Exception as error:
            answers[name] = _reason(error)
    return answers


def _inputs(specs: dict, files: list[bytes]) -> dict:
    """The files, or noise in the shape and dtype of images, with another half of the patches hidden in each."""
    if "image_bytes" in specs:
        return {"image_bytes": tf.constant(files)}
    rng = np.random.default_rng(0)
    spec = specs["images"]
    inputs = {"images": tf.constant(rng.integers(0, 256, (3, *spec.shape[1:])), spec.dtype)}
    if "mask" in specs:
        patches = specs["mask"].shape[1]
        hidden = np.stack([rng.permutation(patches) < patches // 2 for _ in range(3)])
        inputs["mask"] = tf.constant(hidden, specs["mask"].dtype)
    return inputs


def _plain(value: tf.Tensor) -> list:
    values = value.numpy()
    if values.dtype == object:  # labels and PNG files
        return [item.hex() for item in values.ravel()]
    return values.ravel().tolist()


def _reason(error: Exception) -> str:
    """The first sentence of an error; of an operation or attribute that is not known, the part that names it."""
    text = " ".join(str(error).split())
    telling = re.search(r"Op type not registered '\w+'|NodeDef mentions attr '?\w+'? not in Op<?.{0,60}", text)
    return telling.group() if telling else f"{type(error).__name__}: {text.split('. ')[0]}"[:300]


if __name__ == "__main__":
    main(*sys.argv[1:])
