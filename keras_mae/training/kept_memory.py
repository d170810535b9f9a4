"""Memory that a train step frees, kept for the next one."""

from __future__ import annotations

import ctypes

# The parameters of mallopt, from glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Tells the C library to keep the memory that is freed, for this process and from now on.

    TensorFlow on a processor allocates the activations of every step anew. glibc gives large blocks back to the
    system as they are freed, and the kernel fills each page with zeros when it is touched again: a quarter of the
    time of a compiled step (`python -m benchmarks --only=kept_memory`). The process then stays as large as it was at
    its largest, which a training run is in every step.

    Returns:
        Whether the C library is one that can be told (glibc); others are left as they are.

    Reference: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # musl, macOS, Windows
        return False
    # no block gets pages of its own; the heap is never cut, and grows in large pieces
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**28}
    return all([mallopt(parameter, value) for parameter, value in settings.items()])
