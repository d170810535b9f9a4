"""Differences between a file and a model in words: the cause, and a remedy where there is one."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import keras

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.name_sets import NameSet
from keras_mae.layers.slots import Offsets, Slot, Table
from keras_mae.registry import listed

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Misfit:
    """A tensor that does not fit its variable.

    Attributes:
        slot: the variable.
        name: the tensor.
        found, expected: their shapes.
        grid: for position embeddings of the right width, the difference of the grids, and a remedy; else "".
    """

    slot: Slot
    name: str
    found: Shape
    expected: Shape
    grid: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.found} in the file, {self.expected} in the model"


@dataclasses.dataclass
class Difference:
    """All differences between a file and a model.

    Attributes:
        missing: variables, each with its names that the file lacks (none if the format has no place for it).
        unexpected: canonical names in the file that no variable takes.
        misfits: names on both sides, with different shapes.
    """

    missing: list[tuple[Slot, list[str]]] = dataclasses.field(default_factory=list)
    unexpected: list[str] = dataclasses.field(default_factory=list)
    misfits: list[Misfit] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misfits)


def explain(
    difference: Difference, file: NameSet, fmt: CheckpointFormat, model: keras.Model, shapes: dict[str, Shape]
) -> str:
    """The error message for the differences between a file and a model.

    Args:
        difference: the differences.
        file: the file.
        fmt: its format.
        model: the model to load into.
        shapes: the shapes of the file's tensors, by canonical name.
    """
    lines = [f"{file.path} (format {fmt.name}) does not fit the {type(model).__name__}, and nothing was loaded."]
    encoder = getattr(model, "encoder", model)
    size = _size(fmt, shapes, "encoder")
    found, wanted = (size["num_layers"], size["hidden_dim"]), (encoder.num_layers, encoder.hidden_dim)
    if None not in found and found != wanted:
        lines.append("The encoder has {} blocks of width {} in the file, {} of {} here.".format(*found, *wanted))
    shaped = [str(misfit) for misfit in difference.misfits if misfit.found != misfit.expected]
    if shaped:
        lines.append(f"Other shapes ({len(shaped)}): {listed(shaped, 4)}.")
    if difference.missing:
        names = [f"{listed(names) or 'no place in this format'} ({slot.name})" for slot, names in difference.missing]
        lines.append(f"Missing in the file ({len(names)}): {listed(names)}.")
    if difference.unexpected:
        lines.append(f"Unexpected in the file ({len(difference.unexpected)}): {listed(difference.unexpected)}.")
    if file.outside and difference.missing:
        lines.append(f"Not under the prefix {file.prefix!r}, so not read: {listed(file.outside, 4)}.")
    remedies = [*_sizes(fmt, model, shapes), *_causes(difference, fmt, shapes)]
    if not remedies and difference.unexpected:
        remedies = [
            "The models here have no part for what is unexpected: skip=(patterns of names,) leaves it out, and a model "
            "that was trained with it then computes something else."
        ]
    return "\n".join([*lines, *(remedies or ["skip=(patterns of names,) leaves what is missing untrained."])])


def _size(fmt: CheckpointFormat, shapes: dict[str, Shape], part: str) -> dict[str, int | None]:
    """Number and widths of the blocks of an encoder or a decoder in the file, by the constructors' names."""

    def tensors(owner: str, leaf: str) -> list[Shape]:
        named = fmt.names.get(f"{part}.{owner}", f"{part}.{owner}")
        pattern = re.escape(str(named)).replace(r"\{\}", r"\d+") + rf"\.({leaf})"
        return [shape for name, shape in shapes.items() if re.fullmatch(pattern, name) and shape]

    norms, hidden = tensors("blocks.{}.norm1", "weight|gamma"), tensors("blocks.{}.mlp_hidden", "weight|kernel")
    return {
        "hidden_dim": norms[0][-1] if norms else None,
        "num_layers": len(norms) or None,
        "mlp_dim": hidden[0][0] if hidden else None,
    }


