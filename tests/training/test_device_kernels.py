"""The operations of train steps against the kernels that TensorFlow has for GPUs and TPUs, without either."""

import math

import pytest
import tensorflow as tf

from tests.device_kernels import GPU, XLA_GPU, copies_to_host, kernels_of, load_xla, nodes, outputs, without_kernel
from tests.steps import STEPS, graph_of
from tests.tpu_kernels import tpu_kernels

pytestmark = pytest.mark.medium

# Checks of given masks. A compiled step drops them, has NaN as its loss, and counts such images: `data_faults`
ASSERTIONS = {"MAE, 16 bits and masks": 1}
# TensorFlow computes with integers of 32 bits on the host: indices of patches and labels go there, and come back
INTEGERS = {
    "int32": ("AddV2", "Equal", "GreaterEqual", "Less", "Maximum", "Mul", "Neg", "Reshape", "SelectV2", "StridedSlice"),
}
_SMALL = 64  # flags, counts and the last steps: they choose a branch, or end a loop
_OF_SHAPES = {"BroadcastGradientArgs"}  # computed when XLA compiles
_FEW = 64  # counters, seeds and numbers of steps have 64 bits, for which a TPU computes with pairs of 32
# the plain step has no operation, with no dtype, that the other masked autoencoders and SimMIM have not
each_step = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "MAE" else name for name in STEPS]
)


@each_step
def test_every_operation_of_an_uncompiled_step_has_a_kernel_for_gpus(name):
    graph = graph_of(name, compiled=False)
    assert len(list(nodes(graph))) > 500
    of_assertions = {"Const(string)"} if name in ASSERTIONS else set()
    assert set(without_kernel(graph, kernels_of(GPU))) == of_assertions


@each_step
def test_an_uncompiled_step_takes_no_pixels_and_no_tokens_to_the_host(name):
    copies = copies_to_host(graph_of(name, compiled=False))
    assert copies
    large = {(dtype, reader) for (_, reader, dtype), numbers in copies.items() if numbers > _SMALL}
    assert large <= {("int32", reader) for reader in INTEGERS["int32"]}


@each_step
def test_every_operation_of_a_compiled_step_has_kernels_of_xla(name):
    load_xla()
    graph = graph_of(name, compiled=True)
    assert without_kernel(graph, kernels_of(XLA_GPU)) == {}
    assert without_kernel(graph, tpu_kernels) == {}


@each_step
def test_a_compiled_step_has_what_a_tpu_can_hold(name):
    """Shapes are static, there are no strings, and few numbers of 64 bits; what asserts is known, see `ASSERTIONS`."""
    graph = graph_of(name, compiled=True)
    assert unfit(graph) == []
    assert sum(node.op == "Assert" for _, node in nodes(graph)) == ASSERTIONS.get(name, 0)


def unfit(graph):
    """What XLA cannot compile for a TPU, or only into slow code; strings that assertions print do not count."""
    found = []
    for path, node in nodes(graph):
        for dtype, shape in outputs(node):
            where = f"{path} ({node.op})"
            if dtype == "resource" or "Assert" in path or node.op in _OF_SHAPES:
                continue
            if dtype in ("string", "variant"):
                found.append(f"{where} is a {dtype}")
            elif shape is None or None in shape:
                found.append(f"{where} has the dynamic shape {shape}")
            elif dtype in ("int64", "uint64", "double") and math.prod(shape) > _FEW:
                found.append(f"{where} has {math.prod(shape)} numbers of 64 bits")
    return found


def traced(function, *specs):
    return tf.function(function, autograph=False).get_concrete_function(*specs).graph


BYTES, IDS, NUMBERS = (
    tf.TensorSpec(*each) for each in (((4, 6, 8), tf.uint8), ((4, 3), tf.int32), ((4, 200), "float32"))
)


def in_branch(function):
    return lambda x, *more: tf.cond(tf.reduce_any(x > 0), lambda: function(x, *more), lambda: function(x + x, *more))


def in_loop(function):
    def looped(x, *more):
        return tf.while_loop(lambda n, y: n < 3, lambda n, y: (n + 1, function(x, *more)), [0, function(x, *more)])

    return looped


@pytest.mark.parametrize("inside", [lambda function: function, in_branch, in_loop, tf.function])
def test_a_gather_of_bytes_is_seen(inside):
    graph = traced(inside(lambda x, ids: tf.gather(x, ids, batch_dims=1)), BYTES, IDS)
    assert list(without_kernel(graph, kernels_of(GPU))) == ["GatherV2(int32, uint8)"]
    load_xla()
    assert without_kernel(graph, kernels_of(XLA_GPU)) == without_kernel(graph, tpu_kernels) == {}


@pytest.mark.parametrize(
    ("function", "missing"),
    [
        (lambda x: tf.numpy_function(lambda value: value, [x], tf.float32), "PyFunc(float)"),
        (lambda x: tf.strings.as_string(x), "Identity(string)"),
    ],
    ids=["Python", "strings"],
)
@pytest.mark.parametrize("inside", [lambda function: function, in_branch])
def test_what_xla_does_not_know_is_seen(function, missing, inside):
    graph = traced(inside(function), NUMBERS)
    load_xla()
    for find in (kernels_of(XLA_GPU), tpu_kernels):
        assert any(missing in each for each in without_kernel(graph, find)), without_kernel(graph, find)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: tf.strings.as_string(x), "is a string"),
        (lambda x: tf.boolean_mask(x, x > 0), "has the dynamic shape (None,)"),
        (lambda x: tf.cast(x, tf.int64), "has 800 numbers of 64 bits"),
        (lambda x: tf.cast(x, tf.float64), "has 800 numbers of 64 bits"),
    ],
    ids=["string", "dynamic shape", "int64", "float64"],
)
@pytest.mark.parametrize("inside", [lambda function: function, in_branch])
def test_what_a_tpu_cannot_hold_is_seen(function, sentence, inside):
    found = unfit(traced(inside(function), NUMBERS))
    assert any(sentence in each for each in found), found


def test_a_copy_to_the_host_is_seen():
    graph = traced(lambda x: tf.cast(x, tf.int32) >= 3, NUMBERS)
    assert copies_to_host(graph) == {("Cast", "GreaterEqual", "int32"): 800}
    assert copies_to_host(traced(lambda x, ids: tf.gather(x * 2, ids, batch_dims=1), BYTES, IDS)) == {
        ("Mul", "GatherV2", "uint8"): 4 * 6 * 8
    }
    assert copies_to_host(traced(lambda x: tf.cast(x * 2, tf.bfloat16) >= 3, NUMBERS)) == {}
