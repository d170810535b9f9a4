"""The strict merge: which tensor of a file goes into which variable, or why it cannot."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Collection, Iterable, Sequence

import keras

from keras_mae.checkpoints.channels import chosen_channels
from keras_mae.checkpoints.checkpoint_format import ZEROS, CheckpointFormat, parts_of, slots_of
from keras_mae.checkpoints.difference import Difference, Misfit, explain
from keras_mae.checkpoints.name_sets import NameSet
from keras_mae.checkpoints.positions import grid_in_file
from keras_mae.checkpoints.report import CheckpointReport
from keras_mae.layers.slots import Offsets, PatchKernel, Slot, Table
from keras_mae.registry import listed

Grid = tuple[int, int]
Channels = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A variable and the tensors of the file that hold it, side by side along its last axis.

    Attributes:
        slot: the variable.
        names: the tensors, by their names in the file; or `ZEROS`.
        old_grid: the file's grid, for position embeddings that have to change; else None.
        lacking: how many rows of position embeddings, of prefix tokens, the file lacks; they become zeros.
        channels: for the patch projection, the file's channel for each of ours, None for the mean of the file's; None
            if nothing has to change.
    """

    slot: Slot
    names: tuple[str, ...]
    old_grid: Grid | None = None
    lacking: int = 0
    channels: Channels | None = None

    @property
    def resizes(self) -> bool:
        """Whether the variable gets other numbers than the file's."""
        return self.old_grid is not None or self.channels is not None


def plan_merge(
    model: keras.Model,
    file: NameSet,
    skip: str | Sequence[str],
    resize: bool | Grid,
    channels_from: str | Sequence[int | None] | None,
) -> tuple[list[Assignment], CheckpointReport]:
    """Gives every tensor of a file and every variable of a model exactly one place, before any variable changes.

    A tensor may be left over only if it is skipped, or belongs to a part that this kind of model does not have by
    design (an encoder has no decoder and no head). A variable may keep its value only if it is skipped.

    Args:
        model: the model to load into.
        file: the file; only its position embeddings are read here.
        skip: patterns (`fnmatch`) of names, the file's or ours.
        resize: `resize_positions` of `load_checkpoint`.
        channels_from: as for `load_checkpoint`.

    Returns:
        An assignment for each variable to load, and the report of the load.

    Raises:
        ValueError: with both differences listed, if there are any; or for a pattern that matches nothing.
    """
    shapes, fmt = file.shapes, file.fmt
    _check_kind(model, fmt, file.path)
    found = _canonical_names(shapes, fmt, file.path)
    ours = slots_of(model)
    skipping = _Selector(skip)
    fmt, notes = fmt.for_model(model, found, lambda name: skipping.matches([name]))

    assignments: list[Assignment] = []
    difference = Difference()
    skipped: list[str] = []
    fresh: list[str] = []
    kinds = {_any_block(name) for name in found}
    zero_biases: dict[str, None] = {}
    left = dict(found)  # what no variable has taken yet
    for slot in map(fmt.placed, ours):
        canonical = fmt.file_names(slot)
        names = tuple(left.pop(name) if name in left else ZEROS for name in canonical)
        present, absent = [name for name in names if name], [name for name in canonical if name and name not in found]
        if skipping.matches([slot.name, *filter(None, canonical), *present]):
            skipped += [slot.name, *present]
            fresh.append(slot.name)
        elif not canonical or (absent and not _may_be_zeros(slot, absent, kinds)):
            difference.missing.append((slot, absent))
        elif isinstance(slot.layout, (Table, Offsets)):
            assignments.append(_positions(slot, names[0], file, fmt, found, resize, difference))
        else:
            zero_biases |= dict.fromkeys(map(_any_block, absent))
            expected = slot.file_shape(len(names))
            channels = None
            if isinstance(slot.layout, PatchKernel) and present:
                channels = chosen_channels(channels_from, slot.layout.channels, shapes[present[0]])
                expected = (expected[0], shapes[present[0]][1], *expected[2:]) if channels else expected
            wrong = (name for name in present if shapes[name] != expected)
            difference.misfits += [Misfit(slot, name, shapes[name], expected) for name in wrong]
            assignments.append(Assignment(slot, names, channels=channels))
    if zero_biases:
        notes = [*notes, f"the file has no {listed(zero_biases)}: these biases are zeros, which compute the same"]

    parts = parts_of(ours)
    dropped: list[str] = []
    for canonical_name, name in left.items():
        part = fmt.part_of(canonical_name)
        if skipping.matches([name, canonical_name, f"{part}.{name}"]):
            skipped.append(name)
        elif part in parts and 0 not in shapes[name]:  # an empty tensor is nothing
            difference.unexpected.append(name)
        else:
            dropped.append(name)

    skipping.check_all_matched([*(slot.name for slot in ours), *shapes])
    if difference:
        raise ValueError(explain(difference, file, fmt, model, {name: shapes[found[name]] for name in found}))
    return assignments, CheckpointReport(
        "loaded",
        file.path,
        fmt.name,
        type(model).__name__,
        {each.slot.name: tuple(filter(None, each.names)) for each in assignments},
        tuple(skipped),
        (*dropped, *file.outside),
        encoder_only={fmt.part_of(name) for name in found} <= {"encoder", "mask_token", "nothing"},
        notes=(*file.notes(), *notes),
        fresh=tuple(fresh),
        resized=tuple(each.slot.name for each in assignments if each.resizes),
    )


