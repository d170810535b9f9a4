"""Errors of writing through TensorFlow's file systems, as those of Python."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns TensorFlow's errors while a file or a folder is written into an OSError of one line."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"cannot write {path}: {' '.join(error.message.split())[:200]}") from error


def make_place(path: str) -> None:
    """Makes the folder of a file; raises OSError if it cannot, or if a folder has the file's name."""
    with writing(path):
        if tf.io.gfile.isdir(path):
            raise IsADirectoryError(f"{path} is a folder; name a file, such as {os.path.join(path, 'stats.json')}")
        if os.path.dirname(path):
            tf.io.gfile.makedirs(os.path.dirname(path))
