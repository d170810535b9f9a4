"""A summary of a run's data, which tells whether a later run sees the same data."""

from __future__ import annotations

import collections
import functools
import gzip
import hashlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_mae.data.array_source import ArraySource
from keras_mae.data.folder_source import FolderSource
from keras_mae.data.memory_source import MemorySource
from keras_mae.data.pairs_source import PairsSource
from keras_mae.data.record_index import HEADER
from keras_mae.data.record_source import RecordSource
from keras_mae.data.relabelled import Relabelled
from keras_mae.data.source import CLASSES, Source
from keras_mae.data.subset import Subset

_SAMPLED, _NAMED = 64, 3


class Seen:
    """Number, names, labels and dtype of some images.

    No file is read: folders are told by the paths in them, records by their places and lengths, arrays by the images'
    bytes. If a folder is moved, or a file repaired, nothing changes.

    Args:
        source: the images to train on.
        others: more sources, such as the images to test on.
    """

    def __init__(self, source: Source, *others: Source) -> None:
        self._sources = (source, *others)

    @functools.cached_property
    def summary(self) -> dict[str, Any]:
        """Values for a run's `config.json`.

        `num_images`, `dtype` and `class_names` of the images to train on, and of labels that are no classes `task` and
        `label_names`; `digest` of all images and all labels, with a colon between the two.
        """
        images, labels = hashlib.sha256(), hashlib.sha256()
        for one in self._sources:
            images.update(f"{one.num_images}:{one.dtype}:".encode())
            _add(images, one)
            if one.labelled and labels_are_known(one):
                labels.update(one.required_labels().astype("<i8" if one.task == CLASSES else "<f4").tobytes())
            labels.update("\0".join([*one.class_names, *one.label_names]).encode("utf-8", "surrogateescape"))
        source = self._sources[0]
        return {
            "num_images": source.num_images,
            "digest": f"{images.hexdigest()[:32]}:{labels.hexdigest()[:32]}",
            "dtype": source.dtype,
            "class_names": list(source.class_names),
            **({} if source.task == CLASSES else {"task": source.task, "label_names": list(source.label_names)}),
        }

    def write_images(self, path: str) -> None:
        """Writes the name and the label of every image into a file for `changed_since`."""
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(b"\0".join(b"%b\n%b" % item for item in self._images().items()))

    def changed_since(self, before: dict[str, Any], path: str) -> str:
        """Says what has changed in the data since a summary was written; returns an empty text if nothing has.

        Args:
            before: the earlier `summary`.
            path: of the file that `write_images` wrote then; it may be missing.
        """
        change = changes_between(before, self.summary)
        if not change or not os.path.exists(path):
            return change
        with gzip.open(path, "rb") as file:
            then = dict(item.rpartition(b"\n")[::2] for item in file.read().split(b"\0"))
        return "; ".join(_differences(then, self._images())) or change

    def _images(self) -> dict[bytes, bytes]:
        """Returns the class, or the label, of each image by its name."""
        found: dict[bytes, bytes] = {}
        copies: collections.Counter[bytes] = collections.Counter()
        for number, source in enumerate(self._sources):
            names = _names(source, self._sources[0] if number else None)
            labels: Iterator[bytes] = itertools.repeat(b"")
            if source.labelled and labels_are_known(source):
                shown = dict(enumerate(map(os.fsencode, source.class_names)))
                labels = (_shown(label, shown) for label in source.required_labels().tolist())
            for name, label in zip(names, labels):
                name = name.replace(b"\0", b"")
                if name in found:  # such as two equal images in an array
                    copies[name] += 1
                    name = b"%b (%d)" % (name, copies[name] + 1)
                found[name] = label
        return found


