"""The benchmark of compiled replicas, on two logical devices of the processor."""

import json

import pytest

from tests.base import run_python


@pytest.mark.slow
def test_compiled_replicas_against_one_device():
    """AdamW's steps to 1e-4, relative and over all weights together: it normalises the round-off of key biases."""
    flags = ["--size=toy", "--num_steps=3", "--rounds=1"]
    process = run_python("-m", "benchmarks.accelerator.replicas", *flags, CUDA_VISIBLE_DEVICES="")
    assert process.returncode == 0, process.stderr[-2000:]
    record = json.loads(process.stdout.splitlines()[-1])
    assert record["devices"] == ["CPU:0", "CPU:1"] and record["last_loss"] > 0
    for side in ("replicas", "replicas_uncompiled", "one_device_uncompiled"):
        assert record[f"{side}_losses"] < 1e-5 and 0 < record[f"{side}_weights"] < 1e-4
        assert record[f"{side}_milliseconds"] > 0 and record[f"{side}_first_seconds"] > 0
