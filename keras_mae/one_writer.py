"""One process at a time writes into a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

_entered = 0
_held: dict[tuple[int, int], int] = {}  # from the device and inode of a folder to the open file that locks it


def lock_folder(path: str) -> None:
    """Makes this process the only one that writes into a folder, until `released` is left or the process ends.

    However it ends: the kernel keeps the lock, and no file tells of it. A process that has the lock may take it again.
    Remote folders (`gs://...`), and file systems without locks of folders, are not locked.

    Args:
        path: the folder, which is there.

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
    """Gives back, when it is left, the locks that were taken while it was entered; also a decorator.

    Within another one it does nothing: what the outer writes is not finished.
    """
    global _entered
    _entered += 1
    try:
        yield
    finally:
        _entered -= 1
        while _held and not _entered:
            os.close(_held.popitem()[1])
