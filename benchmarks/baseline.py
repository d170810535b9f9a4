"""The stored ratios, and what has become slower since."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata

from benchmarks.load import QUIET

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "baseline.json")
_NOTEWORTHY = 0.8
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")  # what matrix products use


def machine() -> str:
    """The kind of machine: architecture, number of cores, and the instructions that it has for matrices."""
    flags = _processor().get("flags", "").split()
    found = [one for one in _INSTRUCTIONS if one in flags]
    return f"{platform.machine()}, {os.cpu_count()} cores, {' '.join(found) or 'no AVX2'}"


def facts() -> dict[str, str]:
    """What a stored row says of the machine beyond its kind, and of the versions."""
    packages = ("tensorflow", "keras", "torch", "onnxruntime", "openvino")
    versions = {name: _version(name) for name in packages}
    found = " ".join(f"{name} {version}" for name, version in versions.items() if version)
    return {"processor": _processor().get("model name", platform.processor()), "versions": found}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> dict[str, str]:
    """The fields of /proc/cpuinfo, where there is one."""
    if not os.path.exists("/proc/cpuinfo"):
        return {}
    with open("/proc/cpuinfo") as file:
        lines = [line.partition(":") for line in file if ":" in line]
    return {key.strip(): value.strip() for key, _, value in lines}


def compare(line: str, path: str = PATH) -> list[str]:
    """A sentence for each ratio in a benchmark's line that is below 0.8 of the one stored for this machine."""
    record = json.loads(line)
    stored = _read(path).get(machine(), {}).get(record["benchmark"], {})
    return [
        f"{record['benchmark']}: {name} is {record[name]}, and was {value}"
        for name, value in _ratios(stored).items()
        if name in record and record[name] < _NOTEWORTHY * value
    ]


def store(line: str, path: str = PATH) -> str:
    """Puts a benchmark's line into the baseline of this kind of machine; if others were at work there, says so instead.

    Returns:
        Nothing, or why the line is not stored.
    """
    baseline, record = _read(path), json.loads(line)
    others = record.get("others_share")
    if others is None or others > QUIET:
        seen = "the system does not tell what others did" if others is None else f"others had {others:.0%} of the cores"
        return (
            f"{record['benchmark']}: not stored, as {seen}; at most {QUIET:.0%} are allowed. Measure on a quiet machine"
        )
    record |= facts()
    baseline.setdefault(machine(), {})[record.pop("benchmark")] = record
    with open(path, "w") as file:
        json.dump(baseline, file, indent=2)
        file.write("\n")
    return ""


def _read(path: str) -> dict[str, dict[str, dict[str, float]]]:
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)


def _ratios(record: dict[str, float]) -> dict[str, float]:
    """Those in which more is better."""
    return {
        name: value
        for name, value in record.items()
        if name.endswith(("ratio", "share")) or name.startswith(("ratio_to", "share_of"))
        if not name.endswith(("memory_ratio", "time_ratio", "operations_ratio", "mask_tokens_ratio"))
    }
