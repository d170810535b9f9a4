"""A function in a process of its own."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from collections.abc import Callable
from typing import Any


def in_own_process(function: Callable, *arguments: Any) -> Any:
    """What a module's function returns; whatever it imports, builds and keeps is gone with its process."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()
