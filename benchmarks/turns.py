"""Sides of a comparison that take turns, each in a process of its own.

The speed of a shared machine changes by the minute, so only ratios of turns that alternate mean anything; and one
library's waiting threads, or the memory that it keeps, would slow the other one in the same process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclasses.dataclass(frozen=True)
class Side:
    """What is measured.

    Attributes:
        make: `module:function`; called with `arguments`, it returns a function without any, which is one turn. If it
            has an attribute `peak_bytes`, a function, that tells the memory of the device on which it computes.
        arguments: as JSON can hold them.
        environment: variables of its process.
    """

    make: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def turn(self) -> Callable[[], None]:
        """Imports and calls `make`."""
        module, _, name = self.make.partition(":")
        return getattr(importlib.import_module(module), name)(**self.arguments)


@dataclasses.dataclass(frozen=True)
class Measured:
    """The result of a side.

    Attributes:
        seconds: median of the timed turns.
        first_seconds: from the call of `make` to the end of the first turn: building, tracing, compiling. No other
            side computes meanwhile.
        peak_bytes: resident memory at its highest during the timed turns, less what there was before `make`; or the
            memory of the device, as the side tells it.
        processor_seconds: median of the timed turns, of all threads of the side's process together: it changes less
            with what else the machine does.
    """

    seconds: float
    first_seconds: float
    peak_bytes: int
    processor_seconds: float


def take_turns(sides: Mapping[str, Side], rounds: int) -> dict[str, Measured]:
    """Times `rounds` turns of each side, alternating, after two that are not timed.

    Raises:
        RuntimeError: if a side's process fails; with the end of what it wrote.
    """
    with contextlib.ExitStack() as stack:
        players, first = {}, {}
        for name, side in sides.items():  # one at a time: compilers for accelerators choose kernels by their times
            players[name] = stack.enter_context(_Player(side))
            first[name] = players[name].answer()
        seconds: dict[str, list[float]] = {name: [] for name in players}
        of_processor: dict[str, list[float]] = {name: [] for name in players}
        for _ in range(rounds):
            for name, player in players.items():
                seconds[name].append(player.ask("turn"))
                of_processor[name].append(player.ask("processor"))
        return {
            name: Measured(
                statistics.median(seconds[name]),
                first[name],
                int(player.ask("peak")),
                statistics.median(of_processor[name]),
            )
            for name, player in players.items()
        }


class _Player:
    """A side's process, that waits for its turn."""

    def __init__(self, side: Side) -> None:
        self._side = side

    def __enter__(self) -> _Player:
        path = os.pathsep.join([ROOT, *filter(None, sys.path)])
        variables = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2", **self._side.environment}
        command = [sys.executable, "-m", "benchmarks.turns", self._side.make, json.dumps(dict(self._side.arguments))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, cwd=ROOT, env=variables, text=True, **pipes)
        return self

    def ask(self, what: str) -> float:
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> float:
        line = self._process.stdout.readline()
        if not line.startswith("="):
            raise RuntimeError(f"{self._side.make} failed: {line + self._process.stdout.read()}".strip())
        return float(line[1:])

    def __exit__(self, *exception) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()


def _resident(field: str) -> int:
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(field))


def _serve(side: Side, write: Callable[[str], object]) -> None:
    """Answers the questions on standard input, each by a line with one number."""
    importlib.import_module(side.make.partition(":")[0])
    before, begin = _resident("VmRSS"), time.perf_counter()
    turn = side.turn()
    turn()
    first = time.perf_counter() - begin
    turn()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is counted anew
    write(f"={first}\n")
    of_processor = 0.0  # of the last turn
    for line in sys.stdin:
        question = line.strip()
        if question == "turn":
            begin, begin_of_processor = time.perf_counter(), time.process_time()
            turn()
            seconds, of_processor = time.perf_counter() - begin, time.process_time() - begin_of_processor
            write(f"={seconds}\n")
        elif question == "processor":
            write(f"={of_processor}\n")
        else:
            peak = turn.peak_bytes() if hasattr(turn, "peak_bytes") else _resident("VmHWM") - before
            write(f"={peak}\n")


def _main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    sys.stdout = sys.stderr  # whatever libraries print
    try:
        _serve(Side(sys.argv[1], json.loads(sys.argv[2])), answers.write)
    except Exception as error:
        answers.write(f"{type(error).__name__}: {error}\n")
        raise


if __name__ == "__main__":
    _main()
