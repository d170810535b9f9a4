"""The operations of train steps against the kernels that TensorFlow has for GPUs and TPUs, without either."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from tests.device_kernels import GPU, XLA_GPU, copies_to_host, kernels_of, load_xla, nodes, without_kernel
from tests.steps import STEPS, graph_of
from tests.tpu_kernels import PATH, tpu_kernels

pytestmark = pytest.mark.medium

# Numbers of 64 bits: counters, seeds and numbers of steps. A TPU computes with pairs of 32 bits in their place.
_FEW = 64
# In the memory of the host: flags and counts of a step, which choose a branch or end a loop
_SMALL = 16


def traced(function, *specs):
    return tf.function(function, autograph=False).get_concrete_function(*map(tf.TensorSpec, *zip(*specs))).graph


@pytest.mark.parametrize("name", STEPS)
def test_every_operation_of_an_uncompiled_step_has_a_kernel_for_gpus(name):
    graph = graph_of(name, compiled=False)
    assert len(list(nodes(graph))) > 500
    assert without_kernel(graph, kernels_of(GPU)) == {}


@pytest.mark.parametrize("name", STEPS)
def test_an_uncompiled_step_takes_nothing_large_to_the_host(name):
    copies = copies_to_host(graph_of(name, compiled=False))
    assert not {pair: numbers for pair, numbers in copies.items() if numbers > _SMALL}


@pytest.mark.parametrize("name", STEPS)
def test_every_operation_of_a_compiled_step_has_kernels_of_xla(name):
    load_xla()
    graph = graph_of(name, compiled=True)
    assert without_kernel(graph, kernels_of(XLA_GPU)) == {}
    assert without_kernel(graph, tpu_kernels) == {}


@pytest.mark.parametrize("name", STEPS)
def test_a_compiled_step_has_static_shapes_and_no_strings(name):
    assert unfit(graph_of(name, compiled=True)) == []


def unfit(graph):
    """The tensors in a graph that an accelerator cannot hold, or only with pains."""
    found = []
    for path, node in nodes(graph):
        ends_the_run = node.op == "Assert" or path.split("/")[-2:][0] == "Assert"
        for shape in node.attr["_output_shapes"].list.shape:
            if shape.unknown_rank or any(dim.size < 0 for dim in shape.dim):
                found.append(f"{path} ({node.op}) has a dynamic shape")
    return found
