"""`load_checkpoint`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import keras
import ml_dtypes
import numpy as np

from keras_mae.checkpoints.channels import adapted_kernel, note_on_channels
from keras_mae.checkpoints.config_beside import config_for
from keras_mae.checkpoints.formats import FORMATS, suggestion
from keras_mae.checkpoints.known_files import local_path
from keras_mae.checkpoints.merge import Assignment, plan_merge
from keras_mae.checkpoints.name_sets import NameSet, choose_set
from keras_mae.checkpoints.positions import note_on_kind, table_for
from keras_mae.checkpoints.reading import TensorFile, open_tensors
from keras_mae.checkpoints.report import CheckpointReport
from keras_mae.layers.slots import Offsets, PatchKernel, Table
from keras_mae.registry import listed

_log = logging.getLogger("keras_mae")
_FLOATS = tuple(map(np.dtype, ("float64", "float32", "float16", ml_dtypes.bfloat16)))


def load_checkpoint(
    model: keras.Model,
    path: str,
    format: str,
    skip: Sequence[str] = (),
    resize_positions: bool | tuple[int, int] = False,
    prefix: str | None = None,
    channels_from: str | Sequence[int | None] | None = None,
) -> CheckpointReport:
    """Fills a model with published weights, or with weights of our own; strictly.

    Every tensor of the file is used and every variable assigned exactly once; otherwise the error lists both
    differences and the model keeps its weights. Two exceptions, both in the report: names in `skip`, and tensors of a
    part that this kind of model does not have by design. A `ViTEncoder` takes the encoder out of a full checkpoint or
    a classifier, and an `ImageClassifier` leaves out a decoder; a `MaskedAutoencoder` without its decoder's weights is
    an error unless they are skipped.

    No tensor tells the number of heads, LayerNorm's epsilon (1e-6 in the official code and timm, 1e-12 by default in
    Hugging Face), mean and std of the pixels, or the grid of a non-square image: the caller has to know them, or takes
    `load_encoder`, which reads them in our own files and in configs, and otherwise knows what is published.

    Args:
        model: a `ViTEncoder`, `MaskedAutoencoder`, `SimMIM` or `ImageClassifier`.
        path: a `.safetensors`, `.pth`, `.pt`, `.bin` or `.keras` file, or what stands for one: a URL, a folder, the
            name of published weights such as `mae_vit_base`, or `hf://OWNER/NAME`, see `known_files.local_path`.
            PyTorch's files are read with `weights_only=True`: code in them is refused.
        format: `"mae_torch"` (the official names), `"timm"`, `"hf"` (Hugging Face), `"simmim_torch"` (the names of
            SimMIM's code) or `"keras"` (ours).
        skip: patterns (as in `fnmatch`) of names to leave out, the file's or ours: `"head.*"`, `"decoder.*"`. A
            pattern that matches nothing is an error.
        resize_positions: True allows position embeddings of another grid: they are resized by
            `keras_mae.layers.resize_position_embedding`, or, sin-cos for a sin-cos model, computed anew.
            (rows, columns) does so too, and gives the file's grid. Our own files state it, Hugging Face's in the
            `config.json` beside them, and sin-cos tables by their numbers; any other is taken for a square one; a
            grid that is not square has to be given, even if it is the model's.
        prefix: the prefix of the names, such as `"teacher.backbone."`, if the file holds several sets of weights;
            None takes the one set that is there, or of several the first that is no average (EMA, teacher). One
            prefix is removed, and the report says which.
        channels_from: for a patch projection of another number of channels, see `adapted_kernel`. None refuses it;
            "mean" gives each of our channels the mean over the file's, scaled so that an image with equal channels
            gives the same response; a sequence names the file's channel for each of ours, counted from 0, and None in
            it the mean: all are then scaled by c / C, which keeps that response only if each of the file's channels is
            named equally often, or none. Never changes mean and std.

    Returns:
        A report; `print` it.

    Raises:
        ValueError: if the file is missing, damaged or holds code, does not fit, has another format, or has weights that
            are NaN or infinite.

    Example:

    >>> encoder = keras_mae.ViTEncoder.from_preset("vit_base_patch16")
    >>> print(keras_mae.load_checkpoint(encoder, "mae_pretrain_vit_base.pth", "mae_torch"))
    """
    path = local_path(path)
    with open_tensors(path) as opened:
        if format not in FORMATS:
            known = ", ".join(map(repr, FORMATS))
            raise ValueError(f"format is one of {known}; got {format!r}. {suggestion(opened.shapes, path)}")
        fmt = FORMATS[format]
        file = choose_set(opened, fmt, prefix)
        if file is None:
            raise ValueError(f"{path} is not in the format {format!r}. {suggestion(opened.shapes, path)}")
        if file.fmt.names:
            config_for(path, getattr(getattr(model, "encoder", model), "hidden_dim", 0), file.is_gated)
        if file.grid is None:
            file.grid = _grid_beside(file, path)
        assignments, report = plan_merge(model, file, skip, resize_positions, channels_from)
        _check_values(file, assignments)
        _check_key_biases(model, file, assignments)
        notes = [f"{each.slot.name}: {note}" for each in assignments for note in _assign(file, each)]
    report = dataclasses.replace(report, notes=(*report.notes, *notes))
    _log.info("%s", report)
    return report


def _grid_beside(file: NameSet, path: str) -> tuple[int, int] | None:
    """The grid that the config beside a file states; None if the table of positions is of another number of patches."""
    grid, fmt = file.fmt.grid_beside(path), file.fmt
    shapes = {fmt.canonical(name): shape for name, shape in file.shapes.items()}
    table, *tokens = (
        shapes.get(str(fmt.names.get(f"encoder.{owner}")), ())
        for owner in ("positions.table", "cls_token", "registers")
    )
    if grid is None or len(table) < 2:
        return grid
    classes, registers = (shape[1] if len(shape) > 1 else 0 for shape in tokens)
    prefix = table[-2] - grid[0] * grid[1]
    return grid if prefix in (0, classes, classes + registers) else None


def _check_values(file: TensorFile, assignments: list[Assignment]) -> None:
    """Raises a ValueError for NaN and infinity in any tensor to assign, before the first is assigned."""
    bad = []
    for name in (name for each in assignments for name in each.names if name):
        array = file.read(name)
        if array.dtype not in _FLOATS:
            raise ValueError(f"{file.path}: {name} holds {array.dtype}, and weights are floats; leave it out with skip")
        if not _is_finite(array):
            count = int(np.sum(~np.isfinite(array.astype("float32"))))
            bad.append(f"{name} ({count} of {array.size})")
    if bad:
        raise ValueError(
            f"{file.path} holds weights that are NaN or infinite: {listed(bad)}; nothing was loaded. Take an earlier "
            "checkpoint of that run, or leave these out with skip"
        )


def _check_key_biases(model: keras.Model, file: TensorFile, assignments: list[Assignment]) -> None:
    """Raises a ValueError if the file has biases of keys, and the model keeps them at zero."""
    if getattr(getattr(model, "encoder", model), "key_bias", True):
        return
    for each in assignments:
        if each.slot.owner.startswith("encoder.") and each.slot.name.endswith(".attention.qkv.bias"):
            names = each.names if len(each.names) == 3 else each.names * 3
            key = file.read(names[1]) if names[1] else np.zeros(1)
            if np.any(key if len(each.names) == 3 else np.split(key, 3)[1]):
                raise ValueError(
                    f"{file.path} has biases of keys ({names[1]}), and the model has none: build the encoder with "
                    "key_bias=True"
                )


def _is_finite(array: np.ndarray) -> bool:
    if array.dtype != np.float32:
        return bool(np.isfinite(array.astype("float64")).all())
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.dot(flat, flat)  # one pass without a temporary array; may overflow where no weight is infinite
    return bool(np.isfinite(total)) or bool(np.isfinite(flat).all())


def _assign(file: TensorFile, assignment: Assignment) -> list[str]:
    """Reads a variable's tensors and assigns them; returns sentences for the report."""
    slot, notes = assignment.slot, []
    read = [slot.layout.from_file(file.read(name)) if name else None for name in assignment.names]
    example = next((piece for piece in read if piece is not None), None)
    if example is None:
        example = np.zeros([slot.variable.shape[-1] // len(read)], "float32")  # a bias of nothing but zeros
    pieces = [np.zeros_like(example) if piece is None else piece for piece in read]
    if assignment.channels is not None and isinstance(slot.layout, PatchKernel):
        pieces = [adapted_kernel(piece, slot.layout.patch_size, assignment.channels) for piece in pieces]
        notes.append(note_on_channels(example, slot.layout.patch_size, assignment.channels))
    value = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1)
    if isinstance(slot.layout, (Table, Offsets)):
        layer, value = slot.layout.layer, value.astype("float32")
        if assignment.lacking:
            value = np.concatenate([np.zeros((assignment.lacking, value.shape[1]), "float32"), value])
            notes.append("the file has no position for the class token; ours is zeros, which compute the same")
        if assignment.old_grid is None:
            note = note_on_kind(layer, value)
        else:
            value, note = table_for(layer, value, assignment.old_grid)
        notes += [note] if note else []
    slot.variable.assign(value.astype(slot.variable.dtype, copy=False))
    return notes
