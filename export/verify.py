"""Runs an exported model in a fresh process that cannot import keras_mae, and compares it with the live model."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_mae.export.image_files import in_dtype
from keras_mae.layers.kernels import use_kernels

if TYPE_CHECKING:
    from keras_mae.export.signatures import ServedModel

# A server has TensorFlow and the folder: importing Keras or this package fails.
_CLIENT = """
import gc, pickle, sys
gc.disable()  # it would walk through all loaded objects again and again
sys.modules["keras_mae"] = sys.modules["keras"] = None
import tensorflow as tf
tf.config.experimental.enable_tensor_float_32_execution(False)
path, given, found = sys.argv[1:]
signatures = tf.saved_model.load(path).signatures
with open(given, "rb") as file:
    cases = pickle.load(file)
if set(cases) != set(signatures):
    sys.exit(f"the signatures are {sorted(signatures)}, not {sorted(cases)}")
outputs = {}
for name, inputs in cases.items():
    result = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
    outputs[name] = {key: value.numpy() for key, value in result.items()}
with open(found, "wb") as file:
    pickle.dump(outputs, file)
gc.freeze()  # and once more at the end
"""
_LIVE = "probabilities of the live model"  # among its outputs: for classes that are so close that either is right
Outputs = dict[str, dict[str, np.ndarray]]  # by signature and name

# Of the largest value. float32: another order of sums. bfloat16 rounds to 8 bits, 0.4 %, at both residual sums of every
# block, which add up like a random walk: one standard deviation is 2 % after the 24 of ViT-B, 3 % after the 64 of
# ViT-H. (A weight in the wrong place gives 100 %.) float16, of a live model, rounds to 11 bits.
TOLERANCES = {"float32": 1e-5, "bfloat16": 0.1, "float16": 0.0125, "int8": 0.1}
# What is asked of a model in 8 bits besides: the cosine of each example's output to the live model's. Embeddings are
# compared by their cosines, too, and 0.999 is an angle of 2.6 degrees.
COSINE = 0.999
_NARROW = 16


class VerificationError(RuntimeError):
    """The outputs of an exported model differ from the live model's."""


def verify_export(
    served: ServedModel, path: str, images: np.ndarray | None = None, compute_dtype: str | None = None
) -> dict[str, float]:
    """Compares every signature of the SavedModel at `path` with the live model, both on the processor.

    Args:
        served: the live model, such as a `ServedEncoder`.
        path: folder of the SavedModel.
        images: uint8 or uint16 `(N, H, W, C)`; None for synthetic ones.
        compute_dtype: of the SavedModel; None: as the live model.

    Returns:
        The largest absolute difference by `signature/inputs/output`; for classes, the number of different ones.

    Raises:
        VerificationError: if the fresh process fails, or a difference exceeds 1e-5 of the largest value (0.1 of it if
            one of the two computes in bfloat16, 0.0125 if in float16).
    """
    cases = example_cases(served, images)
    dtypes = {served.compute_dtype, compute_dtype or served.compute_dtype}
    return compare(cases, live_outputs(served, cases), _outputs_of_fresh_process(path, cases), dtypes)


def example_cases(served: ServedModel, images: np.ndarray | None) -> Outputs:
    """The inputs of every signature, made of `images`, or of synthetic ones."""
    images = drawn_images(served.image_shape, dtype=served.images_dtype) if images is None else np.asarray(images)
    return served.example_inputs(in_dtype(images, served.images_dtype))


def live_outputs(served: ServedModel, cases: Outputs) -> Outputs:
    """The outputs of the live model, computed on the processor."""
    functions = {name: served.live_function(name) for name in cases}
    results: Outputs = {}
    with on_processor():
        for name, values in cases.items():
            inputs = {key: tf.constant(value) for key, value in values.items()}
            results[name] = {key: value.numpy() for key, value in functions[name](**inputs).items()}
            probabilities = served.live_probabilities(name, inputs)
            if probabilities is not None:
                results[name][_LIVE] = probabilities
    return results


@contextlib.contextmanager
def on_processor() -> Iterator[None]:
    """Computes inside on the processor, in all bits of float32, wherever the weights are.

    GPUs since Ampere round the operands of a product to TF32's 10 bits, which moves an embedding by 1e-3. The process
    of an export's check computes on the processor, too.
    """
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        with tf.device("CPU:0"):
            yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def compare(cases: Outputs, expected: Outputs, found: Outputs, dtypes: set[str]) -> dict[str, float]:
    """The differences by `signature/inputs/output`.

    Raises:
        VerificationError: if one is too large for models that compute in `dtypes`; with `"int8"` among them, also if
            the cosine of an example's output to the expected one is below 0.999.
    """
    tolerance = max(TOLERANCES[dtype] for dtype in dtypes)
    differences = {}
    for signature, outputs in expected.items():
        undecided = _undecided(outputs, tolerance)
        for name, value in outputs.items():
            if name == _LIVE:
                continue
            key = f"{signature}/{','.join(cases[signature])}/{name}"
            other = found[signature][name]
            if name == "png":
                value, other = _pixels(value), _pixels(other)
            if "int8" in dtypes and _are_alike(value, other) and not least_cosine(value, other) >= COSINE:
                raise VerificationError(
                    f"the exported model differs from the live one in {key}: in 8 bits the cosine is "
                    f"{least_cosine(value, other):.4f}, and {COSINE} is asked for; export in bfloat16 or float32"
                )
            difference, allowed = _difference(value, other, undecided, tolerance)
            if not difference <= allowed:
                raise VerificationError(f"the exported model differs from the live one in {key} by {difference:.2e}")
            differences[key] = difference
    return differences