def changes_between(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Says what differs between two summaries; returns an empty text if nothing does."""
    if before.get("digest") == now["digest"]:
        return ""
    old, new = before["num_images"], now["num_images"]
    if old != new:
        return f"there were {old} images to train on, and there are {new}"
    digests = zip(("images", "labels"), before["digest"].split(":"), now["digest"].split(":"))
    changed = [f"the {what} are others" for what, one, other in digests if one != other]
    return f"of {new} images {' and '.join(changed)}"


def _differences(then: dict[bytes, bytes], now: dict[bytes, bytes]) -> list[str]:
    """Returns a text for each kind of change, with the number of images and some of their names."""
    added = [name for name in now if name not in then]
    removed = [name for name in then if name not in now]
    relabelled = {name: f"{_text(name)} ({_text(then[name])} to {_text(label)})"
                  for name, label in now.items() if name in then and then[name] != label}  # fmt: skip
    # an image that was moved from one class's folder to another's
    gone = {name.partition(b"/")[2]: name for name in removed if then[name]}
    for name in [name for name in added if now[name] and name.partition(b"/")[2] in gone]:
        old = gone.pop(name.partition(b"/")[2], None)
        if old is not None and b"/" in name and now[name] != then[old]:
            relabelled[name] = f"{_text(name)} ({_text(then[old])} to {_text(now[name])})"
            added.remove(name)
            removed.remove(old)
    kinds = (
        ("added", [_text(name) for name in added]),
        ("removed", [_text(name) for name in removed]),
        ("relabelled", list(relabelled.values())),
    )
    return [
        f"{len(names)} image{'s were' if len(names) > 1 else ' was'} {kind}: {', '.join(names[:_NAMED])}"
        f"{', ...' if len(names) > _NAMED else ''}"
        for kind, names in kinds
        if names
    ]


def _shown(label: int | list[float], class_names: dict[int, bytes]) -> bytes:
    """A class by its name or number, or a row of several labels or numbers."""
    if isinstance(label, list):
        return ", ".join(f"{one:.6g}" for one in label).encode()
    return class_names.get(label, b"%d" % label)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _names(source: Source, first: Source | None) -> Iterator[bytes]:
    """Yields a name for each image, which tells it from all others however these change."""
    if isinstance(source, Subset):
        names = list(_names(source.source, first))
        return (names[index] for index in source.indices.tolist())
    if isinstance(source, MemorySource):
        return _names(source.source, first)
    if isinstance(source, FolderSource):
        root = first and _unwrapped(first)
        other = isinstance(root, FolderSource) and root.path != source.path
        prefix = f"{os.path.basename(source.path)}:" if other else ""
        return (os.fsencode(prefix + source.relative_name(index)) for index in range(source.num_images))
    if isinstance(source, RecordSource):
        files = [os.fsencode(os.path.basename(path)) for path in source.paths]
        columns = (source.index.file.tolist(), source.index.offset.tolist())
        return (b"%b at byte %d" % (files[file], offset - HEADER) for file, offset in zip(*columns))
    if isinstance(source, ArraySource):
        digests = (hashlib.blake2b(image.tobytes(), digest_size=8) for image in source.images)
        return (b"image " + digest.hexdigest().encode() for digest in digests)
    return (source.name_of(index).encode() for index in range(source.num_images))


def _add(digest, source: Source) -> None:
    if isinstance(source, Subset):
        digest.update(source.indices.astype("<i8").tobytes())
        _add(digest, source.source)
    elif isinstance(source, MemorySource):
        _add(digest, source.source)
    elif isinstance(source, FolderSource):
        for index in range(source.num_images):
            digest.update(os.fsencode(source.relative_name(index)) + b"\0")
        if isinstance(source, PairsSource):  # other masks of the same images lie in another folder beside them
            digest.update(os.fsencode(os.path.relpath(source.masks_path, source.path)))
    elif isinstance(source, RecordSource):
        digest.update("\0".join(map(os.path.basename, source.paths)).encode("utf-8", "surrogateescape"))
        for column in (source.index.file, source.index.offset, source.index.length):
            digest.update(column.astype("<i8").tobytes())
    elif isinstance(source, ArraySource):
        chosen = np.unique(np.linspace(0, source.num_images - 1, _SAMPLED).astype(int))
        digest.update(str(source.images.shape).encode() + np.ascontiguousarray(source.images[chosen]).tobytes())
        if source.array_of_masks is not None:
            digest.update(np.ascontiguousarray(source.array_of_masks).tobytes())
    else:
        digest.update(f"{source.name_of(0)} {source.name_of(source.num_images - 1)}".encode())


def labels_are_known(source: Source) -> bool:
    """Whether the labels are known without reading files."""
    while isinstance(source, Subset) and not isinstance(source, Relabelled):
        source = source.source
    base = source if isinstance(source, Relabelled) else _unwrapped(source)
    return not isinstance(base, RecordSource) or base._labels is not None or "labels" in vars(base)


def _unwrapped(source: Source) -> Source:
    while isinstance(source, (Subset, MemorySource)):
        source = source.source
    return source
