"""Our side of the benchmarks on an accelerator: an exported step, run by JAX."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable

import jax
import numpy as np

from benchmarks.accelerator.executable import Compiled
from benchmarks.accelerator.kernel_times import kernel_times
from benchmarks.accelerator.steps import ExportedStep


class RunningStep:
    """An exported step that is compiled and has its variables on the device.

    Args:
        folder, name: of the files that `benchmarks.accelerator.export` wrote.

    Attributes:
        results: TensorFlow's, as they were stored.
        compile_seconds: how long XLA took.
    """

    def __init__(self, folder: str, name: str) -> None:
        self.exported, hlo, self.results = ExportedStep.read(folder, name)
        begin = time.perf_counter()
        replicas = self.exported.step.replicas
        self._compiled = Compiled(hlo, replicas)
        self.compile_seconds = time.perf_counter() - begin
        self._arrays = [self._compiled.put(one.make(replicas), one.kind == "images") for one in self.exported.inputs]

    def take(self, num_steps: int) -> np.ndarray:
        """Takes steps one after the other, and waits for the last.

        Returns:
            The mean loss of all steps so far, as it was after each of these.
        """
        losses = []
        for _ in range(num_steps):
            outputs = self._compiled(self._arrays)
            losses.append(outputs[self.exported.loss])
            for number, one in enumerate(self.exported.inputs):
                if one.output is not None:
                    self._arrays[number] = outputs[one.output]
        jax.block_until_ready(self._arrays)
        return np.stack([np.asarray(loss) for loss in losses])

    def variables(self) -> dict[int, np.ndarray]:
        """The variables that the step changes, by the number of the input."""
        inputs = enumerate(self.exported.inputs)
        return {number: np.asarray(self._arrays[number]) for number, one in inputs if one.output is not None}

    def peak_bytes(self) -> int:
        """Memory that the compiled step needs: arguments, outputs that are none of them, and all between."""
        memory = self._compiled.memory()
        sizes = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
        return sizes + memory.temp_size_in_bytes

    def write_profile(self, path: str) -> None:
        """Writes the times of the kernels of one step, `PATH.kernels.json`, and the HLO that ran, `PATH.hlo.txt.gz`."""
        record = {"compile_seconds": self.compile_seconds, "kernels": kernel_times(lambda: self.take(1))}
        with open(f"{path}.kernels.json", "w") as file:
            json.dump(record, file)
        with gzip.open(f"{path}.hlo.txt.gz", "wt") as file:
            file.write(self._compiled.text())


def our_turn(folder: str, name: str, num_steps: int, profile: str | None = None) -> Callable[[], None]:
    """A turn of `num_steps` steps.

    Args:
        folder, name: see `RunningStep`.
        num_steps: in a turn.
        profile: None, or where `RunningStep.write_profile` writes to before the first turn.
    """
    step = RunningStep(folder, name)
    if profile is not None:
        step.take(2)
        step.write_profile(profile)

    def turn() -> None:
        step.take(num_steps)

    turn.peak_bytes = step.peak_bytes  # type: ignore[attr-defined]
    return turn
