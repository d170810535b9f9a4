"""Says why a file does not fit a model, and what to do."""

from __future__ import annotations

import dataclasses
import re

import keras

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.layouts import Slot, Table
from keras_mae.checkpoints.report import listed

Shape = tuple[int, ...]


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
