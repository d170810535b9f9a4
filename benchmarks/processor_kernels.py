"""What each thing that speeds a step up on a processor buys by itself: the graph's step without it, against all."""

from __future__ import annotations

import json
from collections.abc import Callable

import keras

from benchmarks.mae_step import against
from benchmarks.our_step import our_step
from benchmarks.turns import Side
from keras_mae.cli import TENSORFLOW_ENVIRONMENT
from keras_mae.layers.kernels import GRAPH_KERNELS
from keras_mae.optimizers import AdamW

PARTS = (*GRAPH_KERNELS, "adam_in_one_pass", "onednn")


def result(name: str = "vit_tiny", steps: int = 1, rounds: int = 7) -> str:
    """Time and peak memory without each part, in units of the step with all of them: above 1.05 it is worth keeping."""
    record: dict[str, float] = {}
    base = _side(name, steps)
    for part, (time, peak) in against(base, {part: _side(name, steps, part) for part in PARTS}, rounds).items():
        record |= {f"without_{part}_time_ratio": round(time, 3), f"without_{part}_memory_ratio": round(peak, 3)}
    return json.dumps({"benchmark": f"processor_kernels_{name}", **record})


def _side(name: str, steps: int, without: str = "") -> Side:
    environment = TENSORFLOW_ENVIRONMENT | ({"TF_ENABLE_ONEDNN_OPTS": "0"} if without == "onednn" else {})
    return Side("benchmarks.processor_kernels:turn", {"name": name, "steps": steps, "without": without}, environment)


def turn(name: str, steps: int, without: str = "") -> Callable[[], None]:
    """`steps` steps of the graph, without one of `PARTS`; it changes its process for good."""
    GRAPH_KERNELS.pop(without, None)
    if without == "adam_in_one_pass":
        AdamW.adam_in_one_pass = lambda self, gradient, variable, learning_rate, index: (
            keras.optimizers.Adam.update_step(self, gradient, variable, learning_rate)
        )
    step = our_step(name, jit_compile=False)

    def take_steps() -> None:
        for _ in range(steps):
            step()

    return take_steps
