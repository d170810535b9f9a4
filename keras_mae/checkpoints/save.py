"""`save_checkpoint`."""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import keras
import ml_dtypes
import numpy as np

from keras_mae import _compat
from keras_mae.checkpoints.checkpoint_format import CheckpointFormat, slots_of
from keras_mae.checkpoints.formats import FORMATS
from keras_mae.checkpoints.hf_config import config_of
from keras_mae.checkpoints.licences import write_licence
from keras_mae.checkpoints.metadata import metadata_of
from keras_mae.checkpoints.reading import KERAS, LICENCE_KEY, SAFETENSORS, TORCH, import_torch
from keras_mae.checkpoints.report import CheckpointReport
from keras_mae.layers.slots import Slot
from keras_mae.registry import listed
from keras_mae.training.uncompiled import uncompiled

_log = logging.getLogger("keras_mae")


def save_checkpoint(model: keras.Model, path: str, format: str, licence: str | None = None) -> CheckpointReport:
    """Writes a model's weights under the names of another library; exact to the bit.

    The write is atomic, and replaces an existing file. The arguments of encoder and decoder are in the file's metadata,
    from which `describe_checkpoint` and `load_encoder` know all of it.

    Args:
        model: a `ViTEncoder`, `MaskedAutoencoder`, `SimMIM` or `ImageClassifier`.
        path: a `.safetensors`, `.pth`, `.pt` or `.bin` file; `.keras` for the format `"keras"`.
        format: `"mae_torch"`, `"timm"`, `"hf"`, `"simmim_torch"` or `"keras"`. For Hugging Face, `config.json` is
            written beside the file, so that `from_pretrained(folder)` takes it if it is called `model.safetensors`.
        licence: of the weights, such as `"cc-by-nc-4.0"`, which is written into the file and told when it is loaded.

    Returns:
        A report; `print` it.

    Raises:
        ValueError: for an unknown format or ending; a model that the format has no place for: a decoder in timm's, a
            linear probe's BatchNorm outside the official names, average pooling in Hugging Face's, an encoder of a kind
            that the library does not have; or for a `config.json` in the folder that is not Hugging Face's.

    Example:

    >>> keras_mae.save_checkpoint(mae.encoder, "encoder.safetensors", "timm")
    """
    report = write_checkpoint(model, path, format, licence)
    _log.info("%s", report)
    return report


def write_checkpoint(model: keras.Model, path: str, format: str, licence: str | None = None) -> CheckpointReport:
    """As `save_checkpoint`, without the report in the log: for a file that gets another place afterwards."""
    path = os.fspath(path)
    check_target(path, format)
    ours = slots_of(model)
    fmt = table_for_saving(FORMATS[format], model)
    ours = [fmt.placed(slot) for slot in ours]
    names = {slot.name: tuple(filter(None, fmt.file_names(slot))) for slot in ours}
    homeless = [name for name, theirs in names.items() if not theirs]
    if homeless:
        raise ValueError(
            f"the format {format!r} has no place for {listed(homeless, 1)} of this {type(model).__name__}: save its "
            "encoder (model.encoder), or choose another format, such as 'keras'"
        )
    config = config_of(model, fmt) if format == "hf" else None
    tensors = {} if format == "keras" else _tensors(ours, fmt, model)
    if config is not None:
        _check_config(config_path(path))
    with _atomic(path) as unfinished:
        if format == "keras":
            with uncompiled(model):
                model.save(unfinished)
            write_licence(unfinished, licence)
        else:
            note = metadata_of(model) | ({} if licence is None else {LICENCE_KEY: licence})
            _write_tensors(unfinished, tensors, fmt.wrapper, note)
    if config is not None:
        with _atomic(config_path(path)) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
            json.dump(config, file, indent=2)
            file.write("\n")
    notes = () if format == "keras" else tuple(_notes(model, path, format, config))
    return CheckpointReport("saved", path, format, type(model).__name__, names, notes=notes)


def config_path(path: str) -> str:
    """The path of Hugging Face's config for the weights in `path`."""
    return os.path.join(os.path.dirname(os.path.abspath(path)), "config.json")


def check_target(path: str, format: str) -> None:
    """Raises a ValueError if no file of this name is written in this format."""
    FORMATS[format]
    endings = KERAS if format == "keras" else (*SAFETENSORS, *TORCH)
    if not path.lower().endswith(endings):
        raise ValueError(f"the format {format!r} is written to {', '.join(endings)} files, got {path}")
    if path.lower().endswith(TORCH):
        import_torch(path)


