"""Checks on a GPU, through TensorFlow: where the uncompiled step runs, gathered bytes, and XLA that fails.

    python -m benchmarks.accelerator.kernel_checks

prints one JSON object a line. Without a GPU it runs on the processor, which proves that it works and no more.
"""

from __future__ import annotations

import argparse
import collections
import glob
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.turns import ROOT

_PLACED = re.compile(r"\((\w+)\): /job:localhost/replica:0/task:0/device:(\w+):0")


def placement() -> dict:
    """The operations of an uncompiled step that TensorFlow places on the host."""
    done = _child("step_once", {"TF_CPP_MIN_LOG_LEVEL": "0"})
    placed = collections.Counter(_PLACED.findall(done.stderr))
    on_gpu = sum(count for (_, device), count in placed.items() if device == "GPU")
    on_host = {op: count for (op, device), count in placed.items() if device == "CPU"}
    return {"on_gpu": on_gpu, "on_host": on_host if on_gpu else f"all {sum(on_host.values())}, without a GPU"}


def step_once() -> dict:
    """One uncompiled step, whose operations TensorFlow lists on stderr."""
    import tensorflow as tf

    tf.debugging.set_log_device_placement(True)
    model, images = _model("toy")
    step = tf.function(model.train_step, autograph=False)
    return {"loss": float(step(images)["loss"])}


def gathered() -> dict:
    """Whether patches of any integers are gathered as NumPy gathers them, on this device, compiled or not."""
    import tensorflow as tf

    from keras_mae.layers.kernels import COMPILED_KERNELS, use_kernels
    from keras_mae.layers.patches import take_patches

    draw, equal = np.random.default_rng(0), {}
    ids = np.stack([draw.permutation(9)[:5] for _ in range(3)]).astype("int32")
    for name in ("uint8", "int8", "uint16", "int16"):
        for width in (768, 6, 5):
            patches = draw.integers(0, 256, (3, 9, width * np.dtype(name).itemsize), dtype="uint8").view(name)
            expected = np.take_along_axis(patches, ids[..., None], axis=1)
            for compiled in (False, True):
                with use_kernels(COMPILED_KERNELS if compiled else None):
                    taken = tf.function(take_patches, jit_compile=compiled, autograph=False)(patches, ids)
                equal[f"{name}, {width}, {'compiled' if compiled else 'graph'}"] = bool(np.all(taken == expected))
    return {"device": taken.device.rpartition("device:")[2], "all_equal": all(equal.values()), "equal": equal}


def times(size: str, batch_size: int, num_steps: int = 20, rounds: int = 5) -> dict:
    """Milliseconds of an uncompiled step, with bytes gathered on the host as before, and as words."""
    import tensorflow as tf

    from keras_mae.layers.kernels import use_kernels

    sides = {}
    for side, kernels in (
        ("words", {}),
        ("bytes", {"take_patches": lambda plain, patches, ids: tf.gather(patches, ids, batch_dims=1)}),
    ):
        model, images = _model(size, batch_size)
        step = tf.function(model.train_step, autograph=False)
        with use_kernels(kernels):
            sides[side] = (step.get_concrete_function(images), images)
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + 1):
        for side, (step, images) in sides.items():
            begin = time.perf_counter()
            for _ in range(num_steps):
                logs = step(images)
            float(logs["loss"])
            taken[side] += [1000 * (time.perf_counter() - begin) / num_steps] if turn else []
    medians = {f"{side}_milliseconds": round(float(np.median(each)), 2) for side, each in taken.items()}
    return {"size": size, "batch_size": batch_size, **medians}


def copies(size: str = "vit_tiny", num_steps: int = 5) -> dict:
    """Copies between host and GPU in a step whose images are on the GPU: `[number, bytes]` by direction."""
    import tensorflow as tf

    record = {}
    for side, compiled in (("uncompiled", False), ("compiled", True)):
        model, images = _model(size, jit_compile=compiled)
        step = tf.function(model.train_step, autograph=False, jit_compile=compiled)
        step(images)
        with tempfile.TemporaryDirectory() as folder:
            tf.profiler.experimental.start(folder)
            for _ in range(num_steps):
                logs = step(images)
            float(logs["loss"])
            tf.profiler.experimental.stop()
            (path,) = glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)
            record[side] = {way: [each / num_steps for each in found] for way, found in _copies_in(path).items()}
    return record


