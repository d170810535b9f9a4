"""HLO, compiled by JAX. The only module that uses names of JAX which are not public."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

jax.config.update("jax_enable_x64", True)  # counters are int64


class Compiled:
    """A function from the list of the HLO's inputs to the list of its outputs, on JAX's first devices.

    Written for jax 0.10.2 and 0.11.2: its public functions compile what JAX has traced, and nothing else. Inputs that
    the HLO aliases with an output are consumed by a call.

    Args:
        hlo: a serialized `HloModuleProto`.
        replicas: the number of devices. An array is cut along its first axis, a share for each, or has a copy on each,
            see `put`.
    """

    def __init__(self, hlo: bytes, replicas: int = 1) -> None:
        devices = jax.devices()[:replicas]
        if len(devices) < replicas:
            raise ValueError(f"a step of {replicas} replicas needs as many devices; JAX finds {jax.devices()}")
        self._mesh = Mesh(np.array(devices), ("replica",))
        self._executable = _compile(hlo, devices, devices[0].client.compile_and_load)

    def put(self, array: np.ndarray, shared: bool) -> jax.Array:
        """The array on the devices: a share of it on each if `shared`, else all of it."""
        spec = PartitionSpec("replica") if shared else PartitionSpec()
        return jax.device_put(array, NamedSharding(self._mesh, spec))

    def __call__(self, arrays: list[jax.Array]) -> list[jax.Array]:
        """Each output is an array that all replicas have a copy of."""
        shards = self._executable.execute_sharded(arrays).disassemble_into_single_device_arrays()
        sharding = NamedSharding(self._mesh, PartitionSpec())
        of_all = jax.make_array_from_single_device_arrays
        return [of_all(copies[0].shape, sharding, copies) for copies in shards]

    def memory(self) -> Any:
        """The compiler's memory statistics."""
        return self._executable.get_compiled_memory_stats()

    def text(self) -> str:
        """The HLO after the compiler's passes."""
        return "\n".join(module.to_string() for module in self._executable.hlo_modules())


class ForTopology:
    """HLO that is compiled for devices which need not be there.

    Args:
        hlo: a serialized `HloModuleProto`.
        topology: as `topology_name` of `jax.experimental.topologies.get_topology_desc`, such as `v5e:2x2`.
        replicas: the number of devices, the topology's first.
        options: of XLA, by name, as `compiler_options` of `jax.stages.Lowered.compile`.

    Attributes:
        device_kind: JAX's name of the devices.
        seconds: how long it took to compile.
    """

    def __init__(self, hlo: bytes, topology: str, replicas: int = 1, options: Mapping[str, Any] | None = None) -> None:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices[:replicas]
        if len(devices) < replicas:
            raise ValueError(f"{topology} has {len(devices)} devices, fewer than the step's {replicas} replicas")
        self.device_kind = devices[0].device_kind
        begin = time.perf_counter()
        self._executable = _compile(hlo, devices, devices[0].client.compile, options)
        self.seconds = time.perf_counter() - begin

    def memory(self) -> Any:
        """The compiler's memory statistics, of one device."""
        return self._executable.get_compiled_memory_stats()

    def costs(self) -> dict[str, float]:
        """The compiler's count of operations (`flops`) and `bytes accessed`, of one device."""
        return self._executable.cost_analysis()

    def text(self) -> str:
        """The HLO after the compiler's passes."""
        return "\n".join(module.to_string() for module in self._executable.hlo_modules())


def _compile(hlo: bytes, devices: Sequence[jax.Device], compile_module, options: Mapping[str, Any] | None = None):
    from jax._src import compiler
    from jax._src.interpreters import mlir
    from jaxlib import _jax
    from jaxlib.mlir import ir

    copies: list[Any] = []
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
        settings = compiler.get_compile_options(
            num_replicas=len(devices),
            num_partitions=1,
            device_assignment=np.array(devices, dtype=object),
            env_options_overrides=dict(options or {}),
        )
        settings.executable_build_options.use_spmd_partitioning = False  # replicas run the module as it is
        return compile_module(module, _jax.DeviceList(tuple(devices)), settings)
