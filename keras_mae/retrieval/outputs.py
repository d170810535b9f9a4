"""What vectors may be written to."""

from __future__ import annotations

import os

from keras_mae.retrieval.vectors import ENDINGS


def check_output(output: str) -> None:
    """Refuses an output that is neither a file of vectors nor a folder; a folder's name has no ending, or a `/`.

    Raises:
        ValueError: for another ending, or if a folder lies where a file would, or a file where a folder would.
    """
    path, ending = output.rstrip("/"), os.path.splitext(output.rstrip("/"))[1]
    is_file = ending in ENDINGS
    slash, there = output.endswith("/"), os.path.isdir(output)
    if is_file and slash or ending and not is_file and not slash and not there:
        raise ValueError(
            f"vectors are written into a .parquet file, a .npz file or a folder of shards: got {output}; "
            + (f"for a file, type {path}" if is_file else f"for a folder, type {output}/")
        )
    if os.path.exists(path) and os.path.isdir(path) == is_file:
        raise ValueError(f"{path} is a {'folder' if is_file else 'file'}: name another output")
