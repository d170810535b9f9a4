"""Runs exported steps on the device that JAX finds: TensorFlow's numbers first, then speed against PyTorch.

Writes a JSON object a line, to the standard output and into `results.jsonl`. It needs no TensorFlow.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata

from benchmarks.accelerator.steps import STEPS
from benchmarks.turns import ROOT, Measured, Side, take_turns

# else JAX takes three quarters of a GPU's memory at once, and PyTorch has to do with the rest
_JAX_ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
_MILLION = 1e6


def against_torch(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Milliseconds a step, images a second and megabytes of the device's memory, of our step and of PyTorch's."""
    step, num_steps = STEPS[name], arguments.num_steps
    theirs = {"size": step.size, "batch_size": step.batch_size, "dtype": step.dtype, "device": arguments.device}
    profile = os.path.join(os.path.abspath(arguments.output), name) if name in arguments.profile.split(",") else None
    ours = {"folder": os.path.abspath(arguments.steps), "name": name, "num_steps": num_steps, "profile": profile}
    sides = {"ours": Side("benchmarks.accelerator.our_side:our_turn", ours, _JAX_ENVIRONMENT)}
    for side in filter(None, arguments.torch.split(",")):
        settings = {**theirs, "num_steps": num_steps, "compiled": side == "torch_compiled"}
        sides[side] = Side("benchmarks.torch_step:torch_step", settings)
    record: dict[str, float] = {}
    for side, measured in take_turns(sides, arguments.rounds).items():
        record |= _row(side, measured, num_steps, step.batch_size)
    return record


def _row(side: str, measured: Measured, num_steps: int, batch_size: int) -> dict[str, float]:
    seconds = measured.seconds / num_steps
    return {
        f"{side}_milliseconds": round(1000 * seconds, 2),
        f"{side}_images_per_second": round(batch_size / seconds, 1),
        f"{side}_peak_megabytes": round(measured.peak_bytes / _MILLION),
        f"{side}_first_turn_seconds": round(measured.first_seconds, 1),
    }


def numbers(steps_folder: str, name: str) -> dict:
    """See `comparison.compare`; in a process of its own, which leaves no memory of the device taken."""
    command = [sys.executable, "-m", "benchmarks.accelerator.comparison", os.path.abspath(steps_folder), name]
    environment = {**os.environ, **_JAX_ENVIRONMENT, "PYTHONPATH": ROOT}
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"{name} failed: {answer.stderr[-2000:]}")
    return json.loads(answer.stdout.splitlines()[-1])


def machine() -> dict[str, str]:
    """The device, its driver, and the versions of what runs on it."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        device = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        device = "no GPU of NVIDIA's"
    versions = {}
    for package in ("tensorflow", "keras", "jax", "jaxlib", "torch", "transformers", "numpy"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"device": device, **versions}


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator.run", description=__doc__)
    parser.add_argument("--steps", required=True, help="the folder that benchmarks.accelerator.export wrote")
    parser.add_argument("--output", required=True, help="the folder for results.jsonl")
    parser.add_argument("--only", default=",".join(STEPS), help="names separated by commas; default: %(default)s")
    parser.add_argument("--torch", default="torch,torch_compiled", help="sides to compare with; may be empty")
    parser.add_argument("--device", default="cuda", help="of PyTorch: cuda or cpu; JAX takes the first that it finds")
    parser.add_argument("--num_steps", type=int, default=10, help="steps in a turn; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side; default: %(default)s")
    parser.add_argument("--profile", default="", help="names of steps whose kernels are timed one by one")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no timing after so many seconds")
    return parser.parse_args()


def main() -> int:
    """Runs what the flags name; the exit code is the number of parts that failed."""
    arguments = _flags()
    os.makedirs(arguments.output, exist_ok=True)
    begin, failed = time.perf_counter(), 0
    with open(os.path.join(arguments.output, "results.jsonl"), "a") as file:

        def tell(record: dict) -> None:
            line = json.dumps(record)
            print(line, flush=True)
            file.write(line + "\n")
            file.flush()

        def take(name: str, part: Callable[[], dict]) -> None:
            nonlocal failed
            since = time.perf_counter()
            try:
                record = part()
            except RuntimeError as error:
                failed += 1
                record = {"error": str(error)}
            tell({"step": name, **record, "part_seconds": round(time.perf_counter() - since, 1)})

        tell(machine())
        names = arguments.only.split(",")
        compared = [name for name in names if STEPS[name].num_results]
        with concurrent.futures.ThreadPoolExecutor() as pool:  # most of it is the compiler's time
            parts = {name: pool.submit(numbers, arguments.steps, name) for name in compared}
            for name, part in parts.items():
                take(name, part.result)
        for name in names:
            since = time.perf_counter() - begin
            if name in compared:
                continue
            if since < arguments.seconds:
                take(name, functools.partial(against_torch, name, arguments))
            else:
                tell({"step": name, "left_out": f"{since:.0f} s are over"})
    return failed


if __name__ == "__main__":
    sys.exit(main())
