"""What writing through TensorFlow's file systems raises, as Python has it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Where a file or a folder is written: makes an OSError, in one line, of TensorFlow's own error."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"cannot write {path}: {' '.join(error.message.split())[:200]}") from error


def make_place(path: str) -> None:
    """Makes the folder that a file is to lie in, before what goes into it is worked out.

    Raises:
        OSError: if the folder cannot be made, or a folder has the file's name.
    """
    with writing(path):
        if tf.io.gfile.isdir(path):
            raise IsADirectoryError(f"{path} is a folder; name a file, such as {os.path.join(path, 'stats.json')}")
        if os.path.dirname(path):
            tf.io.gfile.makedirs(os.path.dirname(path))
