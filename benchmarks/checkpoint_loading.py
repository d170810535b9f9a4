"""Time and memory of loading a checkpoint, against `read()` of the same file and one copy, in one run.

    python -m benchmarks.checkpoint_loading --preset=vit_large_patch16 --ending=safetensors --repeats=3

The file is in the page cache. Each measurement runs in a process of its own; time is the best of the repeats, which
alternate, and memory the peak above what the process had before it made the model. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def measure(preset: str, ending: str, repeats: int, folder: str, num_layers: int | None = None) -> dict[str, float]:
    """Writes a random checkpoint of an encoder preset into `folder`, and measures.

    Returns:
        `file_megabytes`; `read_seconds`, `load_seconds` and their `time_ratio`, by the clock; `cpu_ratio`, the same of
        the processes' CPU time; `memory_ratio`, peak memory over the file's size.
    """
    path = os.path.join(folder, f"{preset}.{ending}")
    layers = [] if num_layers is None else [f"--num_layers={num_layers}"]
    _child("write", path, preset, layers)
    reads, loads = [], []
    for _ in range(repeats):
        reads.append(_child("read", path, preset, layers))
        loads.append(_child("load", path, preset, layers))
    best = {
        (kind, clock): min(run[clock] for run in runs)
        for kind, runs in (("read", reads), ("load", loads))
        for clock in ("seconds", "cpu_seconds")
    }
    size = os.path.getsize(path)
    return {
        "file_megabytes": round(size / 1e6, 1),
        "read_seconds": round(best["read", "seconds"], 3),
        "load_seconds": round(best["load", "seconds"], 3),
        "time_ratio": round(best["load", "seconds"] / best["read", "seconds"], 2),
        "cpu_ratio": round(best["load", "cpu_seconds"] / best["read", "cpu_seconds"], 2),
        "memory_ratio": round(max(run["peak_bytes"] for run in loads) / size, 2),
    }


def _child(task: str, path: str, preset: str, layers: list[str]) -> dict[str, float]:
    command = [sys.executable, os.path.abspath(__file__), f"--task={task}", f"--path={path}", f"--preset={preset}"]
    import_path = os.pathsep.join([ROOT, *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": import_path, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([*command, *layers], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{task} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _timed(work) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}


def _read_and_copy(path: str) -> None:
    with open(path, "rb") as file:
        bytearray(file.read())


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _run_task(arguments: argparse.Namespace) -> dict[str, float]:
    if arguments.task == "read":
        return _timed(lambda: _read_and_copy(arguments.path))

    import keras_mae
    import keras_mae.checkpoints

    overrides = {} if arguments.num_layers is None else {"num_layers": arguments.num_layers}
    if arguments.path.endswith(".pth"):
        import torch  # noqa: F401  its own size is not the load's
    keras_mae.ViTEncoder((8, 8, 3), 4, 8, 1, 1)  # starts TensorFlow
    before = _peak_bytes()
    encoder = keras_mae.ViTEncoder.from_preset(arguments.preset, **overrides)
    if arguments.task == "write":
        keras_mae.save_checkpoint(encoder, arguments.path, "mae_torch")
        return {}
    times = _timed(lambda: keras_mae.load_checkpoint(encoder, arguments.path, "mae_torch"))
    return {**times, "peak_bytes": _peak_bytes() - before}


def main() -> None:
    """Reads the flags, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="vit_large_patch16")
    parser.add_argument("--ending", default="safetensors", choices=["safetensors", "pth"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--num_layers", type=int, help="fewer layers, for a quick look")
    parser.add_argument("--task", choices=["write", "read", "load"], help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps(_run_task(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = measure(arguments.preset, arguments.ending, arguments.repeats, folder, arguments.num_layers)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
