"""What was done with a checkpoint, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class CheckpointReport:
    """The account that `load_checkpoint` and `save_checkpoint` give; `print` it.

    Attributes:
        action: "loaded" or "saved".
        path: the file.
        format: its format.
        model: the model's class.
        tensors: for each variable that was assigned (or written), by our name: the names in the file.
        skipped: names, of ours and of the file's, that were left out by request.
        dropped: names in the file that belong to a part which the model does not have by design, such as the decoder
            when an encoder is loaded.
        encoder_only: whether the file holds an encoder and nothing else.
        notes: what else is worth knowing, such as resized position embeddings.
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

    def __str__(self) -> str:
        preposition = "from" if self.action == "loaded" else "to"
        holds = ", which holds an encoder only" if self.encoder_only else ""
        lines = [
            f"{self.action} {len(self.tensors)} variables of the {self.model} {preposition} {self.path} "
            f"(format {self.format}{holds})"
        ]
        if self.skipped:
            lines.append(f"  skipped by request: {listed(self.skipped)}")
        if self.dropped:
            lines.append(f"  not part of a {self.model}, so not read: {listed(self.dropped)}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def listed(names: Iterable[str], limit: int = 8) -> str:
    """Names in one line, the first of them if they are many."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
