"""Every benchmark in its smallest form, and the stored baseline."""

import json

import pytest

from benchmarks import __main__ as program
from benchmarks import baseline, embedding, encoder_serving, mae_step, processor_kernels
from benchmarks.our_step import matmul, our_step
from benchmarks.torch_step import torch_step


@pytest.mark.medium
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_sides_take_a_step(dtype):
    our_step("toy", dtype)()
    torch_step("toy", dtype)()
    matmul(dtype, size=8, times=2)()


@pytest.mark.medium
def test_our_other_steps():
    our_step("toy", mask_tokens_in_encoder=True, accumulation_steps=2, rematerialize=True)()


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


def test_a_ratio_that_fell_is_named(tmp_path):
    path = str(tmp_path / "baseline.json")
    record = {"benchmark": "b", "ratio": 1.0, "ratio_to_x": 2.0, "memory_ratio": 0.5, "ours_images_per_second": 9.0}
    assert baseline.compare(json.dumps(record), path) == []  # nothing stored
    baseline.store(json.dumps(record), path)
    worse = {**record, "ratio": 0.79, "ratio_to_x": 1.7, "memory_ratio": 0.1, "ours_images_per_second": 1.0}
    assert baseline.compare(json.dumps(worse), path) == ["b: ratio is 0.79, and was 1.0"]


def test_the_stored_baseline_names_benchmarks_that_there_are():
    short, long = program._parts()
    known = {*short, *long}
    for machine, records in json.load(open(baseline.PATH)).items():
        assert "cores" in machine
        assert {*records} <= known


def test_an_unknown_name_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "--only=flop"])
    with pytest.raises(SystemExit, match="2"):
        program.main()
    assert "there is no benchmark flop; there are: long, flops" in capsys.readouterr().err
