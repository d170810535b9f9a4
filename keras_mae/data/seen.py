"""What a run sees of its data, in a few lines: enough to tell whether it sees the same again."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from keras_mae.data.array_source import ArraySource
from keras_mae.data.folder_source import FolderSource
from keras_mae.data.memory_source import MemorySource
from keras_mae.data.record_source import RecordSource
from keras_mae.data.source import Source
from keras_mae.data.subset import Subset

_SAMPLED = 64


def seen_of(source: Source, *others: Source) -> dict[str, Any]:
    """Number, names, labels and form of some images.

    No file is read: of folders it is the paths in the folder that count, of records their lengths and places, of
    arrays the bytes of a sample. A folder that is moved, or a file that is repaired, changes nothing.

    Args:
        source: the images to train on.
        others: more of them, such as those to test on.

    Returns:
        `num_images`, of `source`; `digest`, of all: one part for images and one for labels, with a colon between;
        `dtype`; `class_names`.
    """
    images, labels = hashlib.sha256(), hashlib.sha256()
    for one in (source, *others):
        images.update(f"{one.num_images}:{one.dtype}:".encode())
        _add(images, one)
        if one.labelled and _labels_are_known(one):
            labels.update(one.required_labels().astype("<i8").tobytes())
        labels.update("\0".join(one.class_names).encode("utf-8", "surrogateescape"))
    return {
        "num_images": source.num_images,
        "digest": f"{images.hexdigest()[:32]}:{labels.hexdigest()[:32]}",
        "dtype": source.dtype,
        "class_names": list(source.class_names),
    }


def changes_between(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What has changed in the data, for people; empty if nothing has."""
    if before.get("digest") == now["digest"]:
        return ""
    old, new = before["num_images"], now["num_images"]
    if old != new:
        return f"there were {old} images to train on, and there are {new}"
    changed = [
        f"the {what} are others"
        for what, one, other in zip(("images", "labels"), before["digest"].split(":"), now["digest"].split(":"))
        if one != other
    ]
    return f"of {new} images {' and '.join(changed)}"


def _add(digest, source: Source) -> None:
    if isinstance(source, Subset):
        digest.update(source.indices.astype("<i8").tobytes())
        _add(digest, source.source)
    elif isinstance(source, MemorySource):
        _add(digest, source.source)
    elif isinstance(source, FolderSource):
        for index in range(source.num_images):
            digest.update(os.fsencode(source.relative_name(index)) + b"\0")
    elif isinstance(source, RecordSource):
        digest.update("\0".join(map(os.path.basename, source.paths)).encode("utf-8", "surrogateescape"))
        for column in (source.index.file, source.index.offset, source.index.length):
            digest.update(column.astype("<i8").tobytes())
    elif isinstance(source, ArraySource):
        chosen = np.unique(np.linspace(0, source.num_images - 1, _SAMPLED).astype(int))
        digest.update(str(source.images.shape).encode() + np.ascontiguousarray(source.images[chosen]).tobytes())
    else:
        digest.update(f"{source.name_of(0)} {source.name_of(source.num_images - 1)}".encode())


def _labels_are_known(source: Source) -> bool:
    """Whether nothing has to be read for them."""
    if isinstance(source, Subset):
        return _labels_are_known(source.source)
    return not isinstance(source, RecordSource) or source._labels is not None or "labels" in vars(source)
