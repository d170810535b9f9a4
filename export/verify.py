"""Loads what was exported in a fresh process that cannot import keras_mae, and compares it with the live model."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf
from PIL import Image

# What a server knows: TensorFlow and the folder. Run isolated (-I), so that neither the working folder nor
# PYTHONPATH is searched, with the imports of Keras and of this package barred.
_CLIENT = """
import json, sys
sys.modules["keras_mae"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf
model, path = tf.saved_model.load(sys.argv[1]), sys.argv[2]
cases = np.load(path)
given = {"images": tf.constant(cases["images"])}
given["image_bytes"] = tf.constant([cases[f"file {i}"].tobytes() for i in range(len(cases["images"]))])
differences = {}
for key in json.loads(str(cases["index"])):
    signature, name, output = key.split("/")
    found = model.signatures[signature](**{name: given[name]})[output].numpy()
    differences[key] = float(np.abs(found - cases[key]).max())
print("DIFFERENCES " + json.dumps(differences))
"""
_TOLERANCE = 1e-5  # of the largest value: what another order of float32 sums gives


def verify_encoder(served, path: str, image_shape: tuple[int, int, int], images=None) -> dict[str, float]:
    """Compares every signature of the SavedModel at `path` with the live model.

    Args:
        served: the live `ServedEncoder`.
        path: folder of the SavedModel.
        image_shape: `(H, W, C)`.
        images: uint8 `(N, H, W, C)`; None draws some.

    Returns:
        The largest absolute difference by `signature/input/output`.

    Raises:
        RuntimeError: if the fresh process fails, or a difference exceeds 1e-5 of the largest value.
    """
    images = drawn_images(image_shape) if images is None else np.asarray(images)
    files = [_png(image) for image in images]
    live = {
        "serving_default/image_bytes": served.embed_files(tf.constant(files)),
        "embed/images": served.embed(images),
        "features/images": served.features(images),
    }
    expected = {f"{key}/{name}": value.numpy() for key, outputs in live.items() for name, value in outputs.items()}
    given = {"images": images, **{f"file {i}": np.frombuffer(file, "uint8") for i, file in enumerate(files)}}
    with tempfile.TemporaryDirectory() as folder:
        record = os.path.join(folder, "cases.npz")
        np.savez(record, index=json.dumps(list(expected)), **given, **expected)
        command = [sys.executable, "-I", "-c", _CLIENT, os.path.abspath(path), record]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("DIFFERENCES ")]
    if done.returncode or not lines:
        raise RuntimeError(f"a fresh process cannot use the exported model:\n{done.stderr[-2000:]}")
    differences: dict[str, float] = json.loads(lines[-1].removeprefix("DIFFERENCES "))
    for key, difference in differences.items():
        allowed = _TOLERANCE * max(1.0, float(np.abs(expected[key]).max()))
        if not difference <= allowed:
            raise RuntimeError(f"the exported model differs from the live one in {key} by {difference:.2e}")
    return differences


def drawn_images(image_shape: tuple[int, int, int], count: int = 3) -> np.ndarray:
    """Smooth pictures that differ everywhere, uint8 `(count, H, W, C)`, for a check without data at hand."""
    height, width, channels = image_shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin((3 + n) * x + (5 + channel) * y + n) for n in range(count) for channel in range(channels)]
    stack = np.stack(waves).reshape(count, channels, height, width).transpose(0, 2, 3, 1)
    return np.round(127.5 + 127.5 * stack).astype("uint8")


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()
