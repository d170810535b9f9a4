"""The MAE train step: against PyTorch, and against itself at other mask ratios."""

from __future__ import annotations

import json

from benchmarks import flops
from benchmarks.sizes import SIZES
from benchmarks.turns import Measured, Side, take_turns
from keras_mae.cli import TENSORFLOW_ENVIRONMENT

_OURS, _TORCH, _MATMUL = (
    "benchmarks.our_step:our_step",
    "benchmarks.torch_step:torch_step",
    "benchmarks.our_step:matmul",
)
_PRODUCTS = {"size": 1536, "times": 8}
MASK_RATIOS = (0.0, 0.25, 0.5, 0.75, 0.9)


def against_torch(name: str = "vit_tiny", dtype: str = "float32", rounds: int = 5) -> str:
    """Images a second and peak memory of both, and the share of the machine's matmul rate that the step reaches."""
    model = {"size": name, "dtype": dtype}
    sides = {
        "ours": _ours(**model),
        "torch": Side(_TORCH, model),
        "matmul": Side(_MATMUL, {**_PRODUCTS, "dtype": dtype}),
    }
    return _record(f"mae_step_{name}_{dtype}", name, take_turns(sides, rounds))


def _ours(**arguments) -> Side:
    """Our step as the programs take it."""
    return Side(_OURS, arguments, TENSORFLOW_ENVIRONMENT)


def _record(benchmark: str, name: str, measured: dict[str, Measured]) -> str:
    ours, torch = measured["ours"], measured["torch"]
    batch = SIZES[name].batch_size
    matmul_rate = 2 * _PRODUCTS["size"] ** 3 * _PRODUCTS["times"] / measured["matmul"].seconds
    record = {
        "ours_images_per_second": round(batch / ours.seconds, 2),
        "torch_images_per_second": round(batch / torch.seconds, 2),
        "ours_peak_megabytes": round(ours.peak_bytes / 1e6),
        "torch_peak_megabytes": round(torch.peak_bytes / 1e6),
        "ours_first_step_seconds": round(ours.first_seconds, 1),
        "torch_first_step_seconds": round(torch.first_seconds, 1),
        "matmul_gflop_per_second": round(matmul_rate / 1e9, 1),
        "ratio": round(torch.seconds / ours.seconds, 2),
        "memory_ratio": round(ours.peak_bytes / torch.peak_bytes, 2),
        "share_of_matmul_rate": round(flops.by_hand(SIZES[name]) * batch / ours.seconds / matmul_rate, 2),
    }
    return json.dumps({"benchmark": benchmark, **record})


def mask_ratios(name: str = "vit_tiny", rounds: int = 5) -> str:
    """Time at each mask ratio, and with mask tokens in the encoder at 0.75, in units of the step at 0.75.

    `speed_up_share` is how much of the ratio of operations the clock sees: 1 if time were nothing but them.
    """
    sides = {f"{ratio:g}": _ours(size=name, mask_ratio=ratio) for ratio in MASK_RATIOS}
    base = sides.pop("0.75")
    sides["mask_tokens"] = _ours(size=name, mask_tokens_in_encoder=True)
    measured = against(base, sides, rounds)
    operations = flops.by_hand(SIZES[name], mask_tokens_in_encoder=True) / flops.by_hand(SIZES[name])
    record = {f"time_at_{side}": round(time, 2) for side, (time, _) in measured.items()}
    speed_up = measured["mask_tokens"][0]
    record |= {"operations_ratio": round(operations, 2), "speed_up_share": round(speed_up / operations, 2)}
    return json.dumps({"benchmark": f"mask_ratios_{name}", **record})


def memory(name: str = "vit_tiny", rounds: int = 2) -> str:
    """Peak memory and time of the graph's step in four parts, rematerialised, and both, in units of the plain one's."""
    graph = {"size": name, "jit_compile": False}
    sides = {
        "in_4_parts": _ours(**graph, accumulation_steps=4),
        "rematerialized": _ours(**graph, rematerialize=True),
        "both": _ours(**graph, accumulation_steps=4, rematerialize=True),
    }
    record: dict[str, float] = {}
    for side, (time, peak) in against(_ours(**graph), sides, rounds).items():
        record |= {f"{side}_memory_ratio": round(peak, 2), f"{side}_time_ratio": round(time, 2)}
    return json.dumps({"benchmark": f"memory_{name}", **record})


def against(base: Side, others: dict[str, Side], rounds: int) -> dict[str, tuple[float, float]]:
    """Time and peak memory of each in units of the base's; two at a time, as several may not fit into memory."""
    result = {}
    for name, side in others.items():
        measured = take_turns({"base": base, name: side}, rounds)
        one, other = measured["base"], measured[name]
        result[name] = (other.seconds / one.seconds, other.peak_bytes / one.peak_bytes)
    return result
