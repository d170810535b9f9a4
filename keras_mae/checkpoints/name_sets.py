"""The sets of weights in a file, by the prefixes of their names, and the choice of one of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import numpy as np

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.reading import TensorFile
from keras_mae.registry import listed

# words in the prefix of an average of weights, or of a teacher
_AVERAGE = re.compile(r"(^|[._])(ema|EMA|teacher|momentum|target|averaged|swa|k)([._]|$)|[a-z]E(MA|ma)([._]|$)")


class NameSet(TensorFile):
    """The tensors of a file whose names begin with a prefix, under their names without it.

    Attributes:
        fmt: the table of names that reads them.
        prefix: the removed prefix.
        others: the prefixes of the other sets in the file.
        outside: names of the file that do not belong to this set.
    """

    def __init__(self, file: TensorFile, fmt: CheckpointFormat, prefix: str, others: Collection[str]) -> None:
        self.path, self.grid, self.metadata, self.fmt = file.path, file.grid, file.metadata, fmt
        self.prefix, self.others = prefix, tuple(others)
        self._file = file
        longer = tuple(other for other in others if len(other) > len(prefix))
        own = {name: None for name in file.shapes if name.startswith(prefix) and not name.startswith(longer)}
        self.shapes = {name.removeprefix(prefix): file.shapes[name] for name in own}
        self.outside = tuple(name for name in file.shapes if name not in own)

    def read(self, name: str) -> np.ndarray:
        return self._file.read(self.prefix + name)

    @property
    def is_gated(self) -> bool:
        """Whether the MLPs in the blocks are gated: gate and value are apart, or twice as wide as the output takes."""
        if any(re.search(r"\.mlp\.(fc1_g|gate_proj|weights_in)\.", name) for name in self.shapes):
            return True
        shapes = {self.fmt.canonical(name): shape for name, shape in self.shapes.items()}
        hidden, output = (shapes.get(f"blocks.0.mlp.{each}.weight", ()) for each in ("fc1", "fc2"))
        return len(hidden) == len(output) == 2 and hidden[0] == 2 * output[1]

    def notes(self) -> list[str]:
        """Sentences for the report on the choice."""
        notes = []
        if self.prefix:
            notes.append(f"the names in the file begin with {self.prefix!r}, which was removed")
        if self.others:
            taken = repr(self.prefix) if self.prefix else "no prefix"
            ways = " or ".join(f"prefix={other!r}" for other in self.others)
            count = len(self.others) + 1
            notes.append(
                f"the file holds {count} sets of weights: the one with {taken} was read; {ways} takes the other"
            )
        return notes


def prefixes_of(names: Iterable[str], fmt: CheckpointFormat) -> list[str]:
    """The prefixes before the format's names, one for each set of weights; averages of weights come last."""
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
    if not sets and fmt.recognises(names):  # a file without a patch projection: the merge lists what it lacks
        return [""]
    return sorted(sets, key=lambda prefix: (_AVERAGE.search(prefix) is not None, list(found).index(prefix)))


def choose_set(file: TensorFile, fmt: CheckpointFormat, prefix: str | None) -> NameSet | None:
    """The set with this prefix, or the first one; None if the file has no set of this format.

    Raises:
        ValueError: if there is no set with this prefix; or if it has gated MLPs, and the format's models never.
    """
    by_member = {member: prefixes_of(file.shapes, member) for member in fmt.members()}
    asked = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
    sets = list(dict.fromkeys(each for sets in by_member.values() for each in sets))
    if not sets:
        return None
    if asked is not None and asked not in sets:
        raise ValueError(
            f"{file.path} holds no weights of the format {fmt.name!r} under prefix={prefix!r}: there are "
            f"{listed(map(repr, sets))}"
        )
    member = next(member for member, own in by_member.items() if (own if asked is None else asked in own))
    chosen = by_member[member][0] if asked is None else asked
    names = NameSet(file, member, chosen, [each for each in by_member[member] if each != chosen])
    if names.is_gated and not member.may_be_gated:
        raise ValueError(
            f"{file.path} has gated MLPs, and the models of the format {fmt.name!r} never: models such as timm's "
            "EVA-02 have its names and rotary positions, which are no tensor, so take another checkpoint"
        )
    return names
