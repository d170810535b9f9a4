"""A report on what was loaded or saved."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras_mae.registry import listed


@dataclasses.dataclass(frozen=True)
class CheckpointReport:
    """The report of `load_checkpoint` and `save_checkpoint`; `print` it.

    Attributes:
        action: "loaded" or "saved".
        path: the file.
        format: its format.
        model: the model's class.
        tensors: for each variable that was assigned (or written), by our name: the names in the file.
        skipped: names, of ours and of the file's, that `skip` left out.
        fresh: the variables that kept the values they had, by our name: those that `skip` left out.
        resized: the variables whose values were resized to another grid, or adapted to another number of channels.
        dropped: names in the file that belong to a part which the model does not have by design, such as the decoder
            when an encoder is loaded.
        encoder_only: whether the file holds an encoder and nothing else.
        notes: further sentences, for instance on resized position embeddings.
    """

    action: str
    path: str
    format: str
    model: str
    tensors: dict[str, tuple[str, ...]]
    skipped: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    encoder_only: bool = False
    notes: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """What happened, for a JSON file: lists of our names, but for what was dropped."""
        return {
            "file": self.path,
            "format": self.format,
            "model": self.model,
            "count": len(self.tensors),
            self.action: list(self.tensors),
            "fresh": list(self.fresh),
            "resized": list(self.resized),
            "dropped": list(self.dropped),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        preposition = "from" if self.action == "loaded" else "to"
        holds = ", which holds an encoder only" if self.encoder_only else ""
        lines = [
            f"{self.action} {len(self.tensors)} variables of the {self.model} {preposition} {self.path} "
            f"(format {self.format}{holds})"
        ]
        if self.skipped:
            lines.append(f"  skipped by request: {listed(self.skipped)}")
        if self.fresh:
            lines.append(f"  not loaded, so as they were: {listed(self.fresh)}")
        if self.resized:
            lines.append(f"  resized or adapted: {listed(self.resized)}")
        if self.dropped:
            lines.append(f"  not part of a {self.model}, so not read: {listed(self.dropped)}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])
