"""How long each kernel of a GPU takes, by JAX's profiler."""

from __future__ import annotations

import collections
import glob
import os
import tempfile
from collections.abc import Callable

import jax
from jax.profiler import ProfileData


def kernel_times(run: Callable[[], object]) -> list[tuple[str, int, float]]:
    """Runs a function, and reports the kernels and copies in all streams meanwhile.

    Args:
        run: it waits for the device before it returns.

    Returns:
        (name, times run, milliseconds in all) by falling time; nothing where there is no GPU.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (path,) = glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)
        planes = list(ProfileData.from_file(path).planes)
        counts: collections.Counter[str] = collections.Counter()
        times: collections.Counter[str] = collections.Counter()
        for plane in planes:
            for line in plane.lines if plane.name.startswith("/device:GPU") else ():
                for event in line.events if line.name.startswith("Stream") else ():
                    counts[event.name] += 1
                    times[event.name] += event.duration_ns
    return [(name, counts[name], round(time / 1e6, 4)) for name, time in times.most_common()]
