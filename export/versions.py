"""The folders of a model's versions, as TF Serving reads them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from keras_mae.export.folder_aside import folder_aside


def new_version(directory: str, version: int) -> str:
    """The folder of a new version.

    Raises:
        ValueError: if the version is there already, or cannot be made.
    """
    if version < 1 or version != int(version):
        raise ValueError(f"a version is a positive integer, got {version!r}")
    if "://" in directory:  # a local folder called gs: would be made
        raise ValueError(f"a SavedModel is written to a folder of a local disk, got {directory}; copy it afterwards")
    if os.path.exists(directory) and not os.path.isdir(directory):
        raise ValueError(f"{directory} is a file, and a model is a folder of versions: choose another output")
    final = os.path.join(directory, str(version))
    if os.path.exists(final):
        raise ValueError(f"{final} is there already, and a served version never changes: export a higher version")
    return final


@contextlib.contextmanager
def version_aside(directory: str, version: int) -> Iterator[tuple[str, str]]:
    """A hidden folder to write to, and `<directory>/<version>`, its name afterwards; an error leaves nothing behind."""
    final = new_version(directory, version)
    with folder_aside(final) as aside:  # TF Serving looks at numbers only
        yield aside, final
        new_version(directory, version)  # asked again: another export may have written it