def _check_config(path: str) -> None:
    """Raises a ValueError if `path` exists and is not Hugging Face's: the folder of a run has a file of this name."""
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        if '"model_type"' not in file.read():
            raise ValueError(
                f"the format 'hf' writes a config.json, and {path} is one of another kind: save into another folder"
            )


def table_for_saving(fmt: CheckpointFormat, model: keras.Model) -> CheckpointFormat:
    """The format's table that has a place for all that the model's encoder is.

    Raises:
        ValueError: if there is none, with what is in the way.
    """
    encoder = getattr(model, "encoder", model)
    refusals = {member: member.refusal(encoder) for member in fmt.members()}
    able = [member for member, refusal in refusals.items() if refusal is None]
    if not able:
        closest = next((member for member in fmt.members() if _is_of_kind(member, encoder)), fmt)
        raise ValueError(
            f"the format {fmt.name!r} cannot hold this {type(model).__name__}: it has {refusals[closest]}; choose "
            "another format, such as 'keras'"
        )
    return able[0].for_model(model, None, lambda name: False)[0]


def _is_of_kind(fmt: CheckpointFormat, encoder: Any) -> bool:
    """Whether a table is for encoders of this kind, if one has to say what is in the way."""
    owners = {"num_registers": "encoder.registers", "layer_scale": "encoder.blocks.{}.mlp_scale.gamma"}
    has_all = all(owner in fmt.names for name, owner in owners.items() if getattr(encoder, name, None))
    return has_all and fmt.rotary == (getattr(encoder, "rotary_temperature", None) is not None)


def _tensors(ours: list[Slot], fmt: CheckpointFormat, model: keras.Model) -> dict[str, np.ndarray]:
    encoder = getattr(model, "encoder", model)
    key_biases_count = getattr(encoder, "rotary_temperature", None) is not None or getattr(encoder, "qk_norm", False)
    tensors = fmt.unused(encoder)
    for slot in ours:
        names = fmt.file_names(slot)
        pieces = np.split(slot.value, len(names), axis=-1)
        if key_biases_count and any(np.any(piece) for name, piece in zip(names, pieces, strict=True) if not name):
            raise ValueError(
                f"{slot.name} has a bias of the keys, which the format {fmt.name!r} has no place for, and which counts "
                "with rotary positions or norms of keys: choose the format 'keras' or 'hf'"
            )
        tensors |= {name: slot.layout.to_file(piece) for name, piece in zip(names, pieces, strict=True) if name}
    return tensors


def _sort_metadata(path: str) -> None:
    """Sorts the metadata of a safetensors file, whose order the library changes from one write to the next."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        sorted_header = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        if len(sorted_header) == length:
            file.seek(8)
            file.write(sorted_header)


def _write_tensors(path: str, tensors: dict[str, np.ndarray], wrapper: str | None, metadata: dict[str, str]) -> None:
    if path.lower().endswith(SAFETENSORS):
        from safetensors.numpy import save_file

        contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        # "format" tells Hugging Face and timm that the tensors are in PyTorch's layout
        save_file(contiguous, path, {"format": "pt", **metadata})
        _sort_metadata(path)
        return
    torch = import_torch(path)

    def tensor(array: np.ndarray) -> Any:
        array = np.array(array, order="C")  # PyTorch warns of memory that is read-only
        if array.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
        return torch.from_numpy(array)

    content = collections.OrderedDict((name, tensor(array)) for name, array in tensors.items())
    _compat.set_note(content, metadata)
    torch.save({wrapper: content} if wrapper else content, path)


@contextlib.contextmanager
def _atomic(path: str) -> Iterator[str]:
    """A temporary path in the same folder, which is made; the file replaces `path` when it is complete."""
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    unfinished = os.path.join(folder, f".unfinished-{os.getpid()}-{name}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)


def _notes(model: keras.Model, path: str, format: str, config: dict[str, Any] | None) -> Iterator[str]:
    """Sentences on settings that a reader of the file in another library needs."""
    encoder = getattr(model, "encoder", model)
    pixels = encoder.normalize_pixels
    yield (
        f"pixels are scaled to [0, 1], then normalised by mean {pixels.mean} and std {pixels.std}; {encoder.num_heads} "
        f"heads, LayerNorm epsilon {encoder.layer_norm_epsilon}"
    )
    if getattr(encoder, "rotary_temperature", None) is not None:
        yield f"rotary positions of temperature {encoder.rotary_temperature:g}, which are no tensor"
    if format == "simmim_torch":
        yield "biases of keys are left out: they have no influence"
    if config is not None:
        yield f"its config is {config_path(path)}"
    elif format == "hf":
        shapes = "square images for ViTMAE, DINOv2 and Pixio, a class token"
        yield f"no config.json: Hugging Face has no class of this shape ({shapes})"
