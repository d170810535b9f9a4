"""HLO, compiled by JAX for the device that it finds. The only module that uses names of JAX which are not public."""

from __future__ import annotations

from typing import Any

import jax

jax.config.update("jax_enable_x64", True)  # counters are int64


def compiled(hlo: bytes) -> tuple[Any, Any]:
    """Compiles a serialized `HloModuleProto` for JAX's first device.

    Written for jax 0.11.2: its public functions compile what JAX has traced, and nothing else.

    Returns:
        A function from a list of arrays to the list of the HLO's outputs, and the compiler's memory statistics. The
        arrays that the HLO aliases with an output are consumed.
    """
    from jax._src import compiler
    from jaxlib import _jax

    device = jax.devices()[0]
    stablehlo = _jax.mlir.hlo_to_stablehlo(hlo)
    options = compiler.get_compile_options(num_replicas=1, num_partitions=1)
    executable = device.client.compile_and_load(stablehlo, _jax.DeviceList((device,)), options)

    def run(arrays: list[jax.Array]) -> list[jax.Array]:
        outputs = executable.execute_sharded(arrays).disassemble_into_single_device_arrays()
        return [shards[0] for shards in outputs]

    return run, executable.get_compiled_memory_stats()
