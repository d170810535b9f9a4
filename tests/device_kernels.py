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


def nodes(graph, enters=lambda node: True):
    """`(path, NodeDef)` of every node of a `tf.Graph`, and of those in the functions of nodes that `enters` takes."""
    definition = graph.as_graph_def(add_shapes=True)
    functions = {function.signature.name: function for function in definition.library.function}
    waiting, seen = [("", definition.node)], set()
    while waiting:
        path, here = waiting.pop()
        for node in here:
            yield path + node.name, node
            for name in _called(node):
                if name in functions and name not in seen and enters(node):
                    seen.add(name)
                    waiting.append((f"{path}{node.name}/", functions[name].node_def))


def _called(node):
    """The names of the functions in a node's attributes."""
    yield node.op
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)


def without_kernel(graph, find):
    """`{operation with its dtypes: path of the first}` of the nodes for which `find(op)` has no fitting kernel.

    The functions of such an operation, such as the map of a data set, run where it does.
    """

    def has_kernel(node):
        return node.op in _ARGUMENTS or any(fits(node, constraints) for constraints in find(node.op))

    missing = {}
    for path, node in nodes(graph, has_kernel):
        if not has_kernel(node):
            missing.setdefault(f"{node.op}({', '.join(dtypes(node))})", path)
    return missing


def kernels_of(device):
    """A function from an operation's name to the constraints of its kernels: `[{attribute: [allowed dtypes]}]`."""

    @functools.cache
    def find(op):
        return [
            {constraint.name: list(constraint.allowed_values.list.type) for constraint in kernel.constraint}
            for kernel in _registered(op)
            if kernel.device_type in device
        ]

    return find


def fits(node, constraints):
    """Whether a node's dtypes are those of a kernel."""
    return all(set(_types(node, name)) <= set(allowed) for name, allowed in constraints.items())


def _types(node, name):
    """The dtypes in an attribute; a node leaves out what is the default."""
    attribute = next(each for each in op_def_registry.get(node.op).attr if each.name == name)
    value = node.attr[name] if name in node.attr else attribute.default_value
    return list(value.list.type) if attribute.type.startswith("list(") else [value.type]


def dtypes(node):
    """The names of a node's dtypes."""
    found = [
        each for name, value in node.attr.items() if name != "_output_shapes" for each in (value.type, *value.list.type)
    ]
    return sorted({types_pb2.DataType.Name(each)[3:].lower() for each in found if each})


@functools.cache
def _registered(op):
    return registered.get_registered_kernels_for_op(op).kernel


@functools.cache
def load_xla():
    """Registers the kernels of XLA, which TensorFlow does at the first compiled call."""
    tf.function(lambda x: 2 * x, jit_compile=True)(tf.ones([2]))
    _registered.cache_clear()


def copies_to_host(graph):
    """`{(operation that makes it, operation that reads it, dtype): numbers}` of tensors that leave a GPU's memory.

    An operation waits for them on the host: its kernel wants an argument there, or there is no kernel for GPUs. The
    inputs and outputs of functions and branches count as being where they are wanted.
    """
    found = {}
    definition = graph.as_graph_def(add_shapes=True)
    for body in (definition.node, *(function.node_def for function in definition.library.function)):
        by_name = {node.name: node for node in body}
        for node in body:
            for name, wanted in zip(_inputs(node), _memory(node, inputs=True), strict=True):
                producer, index = _producer(name, by_name)
                if wanted == "device" or producer is None or producer.op in ("Const", *_ARGUMENTS) or _calls(producer):
                    continue
                if _memory(producer, inputs=False)[index] == "device":
                    dtype, shape = list(outputs(producer))[index]
                    count = float("inf") if shape is None or None in shape else math.prod(shape)
                    key = (producer.op, node.op, dtype)
                    found[key] = max(found.get(key, 0), count)
    return found


def outputs(node):
    """`(dtype, shape)` of each output of a node; None for a dimension, or a shape, that is not static."""
    kinds = [types_pb2.DataType.Name(kind)[3:].lower() for _, kind in _arguments(node, inputs=False)]
    for kind, shape in zip(kinds, node.attr["_output_shapes"].list.shape, strict=True):
        sizes = [None if dim.size < 0 else dim.size for dim in shape.dim]
        yield kind, None if shape.unknown_rank else tuple(sizes)


def _calls(node):
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
        for kernel in _registered(node.op)
        if kernel.device_type in GPU
        and fits(node, {c.name: list(c.allowed_values.list.type) for c in kernel.constraint})
    ]
    on_host = (types_pb2.DT_RESOURCE, types_pb2.DT_STRING, types_pb2.DT_VARIANT)
    return [
        "host" if not fitting or kind in on_host or name in fitting[0].host_memory_arg else "device"
        for name, kind in _arguments(node, inputs)
    ]
