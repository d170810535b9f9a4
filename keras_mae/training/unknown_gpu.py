"""GPUs that are newer than TensorFlow: XLA may end the process there, so that it is tried in another one."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from typing import Any

import tensorflow as tf

_SECONDS = 300  # XLA took 100 s for one operation on such a GPU, openxla/xla#44517
_PROGRAM = """
import tensorflow as tf
tf.function(lambda x: 2 * x, jit_compile=True)(tf.ones([8])).numpy()
"""


def why_not_compiled() -> str | None:
    """Why XLA cannot compile for a GPU of this machine that is newer than this TensorFlow; None if it can.

    XLA of TensorFlow 2.21 does not raise an error for a Blackwell GPU, but aborts (tensorflow/tensorflow#111958).
    """
    return next((reason for name in _newer_gpus() if (reason := _attempt(name)) is not None), None)


def _newer_gpus() -> list[str]:
    """The names of the GPUs whose compute capability is above all that TensorFlow was built for."""
    built_for = tf.sysconfig.get_build_info().get("cuda_compute_capabilities", [])  # such as sm_80 and compute_90
    known = [divmod(int(found[0]), 10) for each in built_for if (found := re.search(r"\d+", each))]
    newer = [details for details in _gpus() if known and details.get("compute_capability", (0, 0)) > max(known)]
    return [str(details.get("device_name", "a GPU")) for details in newer]


def _gpus() -> list[dict[str, Any]]:
    return [tf.config.experimental.get_device_details(device) for device in tf.config.list_physical_devices("GPU")]


@functools.cache
def _attempt(name: str) -> str | None:
    environment = {**os.environ, "TF_FORCE_GPU_ALLOW_GROWTH": "true", "TF_CPP_MIN_LOG_LEVEL": "1"}
    command = [sys.executable, "-c", _PROGRAM]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"XLA took more than {_SECONDS} s for one operation on {name}"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    said = next((line for line in lines if "ERROR" in line), lines[-1] if lines else f"exit code {done.returncode}")
    return f"{said} ({name} is newer than this TensorFlow)"
