"""What the time of a step and of a served batch goes into, by kind of operation, on a processor.

    python -m benchmarks.operations [SIZE]

TensorFlow's profiler says how long each operation took on the thread that ran it. Two operations may run at once, so
that shares are of the sum of these times.
"""

from __future__ import annotations

import argparse
import collections
import glob
import os
import tempfile
from collections.abc import Callable, Iterable

from benchmarks.own_process import in_own_process
from keras_mae.cli import TENSORFLOW_ENVIRONMENT

DTYPES = ("float32", "bfloat16")
# By the beginning of an operation's name; oneDNN's kernels have names of their own.
KINDS = {
    "products with weights": ("_MklMatMul", "MatMul", "_MklNativeFusedMatMul", "_FusedMatMul"),
    "products of attention": ("_MklBatchMatMul", "BatchMatMul"),
    "changes of dtype": ("Cast",),
    "softmax": ("_MklSoftmax", "Softmax"),
    "changes of layout": ("_MklTranspose", "Transpose", "Concat", "Split", "Slice", "Pack", "Unpack", "StridedSlice"),
    "AdamW's update": ("ResourceApplyAdam", "L2Loss", "AssignSub"),
}
REST = "LayerNorm, and the rest"
# the executor itself, and waiting for XLA's clusters, whose operations are counted by themselves
_NO_WORK = ("Run", "Done", "Start", "Process", "BlockUntilReady", "Execute", "ParallelFor", "FunctionRun", "Memory",
            "EagerExecute", "EagerKernelExecute", "TFE_", "signature_wrapper", "multi_step", "Record", "StartRegion",
            "StopRegion", "__")  # fmt: skip


def milliseconds(turn: Callable[[], None], turns: int = 3) -> dict[str, float]:
    """How long the operations of each kind take in a turn: the time of the thread that ran them."""
    import tensorflow as tf

    for _ in range(2):
        turn()
    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder, options=options):
            for _ in range(turns):
                turn()
        files = glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)
        total: collections.Counter[str] = collections.Counter()
        for name, picoseconds in _own_times(files):
            if not name.startswith(_NO_WORK):
                total[kind_of(name)] += picoseconds
    return {kind: total[kind] / 1e9 / turns for kind in (*KINDS, REST)}


def kind_of(operation: str) -> str:
    """The kind of an operation of this name."""
    return next((kind for kind, names in KINDS.items() if operation.startswith(names)), REST)


def _own_times(files: Iterable[str]) -> Iterable[tuple[str, int]]:
    """The name of each event and its picoseconds, less those of events inside it."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    for file in files:
        space = xplane_pb2.XSpace()
        with open(file, "rb") as stream:
            space.ParseFromString(stream.read())
        for plane in (plane for plane in space.planes if "CPU" in plane.name):
            names = {key: value.name.split(":")[-1].split("#")[0] for key, value in plane.event_metadata.items()}
            for line in plane.lines:
                open_events: list[tuple[int, str]] = []  # ends and names of those that the next may lie in
                for event in sorted(line.events, key=lambda event: (event.offset_ps, -event.duration_ps)):
                    while open_events and open_events[-1][0] <= event.offset_ps:
                        open_events.pop()
                    if open_events:
                        yield open_events[-1][1], -event.duration_ps
                    open_events.append((event.offset_ps + event.duration_ps, names[event.metadata_id]))
                    yield names[event.metadata_id], event.duration_ps


def of_step(size: str, dtype: str) -> dict[str, float]:
    """The train step of `benchmarks.our_step`."""
    os.environ.update(TENSORFLOW_ENVIRONMENT)
    from benchmarks.our_step import our_step

    return milliseconds(our_step(size, dtype))


def of_serving(size: str, dtype: str, batch_size: int) -> dict[str, float]:
    """The exported encoder of `benchmarks.encoder_serving`."""
    os.environ.update(TENSORFLOW_ENVIRONMENT)
    from benchmarks import encoder_serving

    with tempfile.TemporaryDirectory() as folder:
        encoder_serving.export_saved_model(encoder_serving.encoder_of(size), dtype, folder)
        return milliseconds(encoder_serving.saved_model(size, batch_size, dtype, folder), 10)


def table(columns: dict[str, dict[str, float]]) -> str:
    """Shares of each column's sum in percent, and the sums in milliseconds."""
    sums = {name: sum(column.values()) for name, column in columns.items()}
    lines = ["| share of the time, % | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for kind in (*KINDS, REST):
        shares = (f"{100 * column[kind] / sums[name]:.1f}" for name, column in columns.items())
        lines.append(f"| {kind} | " + " | ".join(shares) + " |")
    lines.append("| sum, ms | " + " | ".join(f"{total:.0f}" for total in sums.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table of steps, and of batches of one image."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("size", nargs="?", default="vit_base", help="a name in benchmarks.sizes.SIZES")
    size = parser.parse_args().size
    columns = {f"step, {dtype}": in_own_process(of_step, size, dtype) for dtype in DTYPES}
    columns |= {f"served, batch 1, {dtype}": in_own_process(of_serving, size, dtype, 1) for dtype in DTYPES}
    print(table(columns))


if __name__ == "__main__":
    main()
