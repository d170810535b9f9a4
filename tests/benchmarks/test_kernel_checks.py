"""The checks of kernels on a GPU, without one: they run, and say so."""

import json

import pytest

from tests.base import run_python


@pytest.mark.slow
def test_without_a_gpu_every_part_runs_and_none_is_on_one():
    process = run_python("-m", "benchmarks.accelerator.kernel_checks", "--only=placement,gathered,failing_compiler")
    assert process.returncode == 0, process.stdout + process.stderr
    placement, gathered, failing = (json.loads(line) for line in process.stdout.splitlines())
    assert placement["on_gpu"] == 0 and "without a GPU" in placement["on_host"]
    assert gathered["device"] == "CPU:0" and gathered["all_equal"] and len(gathered["equal"]) == 24
    assert failing["compiled"] and failing["said"][0].startswith("compiling the step with XLA")
