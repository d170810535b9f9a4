"""What a run was computed on: the machine, and the versions of the libraries."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata
from typing import Any

_PACKAGES = {"TensorFlow": "tensorflow", "Keras": "keras", "NumPy": "numpy"}


def machine() -> dict[str, Any]:
    """Facts for `config.json`; of several workers these are the chief's. What is not known is None.

    `processor` is its name, `cores` how many this process may use, `memory` the machine's bytes, `gpus` their names.
    """
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": _memory(),
        "gpus": _gpus(),
    }


def versions() -> dict[str, str]:
    """Versions for `config.json`, by the names of the libraries."""
    from keras_mae import __version__

    known = {name: _version(package) for name, package in _PACKAGES.items()}
    return {"keras_mae": __version__, "Python": platform.python_version(), **known}


def processor_flags() -> frozenset[str]:
    """The flags of this machine's processor in `/proc/cpuinfo`; none where they are not known."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            found = re.search(r"^flags\s*:(.*)$", file.read(), re.MULTILINE)
    except OSError:
        found = None
    return frozenset(found[1].split()) if found else frozenset()


def _version(package: str) -> str:
    for name in (package, f"{package}-cpu", f"{package}-gpu", f"{package}-tpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return str(getattr(sys.modules.get(package), "__version__", "unknown"))  # such as a build without metadata


def _processor() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            found = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", file.read(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _gpus() -> list[str]:
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:  # no run trains without it
        return []
    devices = tensorflow.config.list_physical_devices("GPU")
    details = [tensorflow.config.experimental.get_device_details(device) for device in devices]
    return [str(one.get("device_name", "unknown")) for one in details]
