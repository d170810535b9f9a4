"""Our own `.keras` files as a checkpoint format."""

from __future__ import annotations

import re
from collections.abc import Collection

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.layouts import Slot


class KerasFormat(CheckpointFormat):
    """Models of this package saved by Keras; the names are ours.

    `keras.saving.load_model` gives back the model that was saved. As a checkpoint format, such a file also fills a
    model that exists already, and of another kind: the encoder of a saved `MaskedAutoencoder`, for one.
    """

    name = "keras"
    names = {}
    parts = {"decoder": r"^decoder\.", "head": r"^(head|batch_norm)\."}
    signature = r"^encoder\.patch_projection\.kernel$"

    def file_names(self, slot: Slot) -> tuple[str, ...]:
        return (slot.name,)

    def recognises(self, names: Collection[str]) -> bool:
        return any(re.search(self.signature, name) for name in names)
