"""Which older TensorFlow answers requests to what this one has exported, and with which numbers.

    python -m benchmarks.older_servers 2.20 2.19

Models of random weights, of every kind that is exported, are written by the TensorFlow that is installed. For each
version an environment is made in a temporary folder, `tensorflow-cpu` of this version is installed from PyPI, and all
signatures are asked there; then the environment is removed. A server of this version has the same operations.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.turns import ROOT

OLDEST = "2.20"  # that answers, with the same numbers: docs/versions.md
_READER = os.path.join(ROOT, "benchmarks", "server_answers.py")
_SIDE = 28


def export_all(folder: str) -> None:
    """Writes `<folder>/<name>/1` for an encoder, in float32 and bfloat16, and for each kind of model."""
    import keras

    from keras_mae import export, models
    from keras_mae.decoders import MAEDecoder
    from keras_mae.masking import RandomMasking
    from keras_mae.targets import PixelTarget

    keras.utils.set_random_seed(0)
    encoder = models.ViTEncoder((_SIDE, _SIDE, 3), 7, hidden_dim=64, num_layers=3, num_heads=2)
    classes = ["cat", "dog", "owl"]
    export.export_encoder(encoder, os.path.join(folder, "encoder"))
    export.export_encoder(encoder, os.path.join(folder, "encoder_bfloat16"), dtype="bfloat16")
    export.export_classifier(models.ImageClassifier(encoder, 3), os.path.join(folder, "classifier"), labels=classes)
    export.export_head(models.ImageRegressor(encoder, 2), os.path.join(folder, "regressor"))
    export.export_segmenter(models.ImageSegmenter(encoder, 3), os.path.join(folder, "segmenter"), labels=classes)
    decoder = MAEDecoder(hidden_dim=32, num_layers=1, num_heads=2)
    mae = models.MaskedAutoencoder(encoder, decoder, RandomMasking(0.5), PixelTarget())
    export.export_autoencoder(mae, os.path.join(folder, "autoencoder"))


def write_files(folder: str) -> None:
    """Writes image files of several formats and sizes, noise on a slope."""
    from PIL import Image

    os.makedirs(folder)
    rng = np.random.default_rng(1)
    for number, kind in enumerate(("png", "jpeg", "bmp", "webp", "gif", "tiff", "jpeg")):
        height, width = 30 + 7 * number, 61 - 4 * number
        slope = np.linspace(0, 200, height * width).reshape(height, width, 1)
        pixels = (slope + rng.integers(0, 56, (height, width, 3))).astype("uint8")
        Image.fromarray(pixels).save(os.path.join(folder, f"{number}.{kind}"))


def answers_of(python: str, exports: str, files: str) -> dict[str, Any]:
    """What `python`'s TensorFlow answers; a text in its place if the process ends with an error."""
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "answers.json")
        hidden = {"PYTHONPATH", "PYTHONHOME"}
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        command = [python, "-P", _READER, exports, files, output]
        done = subprocess.run(
            command,
            env={**environment, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return {"tensorflow": "?", "answers": (done.stderr.strip().splitlines() or ["?"])[-1]}
        with open(output, encoding="utf-8") as file:
            return json.load(file)


def differences(expected: Any, found: Any, name: str = "") -> dict[str, float | str]:
    """By `model/signature/output`, the largest difference over the largest value, or what failed."""
    if isinstance(found, str):
        return {name: found}
    if isinstance(expected, dict):
        rows: dict[str, float | str] = {}
        for key, value in expected.items():
            rows |= differences(value, found.get(key, "is missing"), f"{name}/{key}".lstrip("/"))
        return rows
    if isinstance(expected[0], str):  # labels, PNG files
        return {name: 0.0 if expected == found else "is different"}
    expected, found = np.asarray(expected), np.asarray(found)
    if expected.shape != found.shape:
        return {name: f"has {found.size} numbers in place of {expected.size}"}
    return {name: float(np.abs(expected - found).max() / np.abs(expected).max())}


def environment_of(version: str, folder: str) -> str:
    """Makes an environment with TensorFlow of a version, and returns its interpreter.

    Raises:
        subprocess.CalledProcessError: if the version cannot be installed; its `stderr` says why.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, text=True)
    python = os.path.join(folder, "bin", "python")
    # Up to 2.18 TensorFlow imports pkg_resources, which setuptools has until 81
    wanted = [f"tensorflow-cpu=={version}.*", "setuptools<81"]
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-compile", *wanted], check=True, capture_output=True, text=True
    )
    return python


def main(versions: list[str]) -> dict[str, dict[str, float | str]]:
    """Prints a JSON object for each version, and returns the differences by version."""
    results: dict[str, dict[str, float | str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        exports, files = os.path.join(folder, "exports"), os.path.join(folder, "files")
        export_all(exports)
        write_files(files)
        expected = answers_of(sys.executable, exports, files)
        for version in versions:
            begin = time.perf_counter()
            with tempfile.TemporaryDirectory() as environment:
                try:
                    python = environment_of(version, environment)
                except subprocess.CalledProcessError as error:
                    results[version] = {"installation": (error.stderr.strip().splitlines() or ["?"])[-1]}
                    print(json.dumps({"asked": version, **results[version]}), flush=True)
                    continue
                found = answers_of(python, exports, files)
            rows = results[version] = differences(expected["answers"], found["answers"])
            numbers = [row for row in rows.values() if not isinstance(row, str)]
            record = {
                "wrote": expected["tensorflow"],
                "reads": found["tensorflow"],
                "outputs": len(numbers),
                "largest_difference": max(numbers, default=None),
                "failed": {key: row for key, row in rows.items() if isinstance(row, str)},
                "seconds": round(time.perf_counter() - begin),
            }
            print(json.dumps(record), flush=True)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.older_servers", description=__doc__.splitlines()[0])
    parser.add_argument("versions", nargs="+", metavar="VERSION", help="such as 2.19")
    main(parser.parse_args().versions)
