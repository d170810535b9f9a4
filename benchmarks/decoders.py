"""Decoders: the operations of a step by count on ViT-B, and of a small model by count and by clock.

`python -m benchmarks --only=decoders` takes the time, `python -m benchmarks.decoders` prints the counts of
docs/decoders.md.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from benchmarks import baseline, flops
from benchmarks.sizes import SIZES, Size
from benchmarks.turns import Side, take_turns
from keras_mae.cli import TENSORFLOW_ENVIRONMENT

BASE = "mae 8"
_AT_ONCE = 4  # beside it, as all of them would not fit into memory


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A decoder in the comparison.

    Attributes:
        layers: its depth.
        model: other arguments of `benchmarks.our_step.our_model`.
        num_cls_tokens: class tokens of the encoder.
    """

    layers: int
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    num_cls_tokens: int = 1

    @property
    def changes(self) -> dict[str, int]:
        """Of the fields of a `Size`."""
        return {"decoder_num_layers": self.layers, "num_cls_tokens": self.num_cls_tokens}

    def of(self, size: Size) -> tuple[Size, dict[str, Any]]:
        """The arguments of `flops.by_hand` on a size; with inter-block attention from each layer of the encoder."""
        model = dict(self.model)
        if "encoder_layers" in model:
            model["encoder_layers"] = [*range(1, size.num_layers + 1)]
        return dataclasses.replace(size, **self.changes), model


CROSS: dict[str, Any] = {"decoder": "cross"}
DECODERS = {
    BASE: Decoder(8),
    **{f"mae 8 at {ratio:g}": Decoder(8, {"predict_ratio": ratio}) for ratio in (0.5, 0.25)},
    "pixio 32": Decoder(32, num_cls_tokens=8),
    "cross 12": Decoder(12, CROSS),
    **{f"cross 12 at {ratio:g}": Decoder(12, {**CROSS, "predict_ratio": ratio}) for ratio in (0.5, 0.25)},
    "cross 12 between blocks": Decoder(12, {**CROSS, "encoder_layers": "all"}),
    "cross 8": Decoder(8, CROSS),
    **{f"cross 8 at {ratio:g}": Decoder(8, {**CROSS, "predict_ratio": ratio}) for ratio in (0.5, 0.25)},
}


def counts(name: str = "vit_base") -> Iterator[tuple[str, float, float, float]]:
    """For each decoder: gigaflops per image and step, the decoder's share of them, and the ratio to MAE's."""
    base = flops.by_hand(DECODERS[BASE].of(SIZES[name])[0])
    for decoder, found in DECODERS.items():
        size, model = found.of(SIZES[name])
        _, behind = flops.of_parts_by_hand(size, **model)
        total = flops.by_hand(size, **model)
        yield decoder, total / 1e9, behind / total, total / base


def result(name: str = "decoders", rounds: int = 15, decoders: Iterable[str] = tuple(DECODERS)) -> str:
    """Operations, time and peak memory of a step with each decoder, in units of the step with MAE's."""
    record: dict[str, Any] = {
        "machine": baseline.machine(),
        "versions": f"tensorflow {tf.__version__}, keras {keras.__version__}",
        "load_before": round(os.getloadavg()[0], 2),
    }
    others = [decoder for decoder in decoders if decoder != BASE]
    for compiled in (False, True):
        for first in range(0, len(others), _AT_ONCE):
            group = others[first : first + _AT_ONCE]
            for decoder, found in against_base(name, group, compiled, rounds).items():
                label = f"{decoder}_{'xla' if compiled else 'graph'}".replace(" ", "_")
                record |= {f"{label}_{key}": value for key, value in found.items()}
    return json.dumps({"benchmark": "decoders", **record, "load_after": round(os.getloadavg()[0], 2)})


def against_base(name: str, decoders: Sequence[str], compiled: bool, rounds: int) -> dict[str, dict[str, float]]:
    """Steps that take turns with MAE's: TensorFlow's graph with this package's kernels, or compiled by XLA.

    `speed_up_share` is how much of the ratio of operations the clock sees: 1 if time were nothing but them.
    `processor` stands for the time of all threads, in place of that on the wall.
    """
    measured = take_turns({each: side(name, each, compiled) for each in (BASE, *decoders)}, rounds)
    operations = {decoder: ratio for decoder, _, _, ratio in counts(name)}
    base = measured.pop(BASE)
    result = {}
    for decoder, other in measured.items():
        wall, processor = other.seconds / base.seconds, other.processor_seconds / base.processor_seconds
        result[decoder] = {
            "operations_ratio": round(operations[decoder], 3),
            "time_ratio": round(wall, 3),
            "processor_time_ratio": round(processor, 3),
            "speed_up_share": round(operations[decoder] / wall, 3),
            "processor_speed_up_share": round(operations[decoder] / processor, 3),
            "memory_ratio": round(other.peak_bytes / base.peak_bytes, 3),
            "milliseconds": round(1e3 * other.seconds, 1),
            "base_milliseconds": round(1e3 * base.seconds, 1),
            "peak_megabytes": round(other.peak_bytes / 1e6),
            "base_peak_megabytes": round(base.peak_bytes / 1e6),
        }
    return result


def side(name: str, decoder: str, compiled: bool) -> Side:
    """Our step with a decoder."""
    _, model = DECODERS[decoder].of(SIZES[name])
    arguments = {"size": name, "changes": DECODERS[decoder].changes, "jit_compile": compiled, **model}
    return Side("benchmarks.our_step:our_step", arguments, TENSORFLOW_ENVIRONMENT)


PUBLISHED = {
    BASE: "ViT-B, linear probe 65.1 (in arXiv 2401.14391)",
    "cross 12 between blocks": "ViT-B, linear probe 65.4; ViT-S 51.5, MAE 49.7 (arXiv 2401.14391)",
    "pixio 32": "ViT-H, linear NYUv2 90.8, MAE 70.3; ADE20K 50.2, MAE 35.2; weights distilled from a ViT-5B "
    "(arXiv 2512.15715)",
}


def rows() -> Iterator[str]:
    """The rows of the page's first table, with its head; Pixio's once more with its own image size."""
    yield "| decoder | GFLOP per image and step | share of the decoder | ratio to mae 8 | published |"
    yield "|---|---|---|---|---|"
    for decoder, gigaflops, share, ratio in counts():
        yield f"| {decoder} | {gigaflops:.1f} | {share:.0%} | {ratio:.2f} | {PUBLISHED.get(decoder, '-')} |"
    own = SIZES["pixio_base"]
    total, (_, behind) = flops.by_hand(own), flops.of_parts_by_hand(own)
    ratio = total / flops.by_hand(SIZES["vit_base"])
    yield f"| pixio 32, images of 256 px | {total / 1e9:.1f} | {behind / total:.0%} | {ratio:.2f} | as above |"


if __name__ == "__main__":
    print("\n".join(rows()))
