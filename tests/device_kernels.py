"""Which operations of a graph have kernels for a device: TensorFlow's wheel lists them without the device."""

import functools
import math

import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import kernels as registered
from tensorflow.python.framework import op_def_registry

GPU = ("GPU", "DEFAULT")  # kernels of the device DEFAULT are those of every device
XLA_GPU = ("XLA_GPU_JIT",)
_ARGUMENTS = {"Placeholder"}  # of a function, which does not compute them


def nodes(graph):
    """`(path, NodeDef)` of every node of a `tf.Graph`, those in the functions that it calls included."""
    definition = graph.as_graph_def(add_shapes=True)
    functions = {function.signature.name: function for function in definition.library.function}
    waiting, seen = [("", definition.node)], set()
    while waiting:
        path, here = waiting.pop()
        for node in here:
            yield path + node.name, node
            for name in _called(node):
                if name in functions and name not in seen:
                    seen.add(name)
                    waiting.append((f"{path}{node.name}/", functions[name].node_def))


def _called(node):
    """The names of the functions in a node's attributes."""
    yield node.op
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)


def without_kernel(graph, find):
    """`{operation with its dtypes: path of the first}` of the nodes for which `find(op)` has no fitting kernel."""
    missing = {}
    for path, node in nodes(graph):
        if node.op not in _ARGUMENTS and not any(fits(node, constraints) for constraints in find(node.op)):
            missing.setdefault(f"{node.op}({', '.join(dtypes(node))})", path)
    return missing


def kernels_of(device):
    """A function from an operation's name to the constraints of its kernels: `[{attribute: [allowed dtypes]}]`."""

    @functools.cache
    def find(op):
        return [
            {constraint.name: list(constraint.allowed_values.list.type) for constraint in kernel.constraint}
            for kernel in registered.get_registered_kernels_for_op(op).kernel
            if kernel.device_type in device
        ]

    return find


def fits(node, constraints):
    """Whether a node's dtypes are those of a kernel."""
    return all(set(_types(node, name)) <= set(allowed) for name, allowed in constraints.items())


def _types(node, name):
    """The dtypes in an attribute; a node leaves out what is the default."""
    value = node.attr.get(name)
    if value is None:
        attributes = op_def_registry.get(node.op).attr
        value = next(each.default_value for each in attributes if each.name == name)
    return list(value.list.type) or [value.type]


def dtypes(node):
    """The names of a node's dtypes."""
    found = [
        each for name, value in node.attr.items() if name != "_output_shapes" for each in (value.type, *value.list.type)
    ]
    return sorted({types_pb2.DataType.Name(each)[3:].lower() for each in found if each})


def load_xla():
    """Registers the kernels of XLA, which TensorFlow does at the first compiled call."""
    tf.function(lambda x: 2 * x, jit_compile=True)(tf.ones([2]))


def copies_to_host(graph):
    """`{(operation that makes it, operation that reads it): numbers}` of tensors that leave the memory of a GPU.

    An operation waits for them on the host: its kernel wants an argument there, or there is no kernel for GPUs. The
    inputs and outputs of functions and branches count as being where they are wanted.
    """
    found = {}
    definition = graph.as_graph_def(add_shapes=True)
    for body in (definition.node, *(function.node_def for function in definition.library.function)):
        by_name = {node.name: node for node in body}
        for node in body:
            for name, wanted in zip(_inputs(node), _memory(node, inputs=True), strict=False):
                producer, index = _producer(name, by_name)
                if (
                    producer is None
                    or wanted != "host"
                    or producer.op in ("Const", *_ARGUMENTS)
                    or _called_in(producer)
                ):
                    continue
                if _memory(producer, inputs=False)[index] == "device":
                    shape = producer.attr["_output_shapes"].list.shape[index]
                    sizes = [dim.size for dim in shape.dim]
                    count = None if shape.unknown_rank or -1 in sizes else math.prod(sizes)
                    key = (producer.op, node.op)
                    found[key] = max(found.get(key, 0), count) if count is not None else float("inf")
    return found


def _called_in(node):
    return any(value.func.name for value in node.attr.values())


def _inputs(node):
    return [name for name in node.input if not name.startswith("^")]


def _producer(name, by_name):
    """The node that makes an input, and the index of its output; None for an argument of the function."""
    name, *place = name.split(":")
    node = by_name.get(name)
    if node is None or not place:
        return node, 0
    if len(place) == 1:
        return node, int(place[0])
    names = [each for each, _ in _arguments(node, inputs=False)]
    return node, names.index(place[0]) + int(place[1])


def _arguments(node, inputs):
    """`(name, dtype)` of each input or output; a list of several tensors has its name several times."""
    definition = op_def_registry.get(node.op)
    for each in definition.input_arg if inputs else definition.output_arg:
        if each.type_list_attr:
            yield from ((each.name, kind) for kind in node.attr[each.type_list_attr].list.type)
        else:
            kind = each.type or _types(node, each.type_attr)[0]
            yield from [(each.name, kind)] * (node.attr[each.number_attr].i if each.number_attr else 1)


def _memory(node, inputs):
    """Where the kernel for GPUs has each input or output: "host" or "device"."""
    fitting = [
        kernel
        for kernel in registered.get_registered_kernels_for_op(node.op).kernel
        if kernel.device_type in GPU
        and fits(node, {c.name: list(c.allowed_values.list.type) for c in kernel.constraint})
    ]
    on_host = (types_pb2.DT_RESOURCE, types_pb2.DT_STRING, types_pb2.DT_VARIANT)
    return [
        "host" if not fitting or kind in on_host or name in fitting[0].host_memory_arg else "device"
        for name, kind in _arguments(node, inputs)
    ]
