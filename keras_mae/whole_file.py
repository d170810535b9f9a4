"""Files that are always whole: written beside their place, and then renamed."""

from __future__ import annotations

import glob
import os
import uuid
from collections.abc import Callable


def replace_file(path: str, write: Callable[[str], object]) -> None:
    """Calls `write` with the path of a new file, and then renames it to `path`: a file of this name is always whole."""
    stem, extension = os.path.splitext(path)
    for left in glob.glob(f"{glob.escape(stem)}.writing-????????{extension}"):
        os.remove(left)  # of a process that was killed while it wrote
    aside = f"{stem}.writing-{uuid.uuid4().hex[:8]}{extension}"
    try:
        write(aside)
        os.replace(aside, path)
    finally:
        if os.path.exists(aside):
            os.remove(aside)