def _sizes(fmt: CheckpointFormat, model: keras.Model, shapes: dict[str, Shape]) -> list[str]:
    """For each part of another size, a sentence with the arguments to build it with."""
    encoder, decoder = getattr(model, "encoder", model), getattr(model, "decoder", None)
    theirs: dict[str, Any] = _size(fmt, shapes, "encoder")
    ours = {name: getattr(encoder, name) for name in theirs}
    kernel = shapes.get(fmt.patch_kernel, ())
    if len(kernel) == 4:
        theirs |= {"patch_size": kernel[2:], "image_shape": f"(height, width, {kernel[1]})"}
        ours |= {"patch_size": encoder.patch_size, "image_shape": f"(height, width, {encoder.image_shape[-1]})"}
    parts = [("encoder", theirs, ours)]
    if getattr(decoder, "num_layers", None) is not None:
        theirs = _size(fmt, shapes, "decoder")
        parts.append(("decoder", theirs, {name: getattr(decoder, name) for name in theirs}))
    sentences = []
    for part, theirs, ours in parts:
        words = [f"{name}={value}" for name, value in theirs.items() if value not in (None, ours[name])]
        sentences += [f"Build the {part} with {', '.join(words)}, as in the file."] if words else []
    return sentences


# what a file may have in addition to a model, and the remedy
_CANNOT = "which no model here has: leaving them out would compute something else, so take another checkpoint"
_ADDITIONS = {
    r"(^|\.)(reg_token|register_tokens)$": f"register tokens, {_CANNOT}",
    r"(^|\.)(dist_token|distillation_token|head_dist\..*|distillation_classifier\..*)$": "a distillation token, "
    + _CANNOT,
    r"\.(q_norm|k_norm)\.": f"norms of queries and keys, {_CANNOT}",
    r"(^|\.)(norm_pre|pre_layrnorm)\.": f"a norm before the first block, {_CANNOT}",
    r"(^|\.)attn_pool\.": f"attention pooling, {_CANNOT}",
    r"(^|\.)(lora_[AB]|lora_(a|b))(\.|$)": f"LoRA matrices, {_CANNOT}",
    r"relative_position_bias(_table|\.)": f"relative positions, which the format has no place for; {_CANNOT}",
    r"\.(q_bias|v_bias)$": "separate biases of queries and values, as SimMIM and BEiT have them, which this format "
    "has not: try format='simmim_torch'",
    r"^(cls_token|vit\.embeddings\.cls_token|encoder\.cls_token)$": "a class token: build the encoder with "
    "num_cls_tokens=1",
    r"(^|\.)(pos_embed|position_embeddings|positions\.table)$": "absolute positions: build the encoder with "
    "position_embedding='learned'",
    r"^(norm|fc_norm)\.(weight|bias)$": "two final norms, and the models here have one: take another checkpoint",
}
_LAYER_SCALE = r"(\.(ls[12]\.gamma|gamma_[12]|lambda_[12]|layer_scale[12]\.lambda1|(attention|mlp)_scale\.gamma))$"
_OTHER_ROWS = r"(reg_token|register_tokens|dist\w*_token|cls_token)$"


