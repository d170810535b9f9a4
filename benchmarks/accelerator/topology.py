"""Compiles exported steps for TPUs that need not be there, and says what they need: a JSON object a line.

    python -m benchmarks.accelerator.export --output=runs/steps --only=vit_base_bfloat16_64
    python -m benchmarks.accelerator.topology --steps=runs/steps --only=vit_base_bfloat16_64 --topology=v5e:2x2

It needs JAX and PyPI's `libtpu` (`pip install "keras-mae[accelerator]"`), and no TensorFlow. Names of topologies are
those of `jax.experimental.topologies`: `v4:2x2x1`, `v5e:2x2`, `v5p:2x2x1`, `v6e:2x2`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib import metadata
from typing import Any

from benchmarks.accelerator.steps import ExportedStep

# libtpu asks the cloud's metadata server where it is, unless it is told
_NO_TPU = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4", "TPU_WORKER_HOSTNAMES": "localhost"}
_MIB = 2**20


def compiled(folder: str, name: str, topology: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a step needs on each device of a topology.

    `total_mib` is what must fit: arguments, outputs that are none of them, and all between; code comes on top.
    """
    for key, value in _NO_TPU.items():
        os.environ.setdefault(key, value)
    from benchmarks.accelerator.executable import ForTopology

    exported, hlo, _ = ExportedStep.read(folder, name)
    step = ForTopology(hlo, topology, exported.step.replicas, options)
    memory, costs = step.memory(), step.costs()
    sizes = {
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "total": memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        "peak": memory.peak_memory_in_bytes,
        "code": memory.generated_code_size_in_bytes,
    }
    return {
        "topology": topology,
        "device": step.device_kind,
        **{f"{part}_mib": round(size / _MIB, 1) for part, size in sizes.items()},
        "operations": costs.get("flops"),
        "bytes_accessed": costs.get("bytes accessed"),
        "compile_seconds": round(step.seconds, 1),
        **{package: metadata.version(package) for package in ("jax", "libtpu")},
        "processors": os.cpu_count(),
    }


def main() -> int:
    """Compiles what the flags name; the exit code is the number of steps that the compiler refused."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accelerator.topology", description=__doc__)
    parser.add_argument("--steps", required=True, help="the folder that benchmarks.accelerator.export wrote")
    parser.add_argument("--only", required=True, help="names of steps, separated by commas")
    parser.add_argument("--topology", default="v5e:2x2", help="one or more, separated by commas; default: %(default)s")
    parser.add_argument("--options", default="{}", help="of XLA, as JSON")
    parser.add_argument("--output", help="a file to append the lines to")
    arguments = parser.parse_args()
    failed = 0
    for topology in arguments.topology.split(","):
        for name in arguments.only.split(","):
            options = json.loads(arguments.options)
            try:
                record = compiled(arguments.steps, name, topology, options)
            except RuntimeError as error:  # XLA's, such as memory that is not enough
                failed += 1
                record = {"topology": topology, "error": str(error)[:2000]}
            line = json.dumps({"step": name, **record, **({"options": options} if options else {})})
            print(line, flush=True)
            if arguments.output:
                with open(arguments.output, "a") as file:
                    file.write(line + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
