"""The strict merge: which tensor of a file goes into which variable, or why it cannot be."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Iterable, Sequence

import keras

from keras_mae.checkpoints.checkpoint_format import ZEROS, CheckpointFormat, parts_of
from keras_mae.checkpoints.layouts import Slot, Table, slots
from keras_mae.checkpoints.positions import grid_of_table
from keras_mae.checkpoints.report import listed

Grid = tuple[int, int]
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A variable and the tensors of the file that hold it, side by side along its last axis.

    Attributes:
        slot: the variable.
        names: the tensors, by their names in the file; or `ZEROS`.
        old_grid: for position embeddings that have to change, the grid of the file's; else None.
    """

    slot: Slot
    names: tuple[str, ...]
    old_grid: Grid | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a load will do.

    Attributes:
        assignments: one for each variable that is loaded.
        skipped, dropped, encoder_only, notes: as in `CheckpointReport`.
    """

    assignments: list[Assignment]
    skipped: tuple[str, ...]
    dropped: tuple[str, ...]
    encoder_only: bool
    notes: tuple[str, ...]


def plan_merge(
    model: keras.Model,
    shapes: dict[str, Shape],
    fmt: CheckpointFormat,
    path: str,
    skip: str | Sequence[str] = (),
    resize_positions: bool | Grid = False,
) -> Plan:
    """Gives every tensor of a file and every variable of a model exactly one place, before anything is read.

    A tensor may stay over only if it was skipped, or belongs to a part that this kind of model does not have by design
    (an encoder has no decoder and no head). A variable may stay as it is only if it was skipped.

    Args:
        model: what is loaded.
        shapes: the file's tensors, names as they are in the file.
        fmt: the file's format.
        path: the file, for messages.
        skip: patterns (`fnmatch`) of names, the file's or ours.
        resize_positions: as for `load_checkpoint`.

    Raises:
        ValueError: with both differences listed, if there are any; or for a pattern that matches nothing.
    """
    found = _canonical_names(shapes, fmt, path)
    ours = slots(model)
    skipping = _Selector(skip)
    fmt, notes = fmt.for_model(model, found, lambda name: skipping.matches([name]))

    assignments: list[Assignment] = []
    difference = Difference()
    skipped: list[str] = []
    left = dict(found)  # what no variable has taken yet
    for slot in ours:
        canonical = fmt.file_names(slot)
        names = tuple(left.pop(name) if name in left else ZEROS for name in canonical)
        present, absent = [name for name in names if name], [name for name in canonical if name and name not in found]
        if skipping.matches([slot.name, *filter(None, canonical), *present]):
            skipped += [slot.name, *present]
        elif not canonical or absent:
            difference.missing.append((slot, absent))
        else:
            old_grid = _grid_to_change(slot, shapes[names[0]], resize_positions)
            if old_grid is None:
                expected = _expected_shape(slot, len(names))
                wrong = (name for name in present if shapes[name] != expected)
                difference.misfits += [Misfit(slot, name, shapes[name], expected) for name in wrong]
            assignments.append(Assignment(slot, names, old_grid))

    dropped: list[str] = []
    for canonical_name, name in left.items():
        part = fmt.part_of(canonical_name)
        if skipping.matches([name, canonical_name, f"{part}.{name}"]):
            skipped.append(name)
        elif part in parts_of(model):
            difference.unexpected.append(name)
        else:
            dropped.append(name)

    skipping.check_all_matched([*(slot.name for slot in ours), *shapes])
    if difference:
        raise ValueError(explain(difference, path, fmt, model, {name: shapes[found[name]] for name in found}))
    encoder_only = {fmt.part_of(name) for name in found} <= {"encoder", "nothing"}
    return Plan(assignments, tuple(skipped), tuple(dropped), encoder_only, tuple(notes))


def _canonical_names(names: Iterable[str], fmt: CheckpointFormat, path: str) -> dict[str, str]:
    """The names in the file by their canonical names."""
    found: dict[str, str] = {}
    for name in names:
        canonical = fmt.canonical(name)
        if canonical in found:
            raise ValueError(f"{path} holds one tensor under two names, {found[canonical]} and {name}; remove one")
        found[canonical] = name
    return found


def _expected_shape(slot: Slot, pieces: int) -> Shape:
    *first, last = tuple(slot.variable.shape)
    return slot.layout.file_shape((*first, last // pieces))


def _grid_to_change(slot: Slot, shape: Shape, resize_positions: bool | Grid) -> Grid | None:
    """The grid of the file's position embeddings, if they may and must be brought to the model's."""
    if not isinstance(slot.layout, Table) or not resize_positions:
        return None
    if len(shape) != 3 or (shape[0], shape[2]) != (1, slot.variable.shape[1]):
        return None  # another width: no resizing mends that
    layer = slot.layout.layer
    grid = grid_of_table(shape[1] - layer.num_prefix_tokens, layer.grid, resize_positions)
    return None if grid == layer.grid else grid


class _Selector:
    """The patterns of names to skip, and which of them matched."""

    def __init__(self, patterns: str | Sequence[str]) -> None:
        self.patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        self.matched: set[str] = set()

    def matches(self, names: Sequence[str]) -> bool:
        """Whether any pattern fits any of these names of one thing."""
        hits = {each for each in self.patterns if any(fnmatch.fnmatchcase(name, each) for name in names)}
        self.matched |= hits
        return bool(hits)

    def check_all_matched(self, names: Sequence[str]) -> None:
        """Raises if a pattern has matched nothing; shows some of `names`."""
        idle = [each for each in self.patterns if each not in self.matched]
        if idle:
            raise ValueError(
                f"skip={idle[0]!r} matches no name, neither of the model nor of the file. Patterns are as in fnmatch, "
                f"such as 'head.*', and there are {listed(names)}"
            )


@dataclasses.dataclass(frozen=True)
class Misfit:
    """A tensor with another shape than its variable's."""

    slot: Slot
    name: str
    found: Shape
    expected: Shape

    @property
    def is_other_grid(self) -> bool:
        """Whether it is position embeddings of the right width."""
        return isinstance(self.slot.layout, Table) and self.found[-1:] == self.expected[-1:]

    def __str__(self) -> str:
        return f"{self.name} {self.found} in the file, {self.expected} in the model"


