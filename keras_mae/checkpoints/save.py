"""`save_checkpoint`."""

from __future__ import annotations

import json
import logging
import os

import keras
import numpy as np

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.formats import format_called
from keras_mae.checkpoints.hf import config_of
from keras_mae.checkpoints.layouts import Slot, slots, value_of
from keras_mae.checkpoints.reading import KERAS
from keras_mae.checkpoints.report import CheckpointReport
from keras_mae.checkpoints.writing import write_tensors

_log = logging.getLogger("keras_mae")


def save_checkpoint(model: keras.Model, path: str, format: str) -> CheckpointReport:
    """Writes a model's weights under the names of another library; exact to the bit.

    Args:
        model: a `ViTEncoder`, `MaskedAutoencoder` or `ImageClassifier`.
        path: a `.safetensors`, `.pth`, `.pt` or `.bin` file; `.keras` for the format `"keras"`. It is replaced if it
            exists.
        format: `"mae_torch"`, `"timm"`, `"hf"` or `"keras"`. For Hugging Face, `config.json` is written beside the
            file, so that `from_pretrained(folder)` takes it if it is called `model.safetensors`.

    Returns:
        A report; `print` it.

    Raises:
        ValueError: for an unknown format or ending, or a model that the format has no place for: a decoder in timm's, a
            linear probe's BatchNorm outside the official names, average pooling in Hugging Face's.

    Example:

    >>> keras_mae.save_checkpoint(mae.encoder, "encoder.safetensors", "timm")
    """
    fmt = format_called(format)
    path = os.fspath(path)
    ours = slots(model)
    fmt, _ = fmt.for_model(model, None, lambda name: False)
    names = {slot.name: fmt.file_names(slot) for slot in ours}
    homeless = [name for name, theirs in names.items() if not theirs]
    if homeless:
        raise ValueError(
            f"the format {format!r} has no place for {homeless[0]} and {len(homeless) - 1} more of this "
            f"{type(model).__name__}: save its encoder (model.encoder), or choose another format, such as 'mae_torch'"
        )
    notes = []
    if format == "keras":
        if not path.lower().endswith(KERAS):
            raise ValueError(f"the format 'keras' is written to files that end in .keras, got {path}")
        model.save(path)
    else:
        write_tensors(path, _tensors(ours, fmt), fmt.wrapper)
    if format == "hf":
        notes.append(_write_config(model, path))
    report = CheckpointReport("saved", path, format, type(model).__name__, names, notes=tuple(notes))
    _log.info("%s", report)
    return report


def _tensors(ours: list[Slot], fmt: CheckpointFormat) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for slot in ours:
        names = fmt.file_names(slot)
        pieces = np.split(value_of(slot), len(names), axis=-1)
        tensors |= {name: slot.layout.to_file(piece) for name, piece in zip(names, pieces, strict=True)}
    return tensors


def _write_config(model: keras.Model, path: str) -> str:
    config = config_of(model)
    if config is None:
        return "no config.json: no class of Hugging Face's has this shape (square images for ViTMAE, a class token)"
    file = os.path.join(os.path.dirname(os.path.abspath(path)), "config.json")
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(config, stream, indent=2)
        stream.write("\n")
    return f"its config is {file}"
