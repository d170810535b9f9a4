"""Locks of folders, so that one process at a time writes into each."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

_entered = 0
_held: dict[tuple[int, int], int] = {}  # the open file that locks a folder, by the folder's device and inode


def lock_folder(path: str) -> None:
    """Locks an existing folder for this process, until `released` is left or the process ends in any way.

    The kernel keeps the lock, without a file. A process that has the lock may take it again. Remote folders
    (`gs://...`), and folders on file systems without such locks, are not locked.

    Raises:
        ValueError: if another process has the lock.
    """
    if "://" in path:
        return
    folder = os.open(path, os.O_RDONLY)
    status = os.fstat(folder)
    key = (status.st_dev, status.st_ino)
    if key in _held:
        os.close(folder)
        return
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(folder)
        raise ValueError(
            f"another process is writing to {path} at this moment: wait for its end, or name another output"
        ) from error
    except OSError:  # a network file system that cannot lock folders
        os.close(folder)
        return
    _held[key] = folder


@contextmanager
def released() -> Iterator[None]:
    """Releases at its end the locks that were taken inside; also a decorator. Only the outermost one releases them."""
    global _entered
    _entered += 1
    try:
        yield
    finally:
        _entered -= 1
        while _held and not _entered:
            os.close(_held.popitem()[1])