def _are_alike(expected: np.ndarray, found: np.ndarray) -> bool:
    """Whether both are numbers with a fraction, and as many."""
    return np.issubdtype(expected.dtype, np.floating) and expected.shape == found.shape


def least_cosine(expected: np.ndarray, found: np.ndarray) -> float:
    """The least cosine between the examples of two outputs `(N, ...)`.

    Of fewer than 16 numbers an example, which have hardly a direction: `1 - |a - b|^2 / (2 |a| |b|)` of the numbers of
    all examples, which for equal lengths is their cosine.
    """
    one, other = (np.reshape(output, (len(output), -1)).astype("float64") for output in (expected, found))
    if one.shape[1] < _NARROW:
        lengths = np.linalg.norm(one) * np.linalg.norm(other)
        return float(1 - ((one - other) ** 2).sum() / (2 * lengths)) if lengths > 0 else float((one == other).all())
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    same = (one == other).all(axis=1).astype("float64")  # of zeros, too
    return float(np.divide((one * other).sum(1), lengths, out=same, where=lengths > 0).min())


def calibration_of(live: ServedModel, served: ServedModel, images: np.ndarray, calibrated_on: int) -> dict[str, Any]:
    """What the metadata say of a model in 8 bits: the images that it was calibrated on, and the cosine on others.

    Raises:
        ValueError: if this TensorFlow does not multiply in 8 bits.
    """
    name = live.of_images[0]
    cases = {name: example_cases(live, images)[name]}
    try:
        with use_kernels({}):  # the kernels around are the written model's
            expected = live_outputs(live, cases)[name]
        found = live_outputs(served, cases)[name]
    except tf.errors.OpError as error:
        raise ValueError(
            "dtype 'int8' needs a TensorFlow with oneDNN, as for x86 processors, and TF_ENABLE_ONEDNN_OPTS other than "
            f"0: {error.message.splitlines()[-1]}"
        ) from error
    cosines = {
        key: round(least_cosine(value, found[key]), 6)
        for key, value in expected.items()
        if key != _LIVE and np.issubdtype(value.dtype, np.floating)
    }
    return {"images": calibrated_on, "checked_on": len(images), "cosine": cosines}


def _difference(expected: np.ndarray, found: np.ndarray, undecided: Any, tolerance: float) -> tuple[float, float]:
    """The difference between two outputs, and its limit."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf"), 0.0
    if not np.issubdtype(expected.dtype, np.floating):  # classes and their labels
        return float(np.sum((found != expected) & ~undecided)), 0.0
    return float(np.abs(found - expected).max()), tolerance * max(1.0, float(np.abs(expected).max()))


def _undecided(outputs: dict[str, np.ndarray], tolerance: float) -> Any:
    """Whether the two most likely classes of an example, or pixel, are so close that round-off may swap them."""
    probabilities = outputs.get("probabilities") if {"class_id", "class_map"} & set(outputs) else None
    probabilities = outputs.get(_LIVE, probabilities)
    if probabilities is None:
        return False
    ranked = np.sort(probabilities, axis=-1)
    return ranked[..., -1] - ranked[..., -2] <= 2 * tolerance


def _pixels(files: np.ndarray) -> np.ndarray:
    """The pixels of gray PNG files of one size, uint16 `(N, H, W)`; those of 8 bits are scaled to 65535."""
    return np.stack([tf.io.decode_png(file, dtype=tf.uint16).numpy()[..., 0] for file in files])


def _outputs_of_fresh_process(path: str, cases: Outputs) -> Outputs:
    with tempfile.TemporaryDirectory() as folder:
        given, found = os.path.join(folder, "given"), os.path.join(folder, "found")
        with open(given, "wb") as file:
            pickle.dump(cases, file)
        command = [sys.executable, "-P", "-c", _CLIENT, os.path.abspath(path), given, found]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # to find TensorFlow where this process does
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise VerificationError(f"a fresh process cannot use the exported model:\n{done.stderr[-2000:]}")
        with open(found, "rb") as file:
            return pickle.load(file)


def drawn_images(image_shape: tuple[int, int, int], count: int = 3, dtype: str = "uint8") -> np.ndarray:
    """Smooth synthetic images that differ in every patch, `dtype` `(count, H, W, C)`, for a check without data."""
    height, width, channels = image_shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = [np.sin((3 + n) * x + (5 + channel) * y + n) for n in range(count) for channel in range(channels)]
    stack = np.stack(waves).reshape(count, channels, height, width).transpose(0, 2, 3, 1)
    return np.round((0.5 + 0.5 * stack) * np.iinfo(dtype).max).astype(dtype)
