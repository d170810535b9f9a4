"""Exported steps, compiled by JAX: TensorFlow's numbers on the processor, and what the compiler says of a TPU.

JAX runs in processes of its own: a program has either its devices or TensorFlow's.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from benchmarks.accelerator.export import Exporter
from benchmarks.accelerator.steps import COMPILED_STEPS, ExportedStep, Step
from benchmarks.sizes import SIZES
from benchmarks.turns import ROOT

pytest.importorskip("jax", reason="not installed: the extra `accelerator`")

pytestmark = pytest.mark.medium
# Each value of each setting; the others are slow
STEPS = {
    "mae_float32": Step("mae", "one_block", 4, "float32", 3, device="tpu"),
    "simmim_bfloat16_in_parts": Step("simmim", "one_block", 4, "bfloat16", 3, accumulation_steps=2),
    "rematerialized_of_4_replicas": Step(
        "mae", "one_block", 4, "float32", 3, rematerialize=True, replicas=4, device="tpu"
    ),
}
OTHERS = {
    "mae_bfloat16": Step("mae", "toy", 4, "bfloat16", 3),
    "simmim_in_parts": Step("simmim", "toy", 4, "float32", 3, accumulation_steps=2),
}
MIB = 2**20


def lines(*command, **environment):
    """The JSON lines that a module of the benchmarks prints, in a process of its own."""
    arguments = [sys.executable, "-m", *command]
    environment = {**os.environ, "PYTHONPATH": ROOT, **environment}
    answer = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]


def compiled(folder, *names):
    """What the compiler says of these steps on TPUs."""
    flags = [f"--steps={folder}", f"--only={','.join(names)}", "--topology=v5e:2x2"]
    return lines("benchmarks.accelerator.topology", *flags)


def write(folder, name, step):
    exporter = Exporter(step)
    results = exporter.results(step.num_results) if step.num_results else {}
    ExportedStep(step, exporter.inputs, exporter.loss, {}).write(str(folder), name, exporter.serialized(), results)
    return exporter


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("steps")


@pytest.fixture(scope="module")
def exporters(folder):
    """Of each step, which is in the folder, as is `mae_float32` with TensorFlow's results changed by a thousandth."""
    with mock.patch.dict(SIZES, one_block=replace(SIZES["toy"], num_layers=1)):
        exporters = {name: write(folder, name, step) for name, step in STEPS.items()}
    read, hlo, results = ExportedStep.read(str(folder), "mae_float32")
    largest = max((key for key in results if results[key].ndim), key=lambda key: np.linalg.norm(results[key]))
    wrong = {**results, "losses": results["losses"] * 1.001, largest: results[largest] * 1.001}
    read.write(str(folder), "wrong", hlo, wrong)
    return exporters


def compared(folder, names):
    """Differences of JAX's numbers from TensorFlow's, on the processor, for each step."""
    flags = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=4 {os.getenv('XLA_FLAGS', '')}",
    }
    return dict(zip(names, lines("benchmarks.accelerator.comparison", str(folder), *names, **flags), strict=True))


@pytest.fixture(scope="module")
def differences(folder, exporters):
    return compared(folder, [*exporters, "wrong"])


def check_float32(found):
    # sums in another order, of numbers with 24 bits
    assert found["losses"] < 1e-6 and found["weights"] < 1e-6 and found["moments"] < 1e-6


def check_bfloat16(found):
    # A number has 8 bits: 2^-9 is its rounding. XLA rounds fewer of those between two operations than TensorFlow's
    # kernels do; a moment is a mean of gradients and their squares, whose rounding adds up over the layers. Seen:
    # losses 7e-6 apart, weights 1.1e-4, moments 1.7e-2.
    assert found["losses"] < 1e-4 and found["weights"] < 5e-4 and found["moments"] < 0.05


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if step.dtype == "float32"])
def test_float32_is_tensorflows(differences, name):
    check_float32(differences[name])


def test_bfloat16_is_tensorflows_but_for_its_rounding(differences):
    check_bfloat16(differences["simmim_bfloat16_in_parts"])


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_so_are_other_steps(tmp_path, name):
    write(tmp_path, name, OTHERS[name])
    found = compared(tmp_path, [name])[name]
    {"float32": check_float32, "bfloat16": check_bfloat16}[OTHERS[name].dtype](found)


def test_the_comparison_sees_a_wrong_number(differences):
    found = differences["wrong"]
    assert found["losses"] > 5e-4 and max(found["weights"], found["moments"]) > 1e-5
    assert found["losses"] > 100 * differences["mae_float32"]["losses"]


def test_a_replica_compiles_for_four_chips_that_are_not_there(folder, exporters):
    pytest.importorskip("libtpu", reason="not installed: the extra `accelerator`")
    exporter = exporters["rematerialized_of_4_replicas"]
    assert exporter.text.count(" all-reduce(") >= len(exporter.model.trainable_variables)
    replica, alone = compiled(folder, "rematerialized_of_4_replicas", "mae_float32")
    held = sum(np.prod(one.shape, dtype=int) * np.dtype(one.dtype).itemsize for one in exporter.inputs)
    for found in (replica, alone):
        assert found["device"] == "TPU v5 lite"
        assert found["arguments_mib"] >= round(held / MIB, 1) > 0
        assert found["total_mib"] > found["arguments_mib"] and found["code_mib"] > 0 and found["compile_seconds"] > 0
        # multiplications and additions of one block's products alone, forward and for both gradients
        assert found["operations"] > 3 * 2 * 4 * 17 * 12 * exporter.model.decoder.hidden_dim**2
    # the compiler keeps the second computation of rematerialised blocks: a fourth pass beside three
    assert replica["operations"] > 1.15 * alone["operations"]
    # the same model otherwise, and sums over the replicas
    assert replica["bytes_accessed"] > alone["bytes_accessed"]


@pytest.mark.slow
def test_vit_tiny_for_a_v5e(tmp_path):
    pytest.importorskip("libtpu", reason="not installed: the extra `accelerator`")
    write(tmp_path, "tiny", COMPILED_STEPS["tpu_vit_tiny"])
    (found,) = compiled(tmp_path, "tiny")
    assert found["arguments_mib"] < found["total_mib"] < 1024
    assert 0 < found["code_mib"] < 200
