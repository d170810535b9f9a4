"""What must feed accelerators: processor cores, hosts and files, reckoned from rates that were measured.

    python -m benchmarks.accelerator.input_needs

prints the table of docs/accelerators.md. Two rates go in: what one processor core decodes and crops
(`python -m benchmarks --only=photo_input`), and what one accelerator trains on. Of the accelerators an NVIDIA H200 was
measured; an H100 computes as fast, and other chips are reckoned to reach the same share of their own peak.
"""

from __future__ import annotations

import dataclasses
import math

from benchmarks import flops
from benchmarks.sizes import SIZES

CORE = 582.0  # JPEGs of 500 x 375 px to random crops of 224 px, a second and core: 1,164 on two (AMD EPYC, AVX-512)
H200 = {"vit_base": 4506.0, "vit_large": 2453.0}  # images a second, bfloat16
_PEAK_OF_H200 = 989e12  # bfloat16 operations a second, NVIDIA's data sheet
_JPEG = 110e3  # bytes of an image, as in ImageNet's training set (138 GB, 1.28 million)


@dataclasses.dataclass(frozen=True)
class Machines:
    """Machines that train together.

    Attributes:
        chips: accelerators in all.
        peak: bfloat16 operations a second of a chip, by its maker.
        hosts: machines.
        cores: of each host; the clouds' virtual ones, of which two share a core, count half.
    """

    chips: int
    peak: float
    hosts: int
    cores: int


MACHINES = {
    "v5e-16": Machines(16, 197e12, 4, 56),
    "8 x H100": Machines(8, _PEAK_OF_H200, 1, 104),
}


def images_per_second(size: str, machines: Machines) -> float:
    """Of all chips, at the share of the peak that the H200 reached."""
    return machines.chips * H200[size] * machines.peak / _PEAK_OF_H200


def table() -> str:
    """A row for each pair of machines and model, in Markdown."""
    head = (
        "machines",
        "model",
        "images/s",
        "share of the peak",
        "cores that decode",
        "cores there are",
        "read, GB/s",
    )
    rows = [head, ["---"] * len(head)]
    for name, machines in MACHINES.items():
        for size, of_h200 in H200.items():
            rate = images_per_second(size, machines)
            share = of_h200 * flops.by_hand(SIZES[size]) / _PEAK_OF_H200
            cores = math.ceil(rate / CORE)
            rows.append(
                [
                    name,
                    {"vit_base": "ViT-B/16", "vit_large": "ViT-L/16"}[size],
                    f"{rate:,.0f}",
                    f"{100 * share:.0f} %",
                    str(cores),
                    str(machines.hosts * machines.cores),
                    f"{rate * _JPEG / 1e9:.1f}",
                ]
            )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    print(table())
