"""The stored ratios, and what has become slower since."""

from __future__ import annotations

import json
import os
import platform

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "baseline.json")
_NOTEWORTHY = 0.8


def machine() -> str:
    """The processor's name, the number of cores, and what it has for matrices."""
    name, flags = platform.machine(), ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            lines = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        name, flags = fields.get("model name", name), fields.get("flags", "")
    found = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags.split()]
    return f"{name}, {os.cpu_count()} cores, {' '.join(found) or 'no AVX2'}"


def compare(line: str, path: str = PATH) -> list[str]:
    """A sentence for each ratio in a benchmark's line that is below 0.8 of the one stored for this machine."""
    record = json.loads(line)
    stored = _read(path).get(machine(), {}).get(record["benchmark"], {})
    return [
        f"{record['benchmark']}: {name} is {record[name]}, and was {value}"
        for name, value in _ratios(stored).items()
        if name in record and record[name] < _NOTEWORTHY * value
    ]


def store(line: str, path: str = PATH) -> None:
    """Puts a benchmark's line into the baseline of this machine."""
    baseline, record = _read(path), json.loads(line)
    baseline.setdefault(machine(), {})[record.pop("benchmark")] = record
    with open(path, "w") as file:
        json.dump(baseline, file, indent=2)
        file.write("\n")


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
