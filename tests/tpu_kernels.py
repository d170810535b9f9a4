"""The kernels of XLA for TPUs, as `tensorflow-tpu` registers them: `python -m tests.tpu_kernels` writes the list.

It runs where `tensorflow-tpu` is installed, on a machine with or without a TPU:

    python -m venv tpu && tpu/bin/pip install tensorflow-tpu==2.20.0 "libtpu<=0.0.47"
    TPU_SKIP_MDS_QUERY=1 tpu/bin/python -m tests.tpu_kernels

Newer versions of libtpu abort at the first operation of TensorFlow 2.20.
"""

import contextlib
import functools
import json
import os

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tpu_kernels.json")
_DEVICE = "XLA_TPU_JIT"


@functools.cache
def _stored():
    with open(PATH, encoding="utf-8") as file:
        return json.load(file)


def tpu_kernels(op):
    """The constraints of an operation's kernels for TPUs, as `tests.device_kernels.kernels_of` gives them."""
    from tensorflow.core.framework import types_pb2

    sets = _stored()["dtypes"]
    return [
        {name: [types_pb2.DataType.Value(f"DT_{each}") for each in sets[number]] for name, number in kernel.items()}
        for kernel in _stored()["kernels"].get(op, [])
    ]


def main():
    """Writes the list of this installation: each set of dtypes once, and their numbers by operation and attribute."""
    from importlib import metadata

    import tensorflow as tf
    from tensorflow.core.framework import types_pb2
    from tensorflow.python.framework import kernels as registered

    with contextlib.suppress(tf.errors.NotFoundError):  # it cannot compile for processors
        tf.function(lambda x: 2 * x, jit_compile=True)(tf.ones([2]))  # XLA registers its kernels at the first call
    sets, kernels = [], {}
    for kernel in registered.get_all_registered_kernels().kernel:
        if kernel.device_type != _DEVICE:
            continue
        constraints = {}
        for constraint in kernel.constraint:
            names = [types_pb2.DataType.Name(each)[3:] for each in sorted(constraint.allowed_values.list.type)]
            if names not in sets:
                sets.append(names)
            constraints[constraint.name] = sets.index(names)
        if constraints not in kernels.setdefault(kernel.op, []):
            kernels[kernel.op].append(constraints)
    versions = {name: metadata.version(name) for name in ("tensorflow-tpu", "libtpu")}
    lines = ",\n".join(f"    {json.dumps(op)}: {json.dumps(kernels[op])}" for op in sorted(kernels))
    listed = ",\n".join(f"    {json.dumps(each)}" for each in sets)
    with open(PATH, "w", encoding="utf-8") as file:
        file.write(
            f'{{\n  "device": "{_DEVICE}",\n  "versions": {json.dumps(versions)},\n  "dtypes": [\n{listed}\n  ],\n'
            f'  "kernels": {{\n{lines}\n  }}\n}}\n'
        )


if __name__ == "__main__":
    main()