def _canonical_names(names: Iterable[str], fmt: CheckpointFormat, path: str) -> dict[str, str]:
    """The names in the file by their canonical names."""
    found: dict[str, str] = {}
    for name in names:
        canonical = fmt.canonical(name)
        if canonical in found:
            raise ValueError(f"{path} holds one tensor under two names, {found[canonical]} and {name}; remove one")
        found[canonical] = name
    return found


def _positions(
    slot: Slot,
    name: str,
    file: NameSet,
    fmt: CheckpointFormat,
    found: Collection[str],
    resize: bool | Grid,
    difference: Difference,
) -> Assignment:
    """The assignment of a table of positions; reasons against it go into `difference`."""
    shape, expected = file.shapes[name], slot.file_shape()
    if len(shape) != len(expected) or (shape[:-2], shape[-1]) != (expected[:-2], expected[-1]) or not shape[-2]:
        difference.misfits.append(Misfit(slot, name, shape, expected))  # another width, which resizing does not mend
        return Assignment(slot, (name,))
    layer = slot.layout.layer  # type: ignore[attr-defined]
    table = slot.layout.from_file(file.read(name))
    # timm's no_embed_class: the class token is there, and has no position
    allow_lacking = slot.owner == "encoder.positions.table" and fmt.names.get("encoder.cls_token") in found
    there = grid_in_file(layer, table, file.grid, resize, allow_lacking)
    if there.trouble:
        difference.misfits.append(Misfit(slot, name, shape, expected, there.trouble))
    return Assignment(slot, (name,), None if there.grid == layer.grid else there.grid, there.lacking)


def _check_kind(model: keras.Model, fmt: CheckpointFormat, path: str) -> None:
    """Raises a ValueError if one of file and encoder has rotary positions, of which there is no tensor."""
    encoder = getattr(model, "encoder", model)
    temperature = getattr(encoder, "rotary_temperature", None)
    if fmt.names and fmt.rotary != (temperature is not None):
        remedy = "rotary_temperature=100.0 (DINOv3's)" if fmt.rotary else "rotary_temperature=None"
        raise ValueError(
            f"{path} is of a model {'with' if fmt.rotary else 'without'} rotary positions, by its names, and this "
            f"{type(model).__name__} has rotary_temperature={temperature}: build the encoder with {remedy}"
        )


def _may_be_zeros(slot: Slot, absent: list[str], kinds: Collection[str]) -> bool:
    """Whether these are biases in the blocks that no block of the file has beside its matrix."""
    if not (
        re.search(r"\.blocks\.\d+\.(attention\.qkv|attention\.projection|mlp_\w+)$", slot.owner) and slot.leaf == "bias"
    ):
        return False
    for kind in map(_any_block, absent):
        matrix = re.sub(r"(\.[qkv]_bias|\.bias)$", ".weight", kind)
        if kind in kinds or not (matrix in kinds or matrix.endswith("attn.weight")):
            return False
    return True


def _any_block(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


class _Selector:
    """The patterns of names to skip, and which of them matched."""

    def __init__(self, patterns: str | Sequence[str]) -> None:
        self.patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        self.matched: set[str] = set()

    def matches(self, names: Sequence[str]) -> bool:
        """Whether any pattern matches any of these names of one tensor or variable."""
        hits = {each for each in self.patterns if any(fnmatch.fnmatchcase(name, each) for name in names)}
        self.matched |= hits
        return bool(hits)

    def check_all_matched(self, names: Sequence[str]) -> None:
        """Raises a ValueError, which shows some of `names`, if a pattern has matched nothing."""
        idle = [each for each in self.patterns if each not in self.matched]
        if idle:
            raise ValueError(
                f"skip={idle[0]!r} matches no name, neither of the model nor of the file. Patterns are as in fnmatch, "
                f"such as 'head.*'; the names are {listed(names)}"
            )