def _copies_in(path: str) -> dict[str, list[int]]:
    """The copies in a profile of TensorFlow's: their number and their bytes, by direction."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space, found = xplane_pb2.XSpace(), collections.defaultdict(lambda: [0, 0])
    with open(path, "rb") as file:
        space.ParseFromString(file.read())
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events if "GPU" in plane.name):
            name = plane.event_metadata[event.metadata_id].name
            if name.startswith("Memcpy"):
                texts = (stat.str_value or plane.stat_metadata[stat.ref_value].name for stat in event.stats)
                sizes = [int(size) for text in texts for size in re.findall(r"size:(\d+)", text)]
                found[name] = [found[name][0] + 1, found[name][1] + sum(sizes[:1])]
    return dict(found)


def failing_compiler() -> dict:
    """What `fit` says, and the loss of its steps, where XLA finds no compiler of CUDA."""
    nowhere = {
        "PATH": os.path.dirname(sys.executable),
        "XLA_FLAGS": "--xla_gpu_cuda_data_dir=/nonexistent",
    }
    compiled, uncompiled = (json.loads(_child(part, nowhere).stdout.splitlines()[-1]) for part in ("xla", "graph"))
    return {"said": compiled["said"], "equal": compiled["losses"] == uncompiled["losses"], **compiled}


def fit(jit_compile: bool) -> dict:
    """The loss of two epochs of `fit`, and what it says."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("keras_mae")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    model, images = _model("toy", jit_compile=jit_compile)
    history = model.fit(np.concatenate([images.numpy()] * 3), batch_size=4, epochs=2, shuffle=False, verbose=0)
    return {"said": said, "losses": history.history["loss"], "compiled": bool(model.jit_compile)}


def _model(size: str, batch_size: int | None = None, jit_compile: bool = False):
    """A compiled model that is built, and a batch of images on its device."""
    import dataclasses

    import keras
    import tensorflow as tf

    from benchmarks.our_step import our_model
    from benchmarks.sizes import SIZES, images_of
    from keras_mae.optimizers import adamw

    sizes = SIZES[size]
    sizes = dataclasses.replace(sizes, batch_size=batch_size or sizes.batch_size)
    keras.utils.set_random_seed(0)
    model = our_model(sizes)
    model.compile(optimizer=adamw(model, 1e-4), jit_compile=jit_compile)
    model.optimizer.build(model.trainable_variables)
    return model, tf.constant(images_of(sizes))


PARTS = {
    "placement": placement,
    "gathered": gathered,
    "copies": copies,
    "vit_tiny": lambda: times("vit_tiny", 256),
    "vit_base": lambda: times("vit_base", 64),
    "failing_compiler": failing_compiler,
}
_OF_CHILDREN = {"step_once": step_once, "xla": lambda: fit(True), "graph": lambda: fit(False)}


def _child(part: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """A part in a process of its own, so that none has another's memory or settings."""
    variables = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, **(environment or {})}
    command = [sys.executable, "-m", "benchmarks.accelerator.kernel_checks", f"--part={part}"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{part} ended with {done.returncode}: {done.stderr[-1500:]}")
    return done


def main() -> int:
    """Runs the parts that the flags name; the exit code is the number of parts that failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator.kernel_checks", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="names separated by commas; default: %(default)s")
    parser.add_argument("--part", help="run this one here, without a process of its own")
    arguments = parser.parse_args()
    if arguments.part is not None:
        print(json.dumps((PARTS | _OF_CHILDREN)[arguments.part]()))
        return 0
    failed = 0
    for part in arguments.only.split(","):
        begin = time.perf_counter()
        try:
            record = json.loads(_child(part).stdout.splitlines()[-1])
        except RuntimeError as error:
            failed += 1
            record = {"error": str(error)}
        print(json.dumps({"part": part, **record, "seconds": round(time.perf_counter() - begin, 1)}), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
