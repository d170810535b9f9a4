"""Every benchmark in its smallest form, and the stored baseline."""

import json
import os
import subprocess
import sys
import time
import types

import pytest
import tensorflow as tf

from benchmarks import __main__ as program
from benchmarks import baseline, embedding, encoder_serving, load, mae_step, parts, processor_kernels
from benchmarks.our_step import matmul, our_step
from benchmarks.torch_step import torch_step
from tests.base import run_python
from tests.benchmarks import sides

ONE_LAYER = {"num_layers": 1}


@pytest.mark.medium
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_both_sides_take_a_step(dtype):
    our_step("toy", dtype, changes=ONE_LAYER)()
    torch_step("toy", dtype)()
    matmul(dtype, size=8, times=2)()


@pytest.mark.medium
def test_our_other_steps():
    several = {"mask_tokens_in_encoder": True, "accumulation_steps": 2, "rematerialize": True}
    our_step("toy", jit_compile=False, changes=ONE_LAYER, **several)()


@pytest.mark.slow
def test_step_against_torch():
    record = json.loads(mae_step.against_torch("toy", rounds=1))
    assert record["benchmark"] == "mae_step_toy_float32"
    assert record["ratio"] > 0 and record["ours_peak_megabytes"] > 0


@pytest.mark.slow
def test_step_without_a_kernel(monkeypatch):
    monkeypatch.setattr(processor_kernels, "PARTS", ("adam_in_one_pass",))
    record = json.loads(processor_kernels.result("toy", rounds=1))
    assert record["benchmark"] == "processor_kernels_toy"
    assert record["without_adam_in_one_pass_time_ratio"] > 0 and record["without_adam_in_one_pass_memory_ratio"] > 0


@pytest.mark.slow
def test_serving_sides(tmp_path):
    encoder_serving.export("toy", "float32", str(tmp_path))
    model = {"name": "toy", "batch_size": 2, "dtype": "float32"}
    encoder_serving.torch_model(**model)()
    for make in (encoder_serving.saved_model, encoder_serving.onnx_runtime):
        make(**model, folder=str(tmp_path))()


@pytest.mark.slow
def test_serving_sides_in_8_bits(tmp_path):
    encoder_serving.export("toy", "int8", str(tmp_path))
    for dtype in ("int8", "float32"):
        for make in (encoder_serving.saved_model, encoder_serving.our_openvino):
            make("toy", 2, dtype, str(tmp_path))()


@pytest.mark.slow
def test_embedding_against_the_bare_encoder():
    record = json.loads(embedding.result("vit_tiny_patch16", batch_size=4, batches=1, rounds=1))
    assert record["benchmark"] == "embedding_vit_tiny_patch16_batch_4" and record["embed_over_bare"] > 0


RECORD = {"benchmark": "b", "ratio": 1.0, "ratio_to_x": 2.0, "memory_ratio": 0.5, "ours_images_per_second": 9.0}


def test_a_ratio_that_fell_is_named(tmp_path):
    path = str(tmp_path / "baseline.json")
    assert baseline.compare(json.dumps(RECORD), path) == []  # nothing stored
    assert baseline.store(json.dumps({**RECORD, "others_share": 0.02}), path) == ""
    worse = {**RECORD, "ratio": 0.79, "ratio_to_x": 1.7, "memory_ratio": 0.1, "ours_images_per_second": 1.0}
    assert baseline.compare(json.dumps(worse), path) == ["b: ratio is 0.79, and was 1.0"]
    ((kind, rows),) = json.load(open(path)).items()
    assert kind == baseline.machine() and {"processor", "versions", "others_share"} <= {*rows["b"]}
    assert f"tensorflow {tf.__version__}" in rows["b"]["versions"]


@pytest.mark.parametrize(("others", "why"), [(0.11, "others had 11% of the cores"), (None, "does not tell")])
def test_what_was_measured_beside_others_is_not_stored(tmp_path, others, why):
    path = tmp_path / "baseline.json"
    assert why in baseline.store(json.dumps({**RECORD, "others_share": others}), str(path))
    assert not path.exists()


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        ("sse avx2", "avx2"),
        ("avx2 avx512f avx512_bf16 avx512_vnni", "avx2 avx512f avx512_vnni avx512_bf16"),
        ("avx2 avx512f amx_bf16 amx_int8", "avx2 avx512f amx_bf16 amx_int8"),
        ("sse", "no AVX2"),
    ],
)
def test_a_kind_of_machine_is_its_instructions(monkeypatch, flags, kind):
    monkeypatch.setattr(baseline, "_processor", lambda: {"flags": flags, "model name": "any"})
    assert baseline.machine().endswith(f" cores, {kind}") and "any" not in baseline.machine()


def busy(seconds):
    """A process of its own that computes for so long."""
    code = f"import time\nwhile time.process_time() < {seconds}: pass"
    return subprocess.Popen([sys.executable, "-c", code])


def test_the_share_of_others_is_seen_and_ones_own_is_not():
    """A process that goes on is another's; one that has ended is the benchmark's own."""
    other = busy(60)
    try:
        before = load._own_seconds()
        _, share = load.watched(lambda: time.sleep(1))
        assert load._own_seconds() - before < 0.5
        busy(0.5).wait()
        assert load._own_seconds() - before > 0.4
    finally:
        other.kill()
        other.wait()
    assert share > 0.5 / os.cpu_count()  # a machine that does other things gives it less than a core


def test_the_share_is_what_is_left_of_all_cores(monkeypatch):
    busy, own = iter([100.0, 103.0]), iter([7.0, 8.0])
    monkeypatch.setattr(load, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(load, "_own_seconds", lambda: next(own))
    monkeypatch.setattr(load, "time", types.SimpleNamespace(perf_counter=iter([0.0, 2.0]).__next__))
    monkeypatch.setattr(load.os, "cpu_count", lambda: 2)
    assert load.watched(lambda: "result") == ("result", 0.5)


def test_the_stored_baseline_names_benchmarks_that_there_are():
    short, long = parts.parts()
    known = {*short, *long}
    for machine, records in json.load(open(baseline.PATH)).items():
        assert "cores" in machine
        assert {*records} <= known


def test_an_unknown_name_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "--only=flop"])
    with pytest.raises(SystemExit, match="2"):
        program.main()
    assert "there is no benchmark flop; there are: long, flops" in capsys.readouterr().err


def test_the_program_runs_a_part_in_a_process_of_its_own(monkeypatch, capsys):
    """What it builds is gone then."""
    monkeypatch.setattr("sys.argv", ["benchmarks", "--only=flops"])
    monkeypatch.setattr(program, "line_of", sides.line_of)
    assert program.main() == 0
    line = json.loads(capsys.readouterr().out)
    assert line["benchmark"] == "flops" and line["process"] != os.getpid()


def test_the_line_says_what_others_did(monkeypatch):
    monkeypatch.setattr(parts, "parts", lambda: ({}, {"toy": lambda: json.dumps({"benchmark": "toy", "ratio": 2})}))
    line = json.loads(parts.line_of("toy"))
    assert (line["benchmark"], line["ratio"]) == ("toy", 2) and 0 <= line["others_share"] <= 1


@pytest.mark.slow
def test_the_whole_way_of_a_part():
    process = run_python("-m", "benchmarks", "--only=flops")
    assert process.returncode == 0, process.stderr[-2000:]
    (line,) = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
    assert line["benchmark"] == "flops" and 0 <= line["others_share"] <= 1
