"""The train step that `fit` takes, in TensorFlow on a GPU, against Hugging Face's ViTMAE in PyTorch.

    python -m benchmarks --only=accelerator            # --update stores the row in benchmarks/baseline.json
    python -m benchmarks.accelerator.in_tensorflow --steps=mae_vit_base --batch_sizes=256

Each side takes the batch size at which it is fastest. Steps alternate in turns; rates are medians. Ours has the copy
of each batch of uint8 images to the device in it, PyTorch's images wait there as float32. Without a GPU a toy on the
processor shows that all of this works.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from benchmarks.accelerator.run import machine
from benchmarks.turns import Measured, Side, take_turns
from keras_mae.cli import TENSORFLOW_ENVIRONMENT

# else TensorFlow takes all of a GPU's memory at once, and PyTorch has none
_ENVIRONMENT = {**TENSORFLOW_ENVIRONMENT, "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
_WORTH = 1.03  # a larger batch is taken if it is faster by that


@dataclasses.dataclass(frozen=True)
class Model:
    """A model to train, in bfloat16 on a GPU.

    Attributes:
        method: `mae`, or `simmim`, for which PyTorch has no side.
        size: a name in `benchmarks.sizes.SIZES`.
    """

    method: str
    size: str


MODELS = {
    "mae_vit_base": Model("mae", "vit_base"),
    "mae_vit_large": Model("mae", "vit_large"),
    "simmim_vit_base": Model("simmim", "vit_base"),
    "simmim_vit_large": Model("simmim", "vit_large"),
}
BATCH_SIZES = (64, 128, 256, 512)
_TOYS = {"mae_toy": Model("mae", "toy"), "simmim_toy": Model("simmim", "toy")}


def result(names: Sequence[str] = (), batch_sizes: Sequence[int] = BATCH_SIZES, rounds: int = 5) -> str:
    """A row of the table as a JSON object: the device, versions, and for each model the rates of the sides.

    Args:
        names: in `MODELS`; none for all of them. Without a GPU it is toys that are measured.
        batch_sizes: rising; each side takes the fastest.
        rounds: timed turns of each side.
    """
    facts, on_gpu = machine(), _has_gpu()
    chosen = {name: MODELS[name] for name in names or MODELS} if on_gpu else _TOYS
    record: dict[str, Any] = {"benchmark": "accelerator", **facts}
    if not on_gpu:
        record["note"] = "TensorFlow finds no GPU here: toys on the processor show that this benchmark works"
    for name, model in chosen.items():
        record[name] = _measured(model, batch_sizes if on_gpu else (2, 4), rounds, on_gpu)
    return json.dumps(record)


def _measured(model: Model, batch_sizes: Sequence[int], rounds: int, on_gpu: bool) -> dict[str, float]:
    """Rates, memory and seconds to the first step of all sides that there are."""
    sides, sizes = {}, {}
    for side in _names(model, on_gpu):
        tuned = _tuned(model, side, batch_sizes, on_gpu)
        if tuned is not None:
            sizes[side], sides[side] = tuned, _side(model, side, tuned, on_gpu)
    record: dict[str, float] = {}
    for side, measured in take_turns(sides, rounds).items():
        record[f"{side}_batch_size"] = sizes[side]
        record |= _row(side, measured, sizes[side], _steps(on_gpu))
    for side in sides:
        if side != "ours" and "ours" in sides:
            ratio = record["ours_images_per_second"] / record[f"{side}_images_per_second"]
            record[f"ratio_to_{side}"] = round(ratio, 2)
    return record


def _row(side: str, measured: Measured, batch_size: int, num_steps: int) -> dict[str, float]:
    return {
        f"{side}_images_per_second": round(batch_size * num_steps / measured.seconds, 1),
        f"{side}_peak_megabytes": round(measured.peak_bytes / 1e6),
        f"{side}_first_steps_seconds": round(measured.first_seconds, 1),
    }


def _tuned(model: Model, side: str, batch_sizes: Sequence[int], on_gpu: bool) -> int | None:
    """The smallest batch size than which no larger one is clearly faster; None if none fits into memory."""
    best, rate = None, 0.0
    if len(batch_sizes) == 1:
        return batch_sizes[0]
    for batch_size in batch_sizes:
        try:
            measured = take_turns({side: _side(model, side, batch_size, on_gpu)}, 1)[side]
        except RuntimeError:  # it does not fit
            break
        if batch_size / measured.seconds < _WORTH * rate:
            break
        best, rate = batch_size, batch_size / measured.seconds
    return best


def _names(model: Model, on_gpu: bool) -> list[str]:
    if model.method != "mae" or not all(map(find_spec, ("torch", "transformers"))):
        return ["ours"]
    return ["ours", "torch", "torch_compiled"] if on_gpu else ["ours", "torch"]


def _side(model: Model, side: str, batch_size: int, on_gpu: bool) -> Side:
    steps = {"size": model.size, "dtype": "bfloat16" if on_gpu else "float32", "num_steps": _steps(on_gpu)}
    if side == "ours":
        ours = {**steps, "method": model.method, "changes": {"batch_size": batch_size}}
        return Side("benchmarks.our_step:our_step", ours, _ENVIRONMENT)
    theirs = {**steps, "batch_size": batch_size, "device": "cuda" if on_gpu else "cpu"}
    return Side("benchmarks.torch_step:torch_step", {**theirs, "compiled": side == "torch_compiled"})


def _steps(on_gpu: bool) -> int:
    """In a turn."""
    return 10 if on_gpu else 2


def _has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def main() -> None:
    """Reads the flags, and prints the row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator.in_tensorflow", description=__doc__)
    parser.add_argument("--steps", default=",".join(MODELS), help="names separated by commas; default: %(default)s")
    sizes = ",".join(map(str, BATCH_SIZES))
    parser.add_argument(
        "--batch_sizes", default=sizes, help="rising; each side takes the fastest; default: %(default)s"
    )
    parser.add_argument("--rounds", type=int, default=5, help="timed turns of each side; default: %(default)s")
    arguments = parser.parse_args()
    names = arguments.steps.split(",")
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        parser.error(f"there is no step {', '.join(unknown)}; there are {', '.join(MODELS)}")
    print(result(names, [*map(int, arguments.batch_sizes.split(","))], arguments.rounds))


if __name__ == "__main__":
    main()
