"""Folders of image files."""

from __future__ import annotations

import collections
import contextlib
import logging
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from keras_mae.data.decoding import EXTENSIONS, FORMATS, MISNAMED_TIFF, Decoding, bits_of
from keras_mae.data.patient_reading import passing, patiently
from keras_mae.data.source import Source
from keras_mae.data.tiff_header import MARKS

_LOOKED_AT, _LOOKED_AT_REMOTE = 1024, 16
_log = logging.getLogger("keras_mae")


class FolderSource(Source):
    """Image files below a folder, at any depth, in the order of their paths, without hidden files and folders.

    If every file lies in a subfolder and there are at least two of these, their names are the classes. TIFF files are
    read only if one is called `.tif` or `.tiff`, see `Decoding`.

    Args:
        path: the folder; anything that `tf.io.gfile` reads.
        class_names: the classes, of which a validation set may lack some; by default the names of the subfolders.
    """

    encoded = True

    def __init__(self, path: str, class_names: list[str] | None = None) -> None:
        if not is_folder(path):
            raise ValueError(f"folder:{path}: there is no such folder")
        self.path = path.rstrip("/") or "/"
        files = list(_shown_files(self.path))
        self.paths = sorted(file for file in files if _is_image(file))
        if not self.paths:
            raise ValueError(f"folder:{path}: holds no image; looked for {', '.join(EXTENSIONS)}, at any depth")
        self.num_images = len(self.paths)
        if len(files) > self.num_images:
            others = collections.Counter(
                os.path.splitext(file)[1] or "no ending" for file in files if not _is_image(file)
            )
            counts = ", ".join(f"{count} {ending}" for ending, count in others.most_common(5))
            said = "1 file" if others.total() == 1 else f"{others.total()} files"
            _log.info("folder:%s: %s left out, no images by their names: %s", path, said, counts)
        self.decoding = Decoding(tiff=any(file.lower().endswith(FORMATS["TIFF"]) for file in self.paths))
        self._path_table = tf.constant([os.fsencode(file) for file in self.paths])  # names may be no UTF-8
        skipped = len(self.path.rstrip("/")) + 1
        parents = [_printable(file[skipped:].partition("/")[0]) if "/" in file[skipped:] else "" for file in self.paths]
        found = sorted(set(parents))
        if class_names is None and len(found) > 1 and found[0]:
            class_names = found
        if class_names is not None:
            unknown = set(found) - set(class_names)
            if unknown:
                raise ValueError(f"folder:{path}: {sorted(unknown)[0]!r} is none of the classes {class_names}")
            self.class_names = class_names
            number = {name: label for label, name in enumerate(class_names)}
            self._labels = np.array([number[name] for name in parents])
        self.dtype = self._dtype()

    def read(self, index) -> dict[str, tf.Tensor]:
        return {"image": tf.io.read_file(self._path_table[index]), "label": self.label_at(index)}

    def path_at(self, index) -> tf.Tensor:
        return self._path_table[index]

    def name_of(self, index: int) -> str:
        return _printable(self.paths[index])

    def name_inside(self, index: int) -> str:
        return _printable(self.relative_name(index))

    def file_names(self) -> tuple[str, list[str]]:
        names = [os.fsencode(self.relative_name(one)).decode("utf-8", "replace") for one in range(self.num_images)]
        return self.path if "://" in self.path else os.path.abspath(self.path), names

    def remedy(self, index: int) -> str:
        if not self.decoding.tiff:
            path = os.fsencode(self.paths[index])
            with contextlib.suppress(OSError, tf.errors.OpError), tf.io.gfile.GFile(path, "rb") as file:
                return MISNAMED_TIFF if file.read(4) in MARKS else ""
        return ""

    def relative_name(self, index: int) -> str:
        """Returns the path below the folder."""
        return self.paths[index][len(self.path) :].lstrip("/")

    def _dtype(self) -> str:
        """Returns `uint16` if any of 1,024 files (16 on a remote file system) has 16 bits a channel."""
        count = _LOOKED_AT_REMOTE if "://" in self.path else _LOOKED_AT
        numbers = np.unique(np.linspace(0, self.num_images - 1, count).astype(int))

        def look() -> str:
            failed: list[Exception] = []
            for number in numbers:
                try:
                    with tf.io.gfile.GFile(os.fsencode(self.paths[number]), "rb") as file:
                        if bits_of(file) == 16:
                            return "uint16"
                except (tf.errors.OpError, OSError) as error:  # a corrupt file, which the pipeline will name
                    failed.append(error)
            if len(failed) == len(numbers) and passing(failed[0]):  # not these files, but their storage
                raise failed[0]
            return "uint8"

        return patiently(look, self.name_of(0))


def is_folder(path: str) -> bool:
    """Returns whether there is such a folder; unlike `tf.io.gfile.isdir`, waits for a storage, see `patiently`."""

    def found() -> bool:
        try:
            return tf.io.gfile.stat(os.fsencode(path)).is_directory
        except tf.errors.OpError as error:
            if passing(error):
                raise
            return tf.io.gfile.isdir(os.fsencode(path))

    return patiently(found, _printable(path))


def _shown_files(path: str) -> Iterator[str]:
    """Yields the paths of all files below a folder that are not hidden, in no particular order."""
    if "://" in path:
        for folder, _, files in patiently(lambda: list(tf.io.gfile.walk(path)), path):
            if "/." not in folder[len(path) :]:
                yield from (f"{folder.rstrip('/')}/{file}" for file in files if not file.startswith("."))
        return
    pending, seen = [path], set[str]()
    while pending:  # os.scandir knows what is a folder without asking for each entry: seconds for a million files
        folder = pending.pop()
        try:
            entries = patiently(lambda: list(os.scandir(folder)), _printable(folder))  # noqa: B023  called at once
        except OSError as error:
            if folder == path or error.errno is None:  # its storage did not come back
                raise
            _log.warning("left out, cannot be opened: %s (%s)", _printable(folder), error.strerror)
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            is_dir = is_file = False
            with contextlib.suppress(OSError):  # such as a link to itself
                is_dir, is_file = entry.is_dir(), entry.is_file()
            if is_dir:
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if target in seen or f"{os.path.realpath(folder)}/".startswith(f"{target}/"):
                        continue  # a link that leads back up would never end
                    seen.add(target)
                pending.append(entry.path)
            elif is_file or not os.path.exists(entry.path):  # a link that leads nowhere is a missing image
                yield entry.path
            elif _is_image(entry.name):
                _log.warning("left out, is not a file: %s", _printable(entry.path))  # a pipe would be waited for


def _printable(name: str) -> str:
    """Escapes what cannot be printed, or is not UTF-8."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in name)


def _is_image(path: str) -> bool:
    return path.lower().endswith(EXTENSIONS)
