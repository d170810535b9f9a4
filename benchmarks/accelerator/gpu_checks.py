"""What only a GPU shows of precision: the check of an export, what `dtype_policy=auto` takes, a step in float16.

    python -m benchmarks.accelerator.gpu_checks

It needs TensorFlow and this package, and prints a line of JSON for each check; it ends with code 1 if one failed. It
runs without a GPU, too, to prove that it works. With `--processor` it times steps of this machine's processor in
float32 and bfloat16 instead, with no GPU in sight, which takes a minute.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

if "--processor" in sys.argv:
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf

from benchmarks.our_step import our_step
from keras_mae.export import export_encoder, saved_model, verify
from keras_mae.export.signatures import ServedEncoder
from keras_mae.models import MAEDecoder, MaskedAutoencoder, ViTEncoder
from keras_mae.trainers import dtype_choice
from keras_mae.trainers.machine import processor_flags

_SMALL = {"image_shape": (32, 32, 3), "patch_size": 4, "hidden_dim": 64, "num_layers": 2, "num_heads": 2}
_STEPS = 6


def facts() -> dict[str, Any]:
    """The devices, and whether products are rounded to TF32 by default."""
    gpus = tf.config.list_physical_devices("GPU")
    return {
        "tensorflow": tf.__version__,
        "gpus": [tf.config.experimental.get_device_details(gpu) for gpu in gpus],
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "processor_flags": sorted({"amx_bf16", "avx512_bf16"} & processor_flags()),
    }


def auto() -> dict[str, Any]:
    """What `dtype_policy=auto` takes here."""
    return dtype_choice.choose_dtype()._asdict()


def exported(encoder: ViTEncoder) -> dict[str, Any]:
    """An export with its check, and by how much the device's outputs differ from the processor's, relative."""
    served = ServedEncoder(encoder)
    cases = verify.example_cases(served, None)
    differences: dict[str, float] = {}

    def noted(*arguments: Any) -> None:
        differences.update(verify.verify_export(*arguments))

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(saved_model, "verify_export", noted):
        begin = time.perf_counter()
        export_encoder(encoder, folder)
        seconds = time.perf_counter() - begin
    exact, of_device = verify.live_outputs(served, cases)["embed"]["embedding"], _embedding(served, cases)
    return {
        "seconds": round(seconds, 2),
        "largest_difference": max(differences.values()),
        "of_device_relative": float(np.abs(of_device - exact).max() / np.abs(exact).max()),
        "weights_on": encoder.weights[0].value.device,
        "tf32_after": tf.config.experimental.tensor_float_32_execution_enabled(),
    }


def _embedding(served: ServedEncoder, cases: verify.Outputs) -> np.ndarray:
    images = tf.constant(cases["embed"]["images"])
    return served.signatures()["embed"](images=images)["embedding"].numpy()


def trained(policy: str) -> dict[str, Any]:
    """Steps of a small model in a dtype policy; the decoder has that of the encoder."""
    keras.utils.set_random_seed(0)
    mae = MaskedAutoencoder(ViTEncoder(**_SMALL, dtype=policy), MAEDecoder(32, 1, 2))
    mae.compile(optimizer="adamw")
    images = np.random.default_rng(0).integers(0, 256, (64, *_SMALL["image_shape"])).astype("uint8")
    losses = mae.fit(images, batch_size=64, epochs=_STEPS, verbose=0).history["loss"]
    if not np.isfinite(losses).all() or losses[-1] >= losses[0]:
        raise ValueError(f"losses {losses}")
    scale = getattr(mae.optimizer, "dynamic_scale", None)
    return {
        "losses": [round(float(loss), 5) for loss in losses],
        "loss_scale": None if scale is None else float(np.asarray(scale)),
        "decoder": mae.decoder.dtype_policy.name,
    }


def on_processor(size: str, batch: int, jit_compile: bool, turns: int = 5) -> dict[str, Any]:
    """Seconds of a train step of a processor in float32 and bfloat16, medians of turns that alternate.

    `processor_seconds` are those of all cores together, which other programs on the machine disturb least.
    """
    changes, dtypes = {"batch_size": batch}, ("float32", "bfloat16")
    steps = {dtype: our_step(size, dtype, jit_compile=jit_compile, changes=changes) for dtype in dtypes}
    for step in steps.values():
        for _ in range(2):
            step()
    clocks = {"seconds": time.perf_counter, "processor_seconds": time.process_time}
    times: dict[str, dict[str, list[float]]] = {clock: {dtype: [] for dtype in steps} for clock in clocks}
    for _ in range(turns):
        for dtype, step in steps.items():
            begun = {name: clock() for name, clock in clocks.items()}
            step()
            for name, clock in clocks.items():
                times[name][dtype].append(clock() - begun[name])
    found: dict[str, Any] = {}
    for name, of_dtypes in times.items():
        medians = {dtype: float(np.median(some)) for dtype, some in of_dtypes.items()}
        found[name] = {dtype: round(median, 4) for dtype, median in medians.items()}
        found[name]["bfloat16_over_float32"] = round(medians["bfloat16"] / medians["float32"], 3)
    return found


def _checks(processor: bool) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    yield "facts", facts
    yield "auto", auto
    if processor:
        for size, batch, jit in (("vit_tiny", 64, False), ("vit_tiny", 64, True), ("vit_base", 8, False)):
            name = f"processor, {size}, batch {batch}, {'XLA' if jit else 'graph'}"
            yield name, lambda size=size, batch=batch, jit=jit: on_processor(size, batch, jit)
        return
    yield "export of a tiny model", lambda: exported(ViTEncoder(**_SMALL))
    yield "export of ViT-Ti/16", lambda: exported(ViTEncoder.from_preset("vit_tiny_patch16"))
    yield (
        "export of ViT-Ti/16 in bfloat16",
        lambda: exported(ViTEncoder.from_preset("vit_tiny_patch16", dtype="mixed_bfloat16")),
    )
    for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
        yield f"steps in {policy}", lambda policy=policy: trained(policy)


def main(arguments: list[str]) -> int:
    """Runs all checks; the number of those that failed, at most 1."""
    failed = 0
    for name, check in _checks("--processor" in arguments):
        try:
            line = {"check": name, "ok": True, **check()}
        except Exception:  # each check by itself
            line, failed = {"check": name, "ok": False, "error": traceback.format_exc()[-1500:]}, 1
        print(json.dumps(line, default=str), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
