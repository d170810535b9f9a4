"""What a user waits for before anything happens: imports, `--help`, and the first train step."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

from benchmarks.turns import ROOT

_PROGRAMS = {
    "import_keras_mae": ["-c", "import keras_mae"],
    "help": ["-m", "keras_mae", "pretrain", "--help"],
    "import_tensorflow": ["-c", "import tensorflow"],
    "import_models": ["-c", "import keras_mae.models"],
}
_FIRST_STEP = """
from benchmarks.our_step import our_step
our_step({size!r}, jit_compile={jit_compile})()
"""


def result(size: str = "vit_tiny", rounds: int = 3) -> str:
    """Median seconds of whole processes; the ratio is that of importing TensorFlow alone to importing the models."""
    programs = dict(_PROGRAMS)
    for compiled in (False, True):
        program = _FIRST_STEP.format(size=size, jit_compile=compiled)
        programs[f"first_step_{'xla' if compiled else 'graph'}"] = ["-c", program]
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, arguments in programs.items():
            seconds[name].append(_seconds(arguments))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    record = {f"{name}_seconds": round(median, 2) for name, median in medians.items()}
    ratio = round(medians["import_tensorflow"] / medians["import_models"], 2)
    return json.dumps({"benchmark": "start_up", **record, "ratio": ratio})


def _seconds(arguments: list[str]) -> float:
    path = os.pathsep.join([ROOT, *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"}
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, check=True)
    return time.perf_counter() - begin
