"""What else a machine did while something was measured on it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_OF_A_CORE = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
QUIET = 0.1  # of the cores: what other programs, and other machines on the same processor, may take of them


def watched(function: Callable[[], T]) -> tuple[T, float | None]:
    """Calls a function, and says which share of the cores others had meanwhile.

    Others are all processes but this one and its children that have ended by then, and all other machines that the
    processor serves (`steal`).

    Returns:
        The function's result, and the share in [0, 1]; None if the system does not tell.
    """
    begin, before, own_before = time.perf_counter(), _busy_seconds(), _own_seconds()
    result = function()
    seconds = (time.perf_counter() - begin) * (os.cpu_count() or 1)
    after = _busy_seconds()
    if before is None or after is None:
        return result, None
    return result, max(0.0, after - before - (_own_seconds() - own_before)) / seconds


def _busy_seconds() -> float | None:
    """Of all cores together, since the machine started."""
    try:
        with open("/proc/stat") as file:
            fields = file.readline().split()[1:]
    except OSError:
        return None
    of_all = dict(zip(_OF_A_CORE, map(int, fields)))
    ticks = sum(count for name, count in of_all.items() if name not in ("idle", "iowait"))
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
