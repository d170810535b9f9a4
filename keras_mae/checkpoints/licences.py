"""The licence of weights: what a file, and the model card beside it, state."""

from __future__ import annotations

import os
import re
import zipfile

from keras_mae.checkpoints.reading import LICENCE_KEY, SAFETENSORS, TORCH, open_tensors

LICENCE_FILE = "licence.txt"  # in our .keras files, of which Keras reads its own members only

_FREE = re.compile(r"apache-2\.0|mit(-0)?|bsd(-.*)?|isc|zlib|cc0-1\.0|cc-by-\d\.\d|unlicense|pddl|ncsa|0bsd|bsl-1\.0")
_NON_COMMERCIAL = re.compile(r"(^|[^a-z])nc([^a-z]|$)|non-?commercial|research")


def condition_of(licence: str) -> str | None:
    """What a licence asks for beyond naming the authors, for `..., which ...`; None for a licence that is free."""
    text = licence.lower()
    if _NON_COMMERCIAL.search(text):
        return "excludes commercial use"
    return (
        None if _FREE.fullmatch(text) else "has conditions of its own: read them before you use or pass on the weights"
    )


def licence_inside(path: str) -> str | None:
    """The licence that `save_checkpoint` has written into a file; None if there is none, or no such file.

    Raises:
        ValueError: if the file is damaged.
    """
    if not os.path.isfile(path):
        return None
    if path.lower().endswith(SAFETENSORS):
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                return (file.metadata() or {}).get(LICENCE_KEY)
        except SafetensorError:
            return None  # whoever reads its tensors says so
    try:
        if not zipfile.is_zipfile(path):
            return None
        if path.lower().endswith(TORCH):
            with open_tensors(path) as tensors:
                return tensors.licence
        with zipfile.ZipFile(path) as archive:
            return archive.read(LICENCE_FILE).decode() if LICENCE_FILE in archive.namelist() else None
    except zipfile.BadZipFile:
        return None  # as above


def write_licence(path: str, licence: str | None) -> None:
    """Writes a licence into a `.keras` file, with which it goes wherever that is copied to; None writes nothing."""
    if licence is not None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(LICENCE_FILE, licence)


def licence_beside(path: str, depth: int = 0) -> str | None:
    """The licence at the head of a README.md in the file's folder, or `depth` folders above; None if none is stated.

    `license: other` is told by its `license_name`.
    """
    readme = os.path.join(os.path.dirname(path), *[os.pardir] * depth, "README.md")
    try:
        with open(readme, encoding="utf-8", errors="replace") as file:
            text = file.read(2**20)
    except OSError:
        return None
    head = re.match(r"\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*$", text, re.DOTALL | re.MULTILINE)
    if head is None:
        return None
    licence = _value(head[1], "license")
    return (_value(head[1], "license_name") or licence) if licence == "other" else licence


def _value(head: str, key: str) -> str | None:
    """The value of a key in YAML, a word or a list of words; this needs no YAML parser."""
    found = re.search(rf"^{key}:[ \t]*([^\r\n]*)((?:\r?\n[ \t]*-[ \t]+[^\r\n]+)*)", head, re.MULTILINE)
    if found is None:
        return None
    words = [found[1].strip().strip("[]"), *re.findall(r"-[ \t]+([^\r\n]+)", found[2])]
    cleaned = [part.strip().strip("'\"") for word in words for part in re.sub(r"\s+#.*", "", word).split(",")]
    return ", ".join(filter(None, cleaned)) or None
