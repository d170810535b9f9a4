"""A folder that appears when it is complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def folder_aside(final: str) -> Iterator[str]:
    """A hidden folder beside `final` to write to, which gets that name afterwards; an error leaves nothing behind.

    Args:
        final: it is not there, or an empty folder. Folders above it are made.
    """
    parent, name = os.path.split(os.path.abspath(final))
    aside, made = os.path.join(parent, f".{name}.{uuid.uuid4().hex[:8]}"), _missing(parent)
    try:
        os.makedirs(aside)
        yield aside
        os.rename(aside, final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):  # another process may have put something there
                os.rmdir(folder)
        raise


def _missing(path: str) -> list[str]:
    """The folders that `os.makedirs(path)` will make, the innermost first."""
    missing = []
    while not os.path.exists(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing
