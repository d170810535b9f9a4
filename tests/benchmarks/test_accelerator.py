"""The exported train step: its inputs, its outputs, the dtypes of its products, and the files that travel.

JAX is no requirement of the tests; `python -m benchmarks.accelerator.run` compares its numbers with TensorFlow's.
"""

import re
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.accelerator.export import Exporter
from benchmarks.accelerator.steps import STEPS, ExportedStep, Input, Step
from benchmarks.sizes import SIZES

pytestmark = pytest.mark.medium
DTYPES = {"f32": "float32", "s64": "int64", "s32": "int32", "u8": "uint8"}


def exporter_of(method="mae", **settings):
    with mock.patch.dict(SIZES, one_block=replace(SIZES["toy"], num_layers=1)):
        return Exporter(Step(method, "one_block", 4, "bfloat16", **settings))


@pytest.fixture(scope="module")
def exporter():
    return exporter_of()


@pytest.fixture(scope="module")
def rematerialized():
    return exporter_of(rematerialize=True)


def shapes(text):
    """`f32[2,3]{1,0}, ...` as pairs of dtype and shape."""
    found = re.findall(r"(\w+)\[([\d,]*)\]", text)
    return [(DTYPES[dtype], tuple(map(int, filter(None, sizes.split(","))))) for dtype, sizes in found]


def test_inputs_and_outputs_are_those_of_the_hlo(exporter):
    header = exporter.text.partition("\n")[0]
    taken, returned = re.search(r"entry_computation_layout=\{\((.*)\)->\((.*)\)\}", header).groups()
    taken, returned = shapes(taken), shapes(returned)
    assert taken == [(one.dtype, one.shape) for one in exporter.inputs]
    changed = [one for one in exporter.inputs if one.output is not None]
    assert [returned[one.output] for one in changed] == [(one.dtype, one.shape) for one in changed]
    assert sorted([exporter.loss, *(one.output for one in changed)]) == list(range(len(returned)))
    assert returned[exporter.loss] == ("float32", ())


def test_what_is_learned_and_counted_changes(exporter):
    names = {one.name for one in exporter.inputs if one.output is not None}
    model = exporter.model
    learned = {variable.path for variable in model.trainable_variables}
    assert learned <= names
    assert sum(name.endswith(("_momentum", "_velocity")) for name in names) == 2 * len(learned)
    assert sum(name.endswith("/iteration") for name in names) == 1
    fixed = {variable.path for variable in model.non_trainable_variables}
    assert not [name for name in names if name in fixed and "position" in name]


def test_a_tpu_keeps_the_hidden_layers_in_bfloat16():
    """XLA's barrier keeps it from their float32."""
    exporter = exporter_of(device="tpu")
    blocks = [*exporter.model.encoder.blocks, *exporter.model.decoder.blocks]
    assert re.findall(r"= \(?(\w+)\[[^=]*\bopt-barrier\(", exporter.text) == ["bf16"] * len(blocks)
    operands = exporter.operands_of_products()
    assert len(operands) > 40 and set(operands) == {("bf16", "bf16")}


def test_a_rematerialised_block_is_computed_again_when_the_gradient_of_its_result_is_there(rematerialized):
    """Newer compilers than TensorFlow 2.21's else find both computations to be the same, or do the second one early."""
    blocks = [*rematerialized.model.encoder.blocks, *rematerialized.model.decoder.blocks]
    barriers = re.findall(r"= \((\w+\[[\d,]*\])[^ ]*, (\w+\[[\d,]*\])[^)]*\) opt-barrier\(", rematerialized.text)
    assert len(barriers) == len(blocks) and all(tokens == gradient for tokens, gradient in barriers)
    widths = sorted(int(tokens[:-1].split(",")[-1]) for tokens, _ in barriers)
    assert widths == sorted(block.hidden_dim for block in blocks)


def test_products_take_operands_of_the_policy_bfloat16(exporter):
    operands = exporter.operands_of_products()
    assert len(operands) > 40 and set(operands) == {("bf16", "bf16")}


def test_so_do_those_of_a_rematerialised_step(rematerialized):
    operands = rematerialized.operands_of_products()
    assert len(operands) > 50 and set(operands) == {("bf16", "bf16")}


def test_so_do_those_of_another_method_in_parts_on_a_replica():
    operands = exporter_of("simmim", accumulation_steps=2, replicas=4).operands_of_products()
    assert len(operands) > 20 and set(operands) == {("bf16", "bf16")}


@pytest.mark.parametrize(("dtype", "name"), [("float32", "f32"), ("bfloat16", "bf16")])
def test_a_product_is_seen_with_its_dtype(exporter, dtype, name):
    product = tf.function(lambda a, b: a @ b, jit_compile=True)
    matrix = tf.ones((4, 4), dtype)
    text = product.experimental_get_compiler_ir(matrix, matrix)(stage="hlo")
    with mock.patch.object(exporter, "text", text):
        assert exporter.operands_of_products() == [(name, name)]


def test_each_block_has_the_kernels_of_an_accelerator(exporter):
    blocks = [*exporter.model.encoder.blocks, *exporter.model.decoder.blocks]
    assert len(re.findall(r" erf\(", exporter.text)) == len(blocks)  # of the kernel's gradient; plain ones have erfc


def test_files_hold_what_was_written(exporter, tmp_path):
    exported = ExportedStep(STEPS["small_float32"], exporter.inputs, exporter.loss, {"tensorflow": "2.21"})
    exported.write(str(tmp_path), "toy", b"hlo", {"losses": np.ones(3, "float32")})
    read, hlo, results = ExportedStep.read(str(tmp_path), "toy")
    assert (read, hlo) == (exported, b"hlo")
    assert results.keys() == {"losses"}


@pytest.mark.parametrize("kind", ["images", "zeros", "gain", "noise", "value"])
def test_an_input_is_a_function_of_its_description(kind):
    dtype = "uint8" if kind == "images" else "float32"
    one = Input("encoder/kernel", (50, 40), dtype, kind, 0.5 if kind == "value" else None)
    made = one.make()
    assert made.shape == one.shape and made.dtype == dtype
    np.testing.assert_array_equal(made, one.make())
    mean = {"images": 127.5, "zeros": 0, "gain": 1, "noise": 0, "value": 0.5}[kind]
    assert abs(made.mean() - mean) <= 0.1 * made.std()
