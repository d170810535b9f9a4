"""The table of steps compiled for TPUs, in docs/accelerators.md, from what `benchmarks.accelerator.topology` wrote.

    python -m benchmarks.accelerator.table --lines=runs/compilations.jsonl

adds the lines to `compilations.json`, in which the last line for a step and a topology counts, and writes the table.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from benchmarks.accelerator.steps import COMPILED_STEPS, Step
from keras_mae.trainers import memory, recipes
from keras_mae.trainers.compiled_size import TPU
from keras_mae.trainers.settings import changed

HERE = os.path.dirname(os.path.abspath(__file__))
STORED = os.path.join(HERE, "compilations.json")
PAGE = os.path.join(HERE, "..", "..", "docs", "accelerators.md")
BEGIN, END = "<!-- benchmarks.accelerator.table writes from here -->", "<!-- to here -->"
# GiB that a program has on a device: of its name in the topologies, by Google's documentation of Cloud TPU
MEMORY = {"v4": 32.0, "v5e": 16.0, "v5p": 95.0, "v6e": 32.0}
_OF_RECIPES = ("vit_base", "vit_large", "vit_huge")
_NAMES = {"vit_tiny": "ViT-Ti/4, 32 px", "vit_base": "ViT-B/16", "vit_large": "ViT-L/16", "vit_huge": "ViT-H/14"}


def stored() -> list[dict[str, Any]]:
    """The compilations that the table shows."""
    if not os.path.exists(STORED):
        return []
    with open(STORED) as file:
        return json.load(file)


def add(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stores lines, in the order of `COMPILED_STEPS`, and returns all; an older line for the same is replaced."""
    by_key = {(one["step"], one["topology"]): one for one in [*stored(), *lines] if "error" not in one}
    order = {name: number for number, name in enumerate(COMPILED_STEPS)}
    found = sorted(by_key.values(), key=lambda one: (one["topology"], order[one["step"]]))
    with open(STORED, "w") as file:
        json.dump(found, file, indent=1)
        file.write("\n")
    return found


def estimate(step: Step) -> int | None:
    """The bytes on a device that `keras-mae pretrain` says before a run of this step; None without a recipe."""
    if step.size not in _OF_RECIPES:
        return None
    settings = [
        f"dtype_policy={'mixed_bfloat16' if step.dtype == 'bfloat16' else step.dtype}",
        f"accumulation_steps={step.accumulation_steps}",
        f"rematerialize={step.rematerialize}",
        f"batch_size={step.batch_size * step.replicas}",
    ]
    settings += ["image_size=(224,224)"] if step.method == "simmim" else []
    return memory.estimate(changed(recipes.load(f"{step.method}_{step.size}"), settings), step.replicas, TPU)


def described(step: Step) -> str:
    """A step, for people."""
    parts = [
        "SimMIM" if step.method == "simmim" else "MAE",
        _NAMES[step.size],
        f"batch {step.batch_size}",
        step.dtype,
        f"in {step.accumulation_steps} parts" if step.accumulation_steps > 1 else "",
        "rematerialised" if step.rematerialize else "",
        f"one of {step.replicas} replicas" if step.replicas > 1 else "",
    ]
    return ", ".join(filter(None, parts))


def table(lines: list[dict[str, Any]]) -> str:
    """The table in Markdown."""
    head = (
        "step on a chip",
        "chip",
        "memory, GiB",
        "estimate",
        "fits",
        "GFLOP an image",
        "MB an image",
        "code, MiB",
        "seconds",
    )
    rows = [head, ("---",) * len(head)]
    for one in lines:
        step, chip = COMPILED_STEPS[one["step"]], one["topology"].partition(":")[0]
        needed, estimated = one["total_mib"] + one["code_mib"], estimate(step)
        rows.append(
            (
                described(step),
                chip,
                f"{needed / 1024:.1f} of {MEMORY[chip]:.0f}",
                "-" if estimated is None else f"{estimated / 2**30:.1f}",
                "yes" if needed < 1024 * MEMORY[chip] else "no",
                _of_an_image(one["operations"] / 1e9, step, 1),
                _of_an_image(one["bytes_accessed"] / 1e6, step, 0),
                f"{one['code_mib']:.0f}",
                f"{one['compile_seconds']:.0f}",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _of_an_image(count: float, step: Step, digits: int) -> str:
    """A count of the compiler's for an image; none for a step in parts, as it counts what is in a loop once."""
    return "-" if step.accumulation_steps > 1 else f"{count / step.batch_size:.{digits}f}"


def write(lines: list[dict[str, Any]]) -> None:
    """Writes the table into the page, between its marks."""
    with open(PAGE) as file:
        before, _, rest = file.read().partition(BEGIN)
    _, _, after = rest.partition(END)
    with open(PAGE, "w") as file:
        file.write(f"{before}{BEGIN}\n\n{table(lines)}\n\n{END}{after}")


def main() -> None:
    """Reads the flags, stores lines and writes the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator.table", description=__doc__)
    parser.add_argument("--lines", help="a file of benchmarks.accelerator.topology, or none to write the page anew")
    arguments = parser.parse_args()
    lines = []
    if arguments.lines:
        with open(arguments.lines) as file:
            lines = [json.loads(line) for line in file if line.strip()]
    write(add(lines))


if __name__ == "__main__":
    main()
