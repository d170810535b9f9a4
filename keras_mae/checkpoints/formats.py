"""The formats by name, and which of them a file looks like."""

from __future__ import annotations

from collections.abc import Collection

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.hf import HFFormat
from keras_mae.checkpoints.mae_torch import MAETorchFormat
from keras_mae.checkpoints.name_sets import prefixes_of
from keras_mae.checkpoints.report import listed
from keras_mae.checkpoints.simmim_torch import SimMIMTorchFormat
from keras_mae.checkpoints.timm import TimmFormat
from keras_mae.layers.slots import Slot


class KerasFormat(CheckpointFormat):
    """Models of this package saved by Keras; the names are ours.

    `keras.saving.load_model` gives back the model that was saved. As a checkpoint format, such a file also fills a
    model that exists already, and of another kind: the encoder of a saved `MaskedAutoencoder`, for one.
    """

    name = "keras"
    names = {}
    parts = {"decoder": r"^(decoder\.|mask_token$)", "head": r"^(head|batch_norm)\."}
    signature = r"^encoder\.patch_projection\.kernel$"

    @property
    def patch_kernel(self) -> str:
        return "encoder.patch_projection.kernel"

    def file_names(self, slot: Slot) -> tuple[str, ...]:
        return (slot.name,)


FORMATS: dict[str, CheckpointFormat] = {
    each.name: each for each in (MAETorchFormat(), TimmFormat(), HFFormat(), SimMIMTorchFormat(), KerasFormat())
}


def format_called(name: str) -> CheckpointFormat:
    """The format of this name.

    Raises:
        ValueError: if there is none.
    """
    if name not in FORMATS:
        raise ValueError(f"format is one of {', '.join(map(repr, FORMATS))}; got {name!r}")
    return FORMATS[name]


def suggestion(names: Collection[str], path: str) -> str:
    """A sentence on the formats that a file's names look like."""
    likely = [fmt.name for fmt in FORMATS.values() if prefixes_of(names, fmt)]
    shown = f"its names ({listed(names, 3)})"
    if not likely:
        return f"{path} looks like none of them: {shown} are not those of a Vision Transformer that this package knows"
    return f"{path} looks like {' or '.join(f'format={name!r}' for name in likely)}, by {shown}"
