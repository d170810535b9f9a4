"""`load_checkpoint`."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import keras
import ml_dtypes
import numpy as np

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.formats import FORMATS, format_called, suggestion
from keras_mae.checkpoints.known_files import local_path
from keras_mae.checkpoints.layouts import Table
from keras_mae.checkpoints.merge import Assignment, Plan, plan_merge
from keras_mae.checkpoints.positions import note_on_kind, table_for
from keras_mae.checkpoints.reading import TensorFile, open_tensors
from keras_mae.checkpoints.report import CheckpointReport, listed

_log = logging.getLogger("keras_mae")
_FLOATS = tuple(map(np.dtype, ("float64", "float32", "float16", ml_dtypes.bfloat16)))


def load_checkpoint(
    model: keras.Model,
    path: str,
    format: str,
    skip: Sequence[str] = (),
    resize_positions: bool | tuple[int, int] = False,
) -> CheckpointReport:
    """Fills a model with published weights, or with weights of our own; strictly.

    Every tensor of the file is used and every variable assigned exactly once, or both differences are listed in the
    error and the model stays as it was. Two exceptions, both in the report: what `skip` names; and tensors of a part
    that this kind of model does not have by design. A `ViTEncoder` takes the encoder out of a full checkpoint or a
    classifier, and an `ImageClassifier` leaves a decoder behind; a `MaskedAutoencoder` without its decoder's weights is
    an error unless they are skipped.

    Not in a file, and so the caller's to know: the number of heads, LayerNorm's epsilon (1e-6 in the official code and
    timm, 1e-12 by default in Hugging Face), mean and std of the pixels, the grid of a non-square image.

    Args:
        model: a `ViTEncoder`, `MaskedAutoencoder`, `SimMIM` or `ImageClassifier`.
        path: a `.safetensors`, `.pth`, `.pt`, `.bin` or `.keras` file, or a URL of one. Files of PyTorch's are read
            with `weights_only=True`: code in them is refused.
        format: `"mae_torch"` (the official names), `"timm"`, `"hf"` (Hugging Face), `"simmim_torch"` (the names of
            SimMIM's code) or `"keras"` (ours).
        skip: patterns (as in `fnmatch`) of names to leave out, in the file's words or in ours: `"head.*"`,
            `"decoder.*"`. One that matches nothing is an error.
        resize_positions: True, or (rows, columns) of the file's grid if it is not square, allows position embeddings
            of another grid: they are resized by `keras_mae.layers.resize_position_embedding`, or, sin-cos for a
            sin-cos model, computed anew.

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
    with open_tensors(path) as file:
        fmt = _format(format, file)
        plan = plan_merge(model, file.shapes, fmt, path, skip, resize_positions)
        _check_values(file, plan)
        notes = [*plan.notes, *(note for each in plan.assignments if (note := _assign(file, each)))]
    report = CheckpointReport(
        "loaded",
        path,
        format,
        type(model).__name__,
        {each.slot.name: tuple(filter(None, each.names)) for each in plan.assignments},
        plan.skipped,
        plan.dropped,
        plan.encoder_only,
        tuple(notes),
    )
    _log.info("%s", report)
    return report


def _format(name: str, file: TensorFile) -> CheckpointFormat:
    """The format of this name, if the file's names agree; another is suggested, never taken."""
    hint = suggestion(file.shapes, file.path)
    if name not in FORMATS:
        raise ValueError(f"format is one of {', '.join(map(repr, FORMATS))}; got {name!r}. {hint}")
    fmt = format_called(name)
    if not fmt.recognises(file.shapes):
        raise ValueError(f"{file.path} is not in the format {name!r}. {hint}")
    return fmt


def _check_values(file: TensorFile, plan: Plan) -> None:
    """Looks for NaN and infinity in everything that will be assigned, before anything is."""
    bad = []
    for name in (name for each in plan.assignments for name in each.names if name):
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


def _is_finite(array: np.ndarray) -> bool:
    if array.dtype != np.float32:
        return bool(np.isfinite(array.astype("float64")).all())
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.dot(flat, flat)  # one pass without a temporary array
    # it may overflow where no weight does, and is then not believed
    return bool(np.isfinite(total)) or bool(np.isfinite(flat).all())


def _assign(file: TensorFile, assignment: Assignment) -> str | None:
    """Reads a variable's tensors and assigns them; returns what the report should say of it."""
    slot, note = assignment.slot, None
    read = [slot.layout.from_file(file.read(name)) if name else None for name in assignment.names]
    example = next(piece for piece in read if piece is not None)
    pieces = [np.zeros_like(example) if piece is None else piece for piece in read]
    value = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1)
    if isinstance(slot.layout, Table):
        layer, value = slot.layout.layer, value.astype("float32")
        if assignment.old_grid is None:
            note = note_on_kind(layer, value)
        else:
            value, note = table_for(layer, value, assignment.old_grid)
    slot.variable.assign(value.astype(slot.variable.dtype, copy=False))
    return f"{slot.name}: {note}" if note else None
