"""The sets of weights in a file: what stands before their names, and which set is read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import numpy as np

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.reading import TensorFile
from keras_mae.checkpoints.report import listed

# words in a prefix that tell an average of weights, or its like, from the weights that were trained
_AVERAGE = re.compile(r"(^|[._])(ema|teacher|momentum|target|averaged|swa|k)([._]|$)")


class NameSet(TensorFile):
    """The tensors of a file whose names begin with a prefix, under their names without it.

    Attributes:
        prefix: what was taken off.
        others: the prefixes of the other sets in the file.
        outside: names of the file that do not belong to this set.
    """

    def __init__(self, file: TensorFile, prefix: str, others: Collection[str]) -> None:
        self.path, self.grid, self.prefix, self.others = file.path, file.grid, prefix, tuple(others)
        self._file = file
        own = [name for name in file.shapes if name.startswith(prefix) and not _is_of(name, others, prefix)]
        self.shapes = {name.removeprefix(prefix): file.shapes[name] for name in own}
        inside = set(own)
        self.outside = tuple(name for name in file.shapes if name not in inside)

    def read(self, name: str) -> np.ndarray:
        return self._file.read(self.prefix + name)

    def notes(self) -> list[str]:
        """What the report should say of the choice."""
        notes = []
        if self.prefix:
            notes.append(f"the names in the file begin with {self.prefix!r}, which was taken off")
        if self.others:
            taken = repr(self.prefix) if self.prefix else "no prefix"
            ways = " or ".join(f"prefix={other!r}" for other in self.others)
            notes.append(f"the file holds {len(self.others) + 1} sets of weights: the one with {taken} was read, and "
                         f"{ways} takes the other")  # fmt: skip
        return notes


def prefixes_of(names: Iterable[str], fmt: CheckpointFormat) -> list[str]:
    """What stands before the format's own names, for each set of weights of the format; plain weights come first."""
    names = list(names)
    found: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        for index in range(len(parts)):
            if fmt.canonical(".".join(parts[index:])) == fmt.patch_kernel:
                found.setdefault("".join(f"{part}." for part in parts[:index]))
                break
    sets = [
        prefix for prefix in found if fmt.recognises([name[len(prefix) :] for name in names if name.startswith(prefix)])
    ]
    if not sets and fmt.recognises(names):  # a file without a patch projection: what it lacks will be said
        return [""]
    return sorted(sets, key=lambda prefix: (_AVERAGE.search(prefix) is not None, list(found).index(prefix)))


def choose_set(file: TensorFile, fmt: CheckpointFormat, prefix: str | None) -> NameSet | None:
    """The set with this prefix, or the first one; None if the file has no set of this format.

    Raises:
        ValueError: if there is no set with this prefix.
    """
    sets = prefixes_of(file.shapes, fmt)
    if not sets:
        return None
    if prefix is not None:
        asked = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
        if asked not in sets:
            raise ValueError(
                f"{file.path} holds no weights of the format {fmt.name!r} under prefix={prefix!r}: there are "
                f"{listed(map(repr, sets))}"
            )
        sets = [asked, *(each for each in sets if each != asked)]
    return NameSet(file, sets[0], sets[1:])


def _is_of(name: str, others: Collection[str], prefix: str) -> bool:
    """Whether a name belongs to one of the other sets, whose prefix goes on where this one ends."""
    return any(name.startswith(other) for other in others if len(other) > len(prefix))
