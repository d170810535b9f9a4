"""The memory to train in: free memory of the machine, the limit of its container, or a GPU's memory."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import re

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory for a run.

    Attributes:
        free: in bytes.
        place: the owner of the memory, for messages.
        of_processor: whether it is a processor's, shared by all replicas, and not a GPU's, for one replica.
    """

    free: int
    place: str
    of_processor: bool = True


def find_memory() -> Memory | None:
    """The memory of the smallest GPU, or the free memory of a machine without GPUs; None if unknown, as of TPUs.

    It is all memory of the GPU, as TensorFlow takes all. Free memory of a machine is limited by the control groups
    (cgroup, version 1 or 2) of containers and batch systems.
    """
    if tf.config.list_physical_devices("GPU"):
        sizes = _sizes_of_gpus()
        return Memory(min(sizes), "the GPU", of_processor=False) if sizes else None
    if tf.config.list_physical_devices("TPU") or any(d.device_type == "TPU" for d in tf.config.list_logical_devices()):
        return None
    return memory_of_processor()


def memory_of_processor() -> Memory | None:
    """The free memory of the machine, or of this process' control group if that has less; None if unknown."""
    found = [memory for memory in (free_of_machine(), free_of_group()) if memory is not None]
    return min(found, key=lambda memory: memory.free, default=None)


def free_of_machine(root: str = "/") -> Memory | None:
    """The memory that is available without swapping, by the kernel's files under `root`."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _read(os.path.join(root, "proc/meminfo")), re.MULTILINE)
    return Memory(1024 * int(match[1]), "this machine") if match else None


def free_of_group(root: str = "/") -> Memory | None:
    """The free memory in the control groups of this process, the least of its own and those above it."""
    free = []
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        names = ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")  # version 1
        if not controllers:
            names = ("", "memory.max", "memory.current", "inactive_file")
        mount, limit, usage, cache = names
        base = os.path.join(root, "sys/fs/cgroup", mount)
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):  # in a container, the root is its own group
            folder = os.path.join(base, *parts[:depth])
            most, taken = _read(os.path.join(folder, limit)).strip(), _read(os.path.join(folder, usage)).strip()
            if most.isdecimal() and taken.isdecimal() and int(most) < 2**60:  # more means no limit, in version 1
                match = re.search(rf"^{cache} (\d+)$", _read(os.path.join(folder, "memory.stat")), re.MULTILINE)
                free.append(int(most) - int(taken) + (int(match[1]) if match else 0))  # cached files can be dropped
    return Memory(max(min(free), 0), "this process's control group (cgroup)") if free else None


def memory_of_process() -> int:
    """The bytes of memory that this process takes now; 0 if unknown."""
    match = re.search(r"^VmRSS:\s+(\d+) kB", _read("/proc/self/status"), re.MULTILINE)
    return 1024 * int(match[1]) if match else 0


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def _sizes_of_gpus() -> list[int]:
    """The memory of each GPU that CUDA shows this process, in bytes; none of it is allocated."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count, device, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    sizes = []
    for index in range(count.value):
        if cuda.cuDeviceGet(ctypes.byref(device), index) or cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device):
            return []
        sizes.append(size.value)
    return sizes