def _causes(difference: Difference, fmt: CheckpointFormat, shapes: dict[str, Shape]) -> list[str]:
    def has_unexpected(pattern: str) -> bool:
        return any(re.search(pattern, name) for name in difference.unexpected)

    causes = [f"The file has {what}." for pattern, what in _ADDITIONS.items() if has_unexpected(pattern)]
    if has_unexpected(_LAYER_SCALE):
        known = any(name.endswith("attention_scale.gamma") for name in (*fmt.names, *difference.unexpected))
        remedy = "build the encoder with layer_scale=1.0, which the file's gains replace"
        causes.append(f"The file has LayerScale: {remedy if known else f'this format has no place for it; {_CANNOT}'}.")
    causes += _what_is_missing(difference, fmt, shapes)
    if any(misfit.slot.part == "head" for misfit in difference.misfits):
        causes.append("For another number of classes, keep the model's head as it is, with skip=('head.*',).")
    for misfit in difference.misfits:
        if isinstance(misfit.slot.layout, Offsets) and misfit.found[-1:] != misfit.expected[-1:]:
            causes.append(f"Build the encoder with num_heads={misfit.found[-1]}, as in the file.")
    # with other prefix tokens the table has other rows for that reason, which resizing does not mend
    if not has_unexpected(_OTHER_ROWS) and all(slot.owner != "encoder.cls_token" for slot, _ in difference.missing):
        causes += dict.fromkeys(f"{each.name}: {each.grid}." for each in difference.misfits if each.grid)
    return causes


# what a file may lack, and the remedy
_KEEP_DECODER = "keep the model's decoder as it is, with skip=('decoder.*',)."
_KEEP_HEAD = "keep the model's head as it is, with skip=('head.*',)."
_MISSING = {
    "layer scale": "The file has no LayerScale: build the encoder with layer_scale=None.",
    "class token": "The file has no class token: build the encoder with num_cls_tokens=0.",
    "positions": "The file has no absolute positions: build the encoder with position_embedding=None.",
    "offsets": "The file has no relative positions: build the encoder with relative_position_bias=None.",
    "norm": "The file has no final norm, and every encoder here has one, so that it computes something else: take "
    "another checkpoint, or, to train it further, leave the model's own with skip=('encoder.norm.*',).",
    "decoder": f"The file holds no decoder: get a full checkpoint, or {_KEEP_DECODER}",
    "mask token": f"The file's decoder is another than MAE's, such as SimMIM's one layer: {_KEEP_DECODER}",
    "simmim": "A SimMIM's mask token and its one layer are in the formats 'simmim_torch' and 'keras'; with another "
    "format, keep the model's own with skip=('mask_token', 'decoder.*').",
    "head": f"The file holds no classifier: {_KEEP_HEAD}",
    "probe": "The file's classifier is no linear probe: build the ImageClassifier without num_trainable_layers=0, or "
    "keep the model's head as it is, with skip=('head.*', 'batch_norm.*').",
    "no probe": "The file's classifier is a linear probe: build the ImageClassifier with num_trainable_layers=0, or "
    + _KEEP_HEAD,
}


def _what_is_missing(difference: Difference, fmt: CheckpointFormat, shapes: dict[str, Shape]) -> list[str]:
    slots = [slot for slot, _ in difference.missing]
    names, parts, owners = ({getattr(slot, key) for slot in slots} for key in ("name", "part", "owner"))
    no_part = parts - {fmt.part_of(name) for name in shapes}
    no_blocks = not _size(fmt, shapes, "decoder")["num_layers"]
    in_two_parts = any(re.search(r"^head\.\d", name) for name in shapes)
    applies = {
        "layer scale": any(owner.endswith("_scale.gamma") for owner in owners),
        "class token": "encoder.cls_token" in owners,
        "positions": any(isinstance(slot.layout, Table) and slot.part == "encoder" for slot in slots),
        "offsets": any(isinstance(slot.layout, Offsets) for slot in slots),
        "norm": names >= {"encoder.norm.gamma", "encoder.norm.beta"},
        "decoder": "decoder" in no_part,
        "mask token": "decoder.mask_token" in names and no_blocks and "decoder" not in no_part,
        "simmim": "mask_token" in parts or "decoder.projection" in owners,
        "head": "head" in no_part,
        "probe": "batch_norm" in parts and "head" not in no_part,
        "no probe": parts & {"head", "batch_norm"} == {"head"} and "head" not in no_part and in_two_parts,
    }
    return [_MISSING[cause] for cause, does in applies.items() if does]