@dataclasses.dataclass
class Difference:
    """What keeps a file from fitting.

    Attributes:
        missing: variables, each with its names that the file lacks (none if the format has no place for it).
        unexpected: names in the file that no variable takes.
        misfits: names on both sides, with different shapes.
    """

    missing: list[tuple[Slot, list[str]]] = dataclasses.field(default_factory=list)
    unexpected: list[str] = dataclasses.field(default_factory=list)
    misfits: list[Misfit] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misfits)


def explain(
    difference: Difference, path: str, fmt: CheckpointFormat, model: keras.Model, shapes: dict[str, Shape]
) -> str:
    """The message of the error.

    Args:
        difference: what is wrong.
        path: the file.
        fmt: its format.
        model: what should have been loaded.
        shapes: the file's tensors by canonical name.
    """
    lines = [f"{path} (format {fmt.name}) does not fit the {type(model).__name__}, and nothing was loaded."]
    encoder = getattr(model, "encoder", model)
    found, wanted = _encoder_size(fmt, shapes), (encoder.num_layers, encoder.hidden_dim)
    if found is not None and found != wanted:
        lines.append("The encoder has {} blocks of width {} in the file, {} of {} here.".format(*found, *wanted))
    if difference.misfits:
        lines.append(f"Other shapes ({len(difference.misfits)}): {listed(map(str, difference.misfits), 4)}.")
    if difference.missing:
        names = [f"{listed(names) or 'no place in this format'} ({slot.name})" for slot, names in difference.missing]
        lines.append(f"Missing in the file ({len(names)}): {listed(names)}.")
    if difference.unexpected:
        lines.append(f"Unexpected in the file ({len(difference.unexpected)}): {listed(difference.unexpected)}.")
    return "\n".join([*lines, *_remedies(difference, fmt, shapes)])


def _encoder_size(fmt: CheckpointFormat, shapes: dict[str, Shape]) -> tuple[int, int] | None:
    """Number of blocks and width of the encoder in the file."""
    norm = str(fmt.names.get("encoder.blocks.{}.norm1", "encoder.blocks.{}.norm1"))
    pattern = re.escape(norm).replace(r"\{\}", r"\d+") + r"\.(bias|beta)"
    widths = [shape[-1] for name, shape in shapes.items() if re.fullmatch(pattern, name)]
    return (len(widths), widths[0]) if widths else None


def _remedies(difference: Difference, fmt: CheckpointFormat, shapes: dict[str, Shape]) -> list[str]:
    in_file = {fmt.part_of(name) for name in shapes}
    missing = {slot.part for slot, _ in difference.missing}
    remedies = []
    if "decoder" in missing and "decoder" not in in_file:
        remedies.append(
            "The file holds no decoder: get a full checkpoint, or keep the model's decoder as it is, with "
            "skip=('decoder.*',)."
        )
    if "head" in missing and "head" not in in_file:
        remedies.append("The file holds no classifier: keep the model's head as it is, with skip=('head.*',).")
    if any(misfit.slot.part == "head" for misfit in difference.misfits):
        remedies.append("For another number of classes, keep the model's head as it is, with skip=('head.*',).")
    if any(misfit.is_other_grid for misfit in difference.misfits):
        remedies.append(
            "For position embeddings of another image size, allow their resizing: resize_positions=True if the file's "
            "grid is square, else resize_positions=(rows, columns) of it."
        )
    return remedies or ["Build the model in the file's sizes, or leave something out with skip=(patterns of names,)."]
