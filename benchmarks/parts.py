"""The benchmarks by name."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

from benchmarks.load import watched


def parts() -> tuple[dict[str, Callable[[], str]], dict[str, Callable[[], str]]]:
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


def line_of(name: str) -> str:
    """What a benchmark says, and what else the machine did."""
    short, long = parts()
    line, others = watched({**short, **long}[name])
    return json.dumps({**json.loads(line), "others_share": None if others is None else round(others, 3)})
