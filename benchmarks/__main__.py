"""Runs the benchmarks, prints one JSON object a line, and compares ratios with the stored ones of this machine.

    python -m benchmarks --only=flops,mae_step_vit_tiny_float32
    python -m benchmarks --only=long      # also what takes many minutes: ViT-B
    python -m benchmarks --update         # stores what this run measures

Times change with the machine and its load, and ratios of sides that take turns less: these are what the baseline
holds, for each kind of machine (its cores and instructions). The exit code is 1 if a ratio fell below 0.8 of the stored
one. `others_share` is the share of the cores that other programs had meanwhile; what was measured beside much else is
not stored.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable

from benchmarks import baseline
from benchmarks.load import watched
from benchmarks.own_process import in_own_process


def _parts() -> tuple[dict[str, Callable[[], str]], dict[str, Callable[[], str]]]:
    """The benchmarks by name: those of every run, and the long ones."""
    from benchmarks import (
        decoders,
        digits_input,
        digits_step,
        encoder_serving,
        flops,
        mae_step,
        photo_input,
        processor_kernels,
        start_up,
    )
    from benchmarks.accelerator import in_tensorflow

    short: dict[str, Callable[[], str]] = {"flops": flops.result}
    long: dict[str, Callable[[], str]] = {}
    for name, parts in (("vit_tiny", short), ("vit_base", long)):
        for dtype in ("float32", "bfloat16"):
            parts[f"mae_step_{name}_{dtype}"] = functools.partial(mae_step.against_torch, name, dtype)
        for dtype in ("float32", "bfloat16", "int8"):
            for batch_size in (1, 16):
                parts[f"encoder_serving_{name}_{dtype}_batch_{batch_size}"] = functools.partial(
                    encoder_serving.result, name, batch_size, dtype
                )
        parts[f"mask_ratios_{name}"] = functools.partial(mae_step.mask_ratios, name)
        parts[f"processor_kernels_{name}"] = functools.partial(processor_kernels.result, name)
        parts[f"memory_{name}"] = functools.partial(mae_step.memory, name)
    long["decoders"] = decoders.result
    long["accelerator"] = in_tensorflow.result
    short |= {"start_up": start_up.result, "digits_step": digits_step.result, "digits_input": digits_input.result}
    short["photo_input"] = photo_input.result
    short["processor_kernels_digits"] = functools.partial(processor_kernels.result, "digits", steps=10)
    return short, long


def _line(name: str) -> str:
    """What a benchmark says, and what else the machine did."""
    short, long = _parts()
    line, others = watched({**short, **long}[name])
    return json.dumps({**json.loads(line), "others_share": None if others is None else round(others, 3)})


def main() -> int:
    """Reads the flags and runs what they name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="names separated by commas; the word long stands for all the long ones")
    parser.add_argument("--update", action="store_true", help="store the ratios of this run as the baseline")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    arguments = parser.parse_args()
    short, long = _parts()
    known = {**short, **long}
    if arguments.list:
        print("\n".join([*short, *(f"{name}  (long)" for name in long)]))
        return 0
    asked = [*short] if arguments.only is None else arguments.only.split(",")
    names = [name for word in asked for name in (long if word == "long" else [word])]
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are: long, {', '.join(known)}")
    fell = []
    for name in names:
        line = in_own_process(_line, name)
        print(line, flush=True)
        fell += baseline.compare(line)
        if arguments.update:
            print(baseline.store(line) or f"{name}: stored", file=sys.stderr)
    print("\n".join(fell), file=sys.stderr)
    return int(bool(fell))


if __name__ == "__main__":  # worker processes import this module, too
    sys.exit(main())
