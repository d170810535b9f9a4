"""The memory that a process really uses."""

from __future__ import annotations

import re
import sys

import tensorflow as tf


def used_memory() -> int | None:
    """The most memory that was used so far, in bytes: of the fullest GPU, or resident; None if it is not known.

    TensorFlow takes all memory of a GPU: this is the part that tensors were in.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        names = [gpu.name.removeprefix("/device:") for gpu in gpus]
        return max(int(tf.config.experimental.get_memory_info(name)["peak"]) for name in names)
    return resident()


def resident(status: str = "/proc/self/status") -> int | None:
    """The most resident memory of this process so far, in bytes; None if the system does not tell."""
    try:
        with open(status, encoding="utf-8") as file:
            match = re.search(r"^VmHWM:\s+(\d+) kB", file.read(), re.MULTILINE)
        if match:
            return 1024 * int(match[1])
    except OSError:
        pass  # no Linux
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
