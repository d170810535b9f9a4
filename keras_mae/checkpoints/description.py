"""What a file of weights says of its model, and the encoder that it makes."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from keras_mae.checkpoints.formats import FORMATS, suggestion
from keras_mae.checkpoints.known_files import local_path
from keras_mae.checkpoints.load import load_checkpoint
from keras_mae.checkpoints.metadata import DECODER_KEY, ENCODER_KEY, arguments_of, as_arguments
from keras_mae.checkpoints.name_sets import NameSet, choose_set, prefixes_of
from keras_mae.checkpoints.reading import KERAS, KerasHubFile, TensorFile, open_tensors
from keras_mae.checkpoints.report import CheckpointReport
from keras_mae.checkpoints.saved_arguments import arguments_of_keras_file
from keras_mae.checkpoints.sizes import Sizes, sizes_of
from keras_mae.encoders import ViTEncoder
from keras_mae.registry import listed

# arguments that shapes alone determine: metadata cannot say otherwise
_SHAPED = (
    *("patch_size", "hidden_dim", "num_layers", "mlp_dim", "gated_mlp", "num_cls_tokens", "num_registers"),
    *("qk_norm", "pre_norm"),
)


@dataclasses.dataclass(frozen=True)
class Description:
    """What a file of weights says of its model.

    Attributes:
        path: the local file.
        format: its format.
        prefix: the prefix of the set of weights that is read; "" for none.
        method: "mae" or "simmim" if the file has that decoder, else None.
        encoder: the arguments of `ViTEncoder` that are known, `image_shape` included; mean and std only if a config
            states them.
        decoder: the arguments of the decoder that are known for "mae", else None.
        has_head: whether the file has a classifier.
        unknown: the arguments of `ViTEncoder` that the file does not tell and that cannot be derived safely; of the
            decoder too, as "decoder.num_heads".
        notes: sentences on how format and sizes were found.
        guessed: the arguments in `encoder` that are a guess from the number of positions: `image_shape`, or none.
        decoder_class: the name of the decoder's class for "mae"; None if it is of another package.
    """

    path: str
    format: str
    prefix: str
    method: str | None
    encoder: dict[str, Any]
    decoder: dict[str, Any] | None
    has_head: bool
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    guessed: tuple[str, ...] = ()
    decoder_class: str | None = "MAEDecoder"


def describe_checkpoint(
    path: str, format: str | None = None, prefix: str | None = None, encoder: Mapping[str, Any] | None = None
) -> Description:
    """Finds out which model a file of weights holds.

    In this order count: `encoder`, what our own files state in their metadata, the shapes of the tensors, a
    `config.json` beside the file (Hugging Face's or timm's), and what is published for models of these sizes.

    Args:
        path: a local file, as for `load_checkpoint`.
        format: its format; None finds it by the names of the tensors.
        prefix: as for `load_checkpoint`.
        encoder: arguments of `ViTEncoder` that the caller knows, such as `num_heads`.

    Raises:
        ValueError: if the file is missing or damaged; if several formats have such names, or none; or if its model is
            none that a `ViTEncoder` can be.
    """
    if path.lower().endswith(KERAS) and format in (None, "keras"):
        if prefix:
            raise ValueError(f"{path} is one saved model, whose names have no prefix; got prefix={prefix!r}")
        said = arguments_of_keras_file(path)
        return Description(
            path, "keras", "", said.method, {**said.encoder, **(encoder or {})}, said.decoder, said.is_classifier, (),
            ("the file is a saved model, which states all its arguments",), decoder_class=said.decoder_class,
        )  # fmt: skip
    with open_tensors(path) as opened:
        if isinstance(opened, KerasHubFile):
            found = as_arguments(opened.model.get_config(), ViTEncoder) or {}
            note = "the folder is a preset of KerasHub, which states all arguments of its backbone"
            return Description(path, "keras", "", None, {**found, **(encoder or {})}, None, False, (), (note,))
        format, notes = _format_of(opened, format, path)
        file = choose_set(opened, FORMATS[format], prefix)
        if file is None:
            raise ValueError(f"{path} is not in the format {format!r}. {suggestion(opened.shapes, path)}")
        return _described(file, format, [*notes, *file.notes()], sizes_of(file), dict(encoder or {}))


def load_encoder(
    source: str,
    format: str | None = None,
    prefix: str | None = None,
    image_shape: tuple[int, int, int] | None = None,
    channels_from: str | Sequence[int | None] | None = None,
    dtype: Any = None,
    **arguments: Any,
) -> tuple[ViTEncoder, CheckpointReport]:
    """Builds the encoder that a file of weights holds, and fills it.

    Args:
        source: a file, or what else `local_path` takes.
        format, prefix: as for `describe_checkpoint`.
        image_shape: `(H, W, C)` if other than the file's; position embeddings are then resized. For a file that does
            not tell it, the file's. Where the file's grid is only guessed, a square one, and that of `image_shape` is
            another one with as many positions, it is refused.
        channels_from: as for `load_checkpoint`, for another number of channels.
        dtype: the dtype policy of the encoder.
        **arguments: of `ViTEncoder`, to override or complete the description.

    Returns:
        The encoder, and the report of the load.

    Raises:
        ValueError: as `describe_checkpoint` and `load_checkpoint`; or if an argument is not known, with its name.

    Example:

    >>> encoder, report = load_encoder("vit_base_patch14_dinov2.safetensors", image_shape=(224, 224, 3))
    """
    path = local_path(source)
    given = arguments if image_shape is None else {**arguments, "image_shape": tuple(image_shape)}
    said = describe_checkpoint(path, format, prefix, arguments)
    unknown = [name for name in said.unknown if "." not in name and name not in given]
    if unknown:
        known = "".join(f" ({note})" for note in said.notes if "num_heads" in unknown and "heads: no tensor" in note)
        raise ValueError(f"{path} does not tell {' and '.join(unknown)} of its model: give {unknown[0]}=...{known}")
    theirs = said.encoder.get("image_shape")
    own = {**said.encoder, **given}
    if theirs is not None and own["image_shape"][2] != theirs[2]:
        own = {name: value for name, value in own.items() if name not in ("mean", "std") or name in given}
    try:
        encoder = ViTEncoder(**own, **({} if dtype is None else {"dtype": dtype}))
    except TypeError as error:  # a config may hold anything
        raise ValueError(f"{path}: what it says of its model does not make a ViTEncoder ({error})") from error
    rows, columns = encoder.patch_size
    grid = encoder.grid if theirs is None else (theirs[0] // rows, theirs[1] // columns)
    if "image_shape" in said.guessed and grid != encoder.grid and math.prod(grid) == encoder.num_patches:
        squares, asked = (f"resize_positions={each}" for each in (grid, encoder.grid))
        raise ValueError(
            f"{path} does not state the grid of its {encoder.num_patches} positions, which may be a square one or that "
            f"of image_shape={tuple(encoder.image_shape)}: fill ViTEncoder(...) of this image_shape by "
            f"load_checkpoint(encoder, path, {said.format!r}, {squares}), or with {asked} if that is the file's grid"
        )
    report = load_checkpoint(encoder, path, said.format, (), grid, said.prefix, channels_from)
    return encoder, dataclasses.replace(report, notes=(*said.notes, *report.notes))


def _format_of(file: TensorFile, format: str | None, path: str) -> tuple[str, list[str]]:
    """The format, and a sentence if it was found by the names."""
    if format is not None:
        if format not in FORMATS:
            raise ValueError(f"format is one of {', '.join(map(repr, FORMATS))}; got {format!r}")
        return format, []
    likely = [
        name for name, fmt in FORMATS.items() if any(prefixes_of(file.shapes, member) for member in fmt.members())
    ]
    if not likely:
        raise ValueError(suggestion(file.shapes, path))
    # files of an encoder without any bias of queries look like SimMIM's too, which have relative positions or a decoder
    if len(likely) > 1 and not any(re.search(r"relative_position|decoder\.0\.", name) for name in file.shapes):
        likely = [name for name in likely if name != "simmim_torch"]
    if {"mae_torch", "timm"} <= set(likely):
        is_probe = any(re.search(r"(^|\.)head\.[01]\.", name) for name in file.shapes)
        likely.remove("timm" if is_probe else "mae_torch")
    if len(likely) > 1:
        ways = " or ".join(f"format={name!r}" for name in likely)
        raise ValueError(f"{path} may be in several formats, by its names: choose {ways}")
    return likely[0], [f"its format is {likely[0]!r}, by the names of its tensors"]


def _described(file: NameSet, format: str, notes: list[str], sizes: Sizes, given: dict[str, Any]) -> Description:
    ours = arguments_of(file.metadata, ENCODER_KEY)
    known = {**sizes.encoder, **given}
    if ours is not None:
        wrong = [name for name in _SHAPED if name in ours and ours[name] != sizes.measured[name]]
        if wrong:
            raise ValueError(f"{file.path}: its metadata state another {listed(wrong)} than its tensors have")
        known = {**sizes.encoder, **ours, **given}
        notes.append("the file states the arguments of its encoder")
    else:
        notes += [note for name, note in sizes.notes.items() if name not in given]
    unknown = [name for name in ("image_shape", "num_heads") if name not in known]
    decoder = sizes.decoder
    if decoder is not None:
        decoder |= arguments_of(file.metadata, DECODER_KEY) or {}
        unknown += ["decoder.num_heads"] if "num_heads" not in decoder else []
    return Description(
        file.path, format, file.prefix, sizes.method, known, decoder, sizes.has_head, tuple(unknown), tuple(notes),
        () if ours is not None or "image_shape" in given else tuple({"image_shape"} & set(sizes.notes)),
    )  # fmt: skip
