"""Loading costs at most twice `read()` and one copy of the file, and memory for the model and little more."""

import json

import numpy as np
import pytest

from benchmarks import checkpoint_loading
from benchmarks.checkpoint_loading import measure
from keras_mae.layers.slots import Linear
from tests.base import run_forked


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_vit_large(ending, tmp_path):
    result = measure("vit_large_patch16", ending, 3, str(tmp_path))
    assert result["file_megabytes"] > 1200
    assert result["time_ratio"] <= 2, result
    assert result["memory_ratio"] <= 2.2, result


def _forked_child(task, path, preset, layers):
    flags = [f"--task={task}", f"--path={path}", f"--preset={preset}", *layers]
    done = run_forked("-m", "benchmarks.checkpoint_loading", *flags)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.medium
def test_a_few_layers_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_loading, "_child", _forked_child)  # processes of their own, with TensorFlow imported
    # by CPU time: on a busy machine the clock of so short a measurement says little, and caches are others' too
    result = measure("vit_large_patch16", "safetensors", 1, str(tmp_path), num_layers=4)
    assert result["file_megabytes"] > 200
    assert result["cpu_ratio"] <= 2, result
    assert result["memory_ratio"] <= 2.2, result


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (16, 16), (17, 40), (1000, 33)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_fast_transposition_is_one(shape, dtype):
    matrix = np.random.default_rng(0).normal(size=shape).astype(dtype)
    np.testing.assert_array_equal(Linear().from_file(matrix), matrix.T)
    assert Linear().from_file(matrix).flags.c_contiguous
