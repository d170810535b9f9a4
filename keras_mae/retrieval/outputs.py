"""What vectors may be written to."""

from __future__ import annotations

import os

from keras_mae.retrieval.vectors import ENDINGS


def check_output(output: str) -> None:
    """Refuses an output that is neither a file of vectors nor a folder; a folder's name has no ending, or a `/`."""
    ending = os.path.splitext(output)[1]
    if ending and ending not in ENDINGS and not output.endswith("/") and not os.path.isdir(output):
        raise ValueError(
            f"vectors are written into a .parquet file, a .npz file or a folder of shards: got {output}; for a folder, "
            f"type {output}/"
        )
    is_file = output.endswith(ENDINGS)
    if os.path.exists(output) and os.path.isdir(output) == is_file:
        raise ValueError(f"{output} is a {'folder' if is_file else 'file'}: name another output")
