"""The train steps that are exported, and the inputs that both sides make for them."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import zlib
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Step:
    """A train step: forward pass, backward pass, AdamW's update.

    Attributes:
        method: `mae` or `simmim`.
        size: a name in `benchmarks.sizes.SIZES`.
        batch_size: images in a step, on each replica.
        dtype: `float32`; `tf32`, which is float32 whose matrix products may round their operands to 10 bits; or
            `bfloat16`, which is the policy mixed_bfloat16.
        num_results: after how many steps TensorFlow's results are stored, 0 for none.
        accumulation_steps: the number of parts of the batch.
        rematerialize: whether blocks compute their activations a second time.
        replicas: the number of devices that share the global batch and sum their gradients.
    """

    method: str
    size: str
    batch_size: int
    dtype: str
    num_results: int = 0
    accumulation_steps: int = 1
    rematerialize: bool = False
    replicas: int = 1


STEPS = {
    # small enough that TensorFlow's results can travel
    "small_float32": Step("mae", "small", 16, "float32", 3),
    "small_bfloat16": Step("mae", "small", 16, "bfloat16", 3),
    "small_simmim_float32": Step("simmim", "small", 16, "float32", 3),
    "small_simmim_bfloat16": Step("simmim", "small", 16, "bfloat16", 3),
    "small_accumulated_float32": Step("mae", "small", 16, "float32", 3, accumulation_steps=4),
    "vit_base_bfloat16_64": Step("mae", "vit_base", 64, "bfloat16"),
    "vit_base_bfloat16_256": Step("mae", "vit_base", 256, "bfloat16"),
    "vit_large_bfloat16_128": Step("mae", "vit_large", 128, "bfloat16"),
    "vit_base_float32_64": Step("mae", "vit_base", 64, "float32"),
    "vit_base_tf32_64": Step("mae", "vit_base", 64, "tf32"),
}
# compiled for TPUs, which need not be there: `benchmarks.accelerator.topology`
COMPILED_STEPS = {
    "small_float32_of_4_replicas": Step("mae", "small", 4, "float32", 3, replicas=4),
    "vit_tiny_bfloat16_64": Step("mae", "vit_tiny", 64, "bfloat16"),
    "vit_base_bfloat16_64": STEPS["vit_base_bfloat16_64"],
    "vit_base_bfloat16_256": STEPS["vit_base_bfloat16_256"],
    "vit_base_bfloat16_256_rematerialized": Step("mae", "vit_base", 256, "bfloat16", rematerialize=True),
    "vit_base_bfloat16_256_in_4_parts": Step("mae", "vit_base", 256, "bfloat16", accumulation_steps=4),
    "vit_base_float32_64": STEPS["vit_base_float32_64"],
    "vit_base_simmim_bfloat16_64": Step("simmim", "vit_base", 64, "bfloat16"),
    "vit_base_bfloat16_64_of_4_replicas": Step("mae", "vit_base", 64, "bfloat16", replicas=4),
    "vit_base_bfloat16_64_of_8_replicas": Step("mae", "vit_base", 64, "bfloat16", replicas=8),
    "vit_large_bfloat16_64": Step("mae", "vit_large", 64, "bfloat16"),
    "vit_large_bfloat16_256_rematerialized": Step("mae", "vit_large", 256, "bfloat16", rematerialize=True),
    "vit_huge_bfloat16_64_rematerialized": Step("mae", "vit_huge", 64, "bfloat16", rematerialize=True),
}


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of the HLO: the images, or a variable before the step.

    Attributes:
        name: the variable's path.
        shape: of the tensor.
        dtype: of the tensor, as NumPy names it.
        kind: how it is made: `images`, `zeros`, `gain` (near 1), `noise` (near 0), or `value`.
        value: the number, if the kind is `value`.
        output: which output of the HLO is the variable after the step; None if the step does not change it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    value: float | None = None
    output: int | None = None

    def make(self, replicas: int = 1) -> np.ndarray:
        """The array, which is a function of the name, shape and kind alone; images are those of all replicas."""
        random = np.random.default_rng(zlib.crc32(self.name.encode()))
        if self.kind == "images":
            return random.integers(0, 256, (replicas * self.shape[0], *self.shape[1:]), self.dtype)
        if self.kind == "value":
            return np.full(self.shape, self.value, self.dtype)
        if self.kind == "zeros":
            return np.zeros(self.shape, self.dtype)
        noise = 0.02 * random.standard_normal(self.shape, "float32")
        return (noise + float(self.kind == "gain")).astype(self.dtype)


@dataclasses.dataclass(frozen=True)
class ExportedStep:
    """A step that was exported.

    Attributes:
        step: what it is.
        inputs: in the order in which the HLO takes them.
        loss: which output of the HLO is the mean loss of the steps so far.
        versions: of the libraries that exported it.
    """

    step: Step
    inputs: tuple[Input, ...]
    loss: int
    versions: dict[str, str]

    def write(self, folder: str, name: str, hlo: bytes, results: dict[str, np.ndarray]) -> None:
        """Writes `NAME.json`, `NAME.hlo.gz` (a serialized `HloModuleProto`) and, if there are results, `NAME.npz`."""
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, name)
        with gzip.open(f"{path}.hlo.gz", "wb", compresslevel=6) as file:
            file.write(hlo)
        with open(f"{path}.json", "w") as file:
            json.dump(dataclasses.asdict(self), file, indent=1)
        if results:
            np.savez_compressed(f"{path}.npz", **results)

    @classmethod
    def read(cls, folder: str, name: str) -> tuple[ExportedStep, bytes, dict[str, np.ndarray]]:
        """The inverse of `write`: description, HLO, and TensorFlow's results by name, none if none were stored."""
        path = os.path.join(folder, name)
        with open(f"{path}.json") as file:
            fields: dict[str, Any] = json.load(file)
        with gzip.open(f"{path}.hlo.gz") as file:
            hlo = file.read()
        results = {}
        if os.path.exists(f"{path}.npz"):
            with np.load(f"{path}.npz") as arrays:
                results = dict(arrays)
        fields["inputs"] = tuple(Input(**{**one, "shape": tuple(one["shape"])}) for one in fields["inputs"])
        return cls(**{**fields, "step": Step(**fields["step"])}), hlo, results
