"""A report on what was loaded or saved."""

from __future__ import annotations

import dataclasses

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
