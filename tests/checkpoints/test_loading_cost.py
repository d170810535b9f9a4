"""Loading costs at most twice `read()` and one copy of the file, and memory for the model and little more."""

import numpy as np
import pytest

from benchmarks.checkpoint_loading import measure
from keras_mae.layers.slots import Linear


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_vit_large(ending, tmp_path):
    result = measure("vit_large_patch16", ending, 3, str(tmp_path))
    assert result["file_megabytes"] > 1200
    assert result["time_ratio"] <= 2, result
    assert result["memory_ratio"] <= 2.2, result


@pytest.mark.medium
def test_a_few_layers_of_it(tmp_path):
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
