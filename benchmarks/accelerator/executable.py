"""HLO, compiled by JAX for the device that it finds. The only module that uses names of JAX which are not public."""

from __future__ import annotations

from typing import Any

import jax

jax.config.update("jax_enable_x64", True)  # counters are int64


class Compiled:
    """A function from the list of the HLO's inputs to the list of its outputs, on JAX's first device.

    Written for jax 0.11.2: its public functions compile what JAX has traced, and nothing else. Inputs that the HLO
    aliases with an output are consumed by a call.

    Args:
        hlo: a serialized `HloModuleProto`.
    """

    def __init__(self, hlo: bytes) -> None:
        from jax._src import compiler
        from jax._src.interpreters import mlir
        from jaxlib import _jax
        from jaxlib.mlir import ir

        device, copies = jax.devices()[0], []
        with mlir.make_ir_context():
            module = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(hlo))

            def note_copies(operation):
                if operation.name == "mhlo.copy":
                    copies.append(operation)
                return ir.WalkResult.ADVANCE

            module.operation.walk(note_copies)
            for copy in copies:  # HLO's, which StableHLO does not have; they change no numbers
                copy.results[0].replace_all_uses_with(copy.operands[0])
                copy.erase()
            options = compiler.get_compile_options(num_replicas=1, num_partitions=1)
            self._executable = device.client.compile_and_load(module, _jax.DeviceList((device,)), options)

    def __call__(self, arrays: list[jax.Array]) -> list[jax.Array]:
        outputs = self._executable.execute_sharded(arrays).disassemble_into_single_device_arrays()
        return [shards[0] for shards in outputs]

    def memory(self) -> Any:
        """The compiler's memory statistics."""
        return self._executable.get_compiled_memory_stats()

    def text(self) -> str:
        """The HLO after the compiler's passes."""
        return "\n".join(module.to_string() for module in self._executable.hlo_modules())
