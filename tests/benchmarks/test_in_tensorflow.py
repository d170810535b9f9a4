"""The benchmark of the train step in TensorFlow on a GPU: its toy on a processor, and how it tunes a batch size."""

import dataclasses
import json
import time
from pathlib import Path

import pytest

from benchmarks.accelerator import in_tensorflow, input_needs
from benchmarks.sizes import SIZES
from benchmarks.turns import Measured


def turns_here(sides, rounds):
    """`take_turns` in this process: `test_turns.py` has those of their own."""
    measured = {}
    for name, side in sides.items():
        begin = time.perf_counter()
        turn = side.turn()
        turn()
        built = time.perf_counter()
        turn()
        measured[name] = Measured(time.perf_counter() - built, built - begin, 1, 1.0)
    return measured


@pytest.mark.medium
def test_without_a_gpu_a_toy_is_measured_and_the_row_says_so(monkeypatch):
    monkeypatch.setattr(in_tensorflow, "take_turns", turns_here)
    monkeypatch.setitem(SIZES, "toy", dataclasses.replace(SIZES["toy"], num_layers=1))
    monkeypatch.setattr(in_tensorflow, "_TOYS", {"simmim_toy": in_tensorflow.Model("simmim", "toy")})
    monkeypatch.setattr(in_tensorflow, "_tuned", lambda *_: 2)
    record = json.loads(in_tensorflow.result(rounds=1))
    assert "finds no GPU" in record["note"] and record["tensorflow"] != "not installed"
    row = record["simmim_toy"]
    assert row["ours_batch_size"] == 2 and row["ours_images_per_second"] > 0
    assert row["ours_first_steps_seconds"] > 2 * 2 / row["ours_images_per_second"]  # it has building and tracing in it


def of_rates(rates):
    """`take_turns` on a device where so many images a second fit, by the batch size; others do not fit."""

    def take_turns(sides, rounds):
        ((name, side),) = sides.items()
        batch_size = side.arguments.get("batch_size") or side.arguments["changes"]["batch_size"]
        if batch_size not in rates:
            raise RuntimeError("out of memory")
        return {name: Measured(batch_size / rates[batch_size], 1.0, 1, 1.0)}

    return take_turns


@pytest.mark.parametrize(
    ("rates", "tuned"),
    [
        ({64: 100, 128: 150, 256: 200}, 256),  # 512 does not fit
        ({64: 100, 128: 150, 256: 152, 512: 400}, 128),  # no larger one is tried after one that gains little
        ({64: 100, 128: 90}, 64),
        ({}, None),
    ],
)
@pytest.mark.parametrize("side", ["ours", "torch"])
def test_a_batch_size_is_the_smallest_of_the_fastest(monkeypatch, rates, tuned, side):
    monkeypatch.setattr(in_tensorflow, "take_turns", of_rates(rates))
    model = in_tensorflow.MODELS["mae_vit_base"]
    assert in_tensorflow._tuned(model, side, in_tensorflow.BATCH_SIZES, on_gpu=True) == tuned


def test_a_ratio_is_ours_over_theirs(monkeypatch):
    monkeypatch.setattr(in_tensorflow, "_names", lambda *_: ["ours", "torch"])
    monkeypatch.setattr(in_tensorflow, "_tuned", lambda model, side, *_: {"ours": 64, "torch": 32}[side])
    measured = {"ours": Measured(1.0, 9.0, 2_000_000, 1.0), "torch": Measured(2.0, 9.0, 1_000_000, 1.0)}
    monkeypatch.setattr(in_tensorflow, "take_turns", lambda sides, rounds: measured)
    row = in_tensorflow._measured(in_tensorflow.MODELS["mae_vit_base"], (32, 64), 1, on_gpu=True)
    assert (row["ours_images_per_second"], row["torch_images_per_second"], row["ratio_to_torch"]) == (640, 160, 4)
    assert (row["ours_peak_megabytes"], row["torch_peak_megabytes"]) == (2, 1)


def test_what_feeds_accelerators_is_the_product_of_the_rates():
    of_h100 = input_needs.images_per_second("vit_base", input_needs.MACHINES["8 x H100"])
    assert of_h100 == 8 * input_needs.H200["vit_base"]  # an H100 computes as fast as the H200 that was measured
    page = Path(__file__).parents[2] / "docs" / "accelerators.md"
    assert input_needs.table() in page.read_text(encoding="utf-8")
    cells = [row.split(" | ") for row in input_needs.table().splitlines()]
    (row,) = (cell for cell in cells if cell[:2] == ["| 8 x H100", "ViT-B/16"])
    assert float(row[2].replace(",", "")) == of_h100
    assert (int(row[4]) - 1) * input_needs.CORE < of_h100 <= int(row[4]) * input_needs.CORE
