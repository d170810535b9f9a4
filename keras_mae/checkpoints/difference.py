"""Differences between a file and a model in words: the cause, and a remedy where there is one."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import Any

import keras

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.name_sets import NameSet
from keras_mae.layers.slots import Offsets, PatchKernel, Slot, Table
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
    remedies = [*_sizes(fmt, model, shapes), *_causes(difference, fmt, model, shapes)]
    if not remedies and difference.unexpected:
        remedies = [
            "The models here have no part for what is unexpected: skip=(patterns of names,) leaves it out, and a model "
            "that was trained with it then computes something else."
        ]
    return "\n".join([*lines, *(remedies or ["skip=(patterns of names,) leaves what is missing untrained."])])


def _size(fmt: CheckpointFormat, shapes: dict[str, Shape], part: str) -> dict[str, Any]:
    """Number and widths of the blocks of an encoder or a decoder in the file, by the constructors' names."""

    def tensors(owner: str, leaf: str) -> list[Shape]:
        named = fmt.names.get(f"{part}.{owner}", f"{part}.{owner}")
        modules = "|".join(map(re.escape, [named] if isinstance(named, str) else named)).replace(r"\{\}", r"\d+")
        pattern = rf"({modules})\.({leaf})"
        return [shape for name, shape in shapes.items() if re.fullmatch(pattern, name) and shape]

    norms, hidden = tensors("blocks.{}.norm1", "weight|gamma"), tensors("blocks.{}.mlp_hidden", "weight|kernel")
    output = tensors("blocks.{}.mlp_output", "weight|kernel")
    width = output[0][-1] if output else None
    return {
        "hidden_dim": norms[0][-1] if norms else None,
        "num_layers": len(norms) or None,
        "mlp_dim": width,
        "gated_mlp": None if not hidden or width is None else len(hidden) > len(output) or hidden[0][0] == 2 * width,
    }


def _sizes(fmt: CheckpointFormat, model: keras.Model, shapes: dict[str, Shape]) -> list[str]:
    """For each part of another size, a sentence with the arguments to build it with."""
    encoder, decoder = getattr(model, "encoder", model), getattr(model, "decoder", None)
    theirs: dict[str, Any] = _size(fmt, shapes, "encoder")
    ours = {name: getattr(encoder, name, None) for name in theirs}
    kernel = shapes.get(fmt.patch_kernel, ())
    if len(kernel) == 4:
        theirs |= {"patch_size": kernel[2:], "image_shape": f"(height, width, {kernel[1]})"}
        ours |= {"patch_size": encoder.patch_size, "image_shape": f"(height, width, {encoder.image_shape[-1]})"}
    parts = [("encoder", theirs, ours)]
    if getattr(decoder, "num_layers", None) is not None:
        theirs = _size(fmt, shapes, "decoder")
        parts.append(("decoder", theirs, {name: getattr(decoder, name, theirs[name]) for name in theirs}))
    sentences = []
    for part, theirs, ours in parts:
        words = [f"{name}={value}" for name, value in theirs.items() if value not in (None, ours[name])]
        sentences += [f"Build the {part} with {', '.join(words)}, as in the file."] if words else []
    return sentences


# what a file may have that no model has
_CANNOT = "which no model here has: leaving them out would compute something else, so take another checkpoint"
NORMS_WITHOUT_BIASES = f"norms without biases, as RMSNorm's, {_CANNOT}"
_FOREIGN = {
    r"(^|\.)(dist_token|distillation_token|head_dist\..*|distillation_classifier\..*)$": "a distillation token, "
    + _CANNOT,
    r"(^|\.)attn_pool\.": f"attention pooling, {_CANNOT}",
    r"\.(attn|mlp)\.norm\.": f"norms inside of attention or MLPs, {_CANNOT}",
    r"(^|\.)(lora_[AB]|lora_(a|b))(\.|$)": f"LoRA matrices, {_CANNOT}",
    r"relative_position_bias(_table|\.)": f"relative positions, which the format has no place for; {_CANNOT}",
    r"^(norm|fc_norm)\.(weight|bias)$": "two final norms, and the models here have one: take another checkpoint",
}
# what a file may have that this model has not, and the remedy
_ADDITIONS = {
    r"(^|\.)(reg_token|register_tokens|encoder\.registers)$": "register tokens: build the encoder with "
    "num_registers={count}",
    r"\.(q_norm|k_norm)\.": "norms of queries and keys: build the encoder with qk_norm=True",
    r"(^|\.)(norm_pre|pre_layrnorm)\.": "a norm before the first block: build the encoder with pre_norm=True",
    r"\.(attn\.qkv|attention\.qkv|query|key|value|[qkv]_proj)\.bias$|\.(q_bias|v_bias)$": "biases of queries, keys or "
    "values: build the encoder with qkv_bias=True",
    r"^patch_embed\.proj\.bias$|patch_embeddings(\.projection)?\.bias$": "a bias of the patch projection: build the "
    "encoder with pre_norm=False",
    r"^(cls_token|(vit\.)?embeddings\.cls_token|encoder\.cls_token)$": "a class token: build the encoder with "
    "num_cls_tokens={count}",
    r"(^|\.)(pos_embed|position_embeddings|positions\.table)$": "absolute positions: build the encoder with "
    "position_embedding='learned'",
}
_LAYER_SCALE = r"(\.(ls[12]\.gamma|gamma_[12]|lambda_[12]|layer_scale[12]\.lambda1|(attention|mlp)_scale\.gamma))$"
_OTHER_ROWS = r"(reg_token|register_tokens|dist\w*_token|cls_token)$"


def _causes(difference: Difference, fmt: CheckpointFormat, model: keras.Model, shapes: dict[str, Shape]) -> list[str]:
    def has_unexpected(pattern: str) -> bool:
        return any(re.search(pattern, name) for name in difference.unexpected)

    causes = [f"The file has {what}." for what in additions(difference.unexpected)]
    for pattern, what in _ADDITIONS.items():
        name = next((name for name in difference.unexpected if re.search(pattern, name)), None)
        if name is not None:
            count = next((shapes[each][1] for each in (name, fmt.canonical(name)) if len(shapes.get(each, ())) > 1), 1)
            causes.append(f"The file has {what.format(count=count)}.")
    if has_unexpected(_LAYER_SCALE):
        known = any(name.endswith("attention_scale.gamma") for name in (*fmt.names, *difference.unexpected))
        remedy = "build the encoder with layer_scale=1.0, which the file's gains replace"
        causes.append(f"The file has LayerScale: {remedy if known else f'this format has no place for it; {_CANNOT}'}.")
    causes += _what_is_missing(difference, fmt, shapes)
    if any(misfit.slot.part == "head" for misfit in difference.misfits):
        causes.append("For another number of classes, keep the model's head as it is, with skip=('head.*',).")
    causes += [cause for cause in map(_of_misfit, difference.misfits) if cause]
    # with other prefix tokens the table has other rows for that reason, which resizing does not mend
    tokens = {each.owner for each, _ in difference.missing} | {each.slot.owner for each in difference.misfits}
    if not has_unexpected(_OTHER_ROWS) and not tokens & set(_COUNTS):
        causes += dict.fromkeys(_of_rows(each, model) for each in difference.misfits if each.grid)
    return causes


def additions(names: Iterable[str]) -> list[str]:
    """What the names of tensors are of that no model here has, in words."""
    names = list(names)
    return [what for pattern, what in _FOREIGN.items() if any(re.search(pattern, name) for name in names)]


_COUNTS = {"encoder.cls_token": "num_cls_tokens", "encoder.registers": "num_registers"}


def _of_misfit(misfit: Misfit) -> str | None:
    """The remedy for another shape, if there is a particular one."""
    slot, found, expected = misfit.slot, misfit.found, misfit.expected
    if isinstance(slot.layout, PatchKernel) and found[:1] + found[2:] == expected[:1] + expected[2:]:
        return (
            f"For images of {expected[1]} channels, adapt the file's projection of {found[1]} with "
            "channels_from='mean', or with a sequence of the file's channels."
        )
    if slot.owner in _COUNTS and found[::2] == expected[::2]:
        return f"Build the encoder with {_COUNTS[slot.owner]}={found[1]}, as in the file."
    if isinstance(slot.layout, Offsets) and found[-1:] != expected[-1:]:
        return f"Build the encoder with num_heads={found[-1]}, as in the file."
    return None


def _of_rows(misfit: Misfit, model: keras.Model) -> str:
    """The remedy for a table of positions: of other prefix tokens, or of another grid."""
    encoder, rows = getattr(model, "encoder", model), misfit.found[-2]
    if misfit.slot.owner == "encoder.positions.table":
        classes, both = encoder.num_cls_tokens, encoder.num_prefix_tokens
        counts = dict.fromkeys((encoder.positions.num_prefix_tokens, classes, 0, both))
        exact = [each for each in counts if rows - each == encoder.num_patches]
        square = [each for each in counts if rows > each and math.isqrt(rows - each) ** 2 == rows - each]
        count = next(iter(exact or square), encoder.positions.num_prefix_tokens)
        if count != encoder.positions.num_prefix_tokens:
            return f"Build the encoder with num_prefix_positions={count}, as in the file."
    return f"{misfit.name}: {misfit.grid}."


# what a file may lack, and the remedy
_NORM_BIAS = re.compile(r"(norm1|layernorm_before)\.(bias|beta)$")
_KEEP_DECODER = "keep the model's decoder as it is, with skip=('decoder.*',)."
_KEEP_HEAD = "keep the model's head as it is, with skip=('head.*',)."
_MISSING = {
    "layer scale": "The file has no LayerScale: build the encoder with layer_scale=None.",
    "class token": "The file has no class token: build the encoder with num_cls_tokens=0.",
    "registers": "The file has no register tokens: build the encoder with num_registers=0 and "
    "num_prefix_positions=None.",
    "norms of queries": "The file has no norms of queries and keys: build the encoder with qk_norm=False.",
    "norm before": "The file has no norm before the first block: build the encoder with pre_norm=False.",
    "positions": "The file has no absolute positions: build the encoder with position_embedding=None.",
    "offsets": "The file has no relative positions: build the encoder with relative_position_bias=None.",
    "norms without biases": f"The file has {NORMS_WITHOUT_BIASES}.",
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
        "registers": "encoder.registers" in owners,
        "norms of queries": any(owner.endswith(".attention.q_norm") for owner in owners),
        "norm before": "encoder.norm_pre" in owners,
        "positions": any(isinstance(slot.layout, Table) and slot.part == "encoder" for slot in slots),
        "offsets": any(isinstance(slot.layout, Offsets) for slot in slots),
        "norms without biases": "encoder.blocks.0.norm1.beta" in names and not any(map(_NORM_BIAS.search, shapes)),
        "norm": names >= {"encoder.norm.gamma", "encoder.norm.beta"},
        "decoder": "decoder" in no_part,
        "mask token": "decoder.mask_token" in names and no_blocks and "decoder" not in no_part,
        "simmim": "mask_token" in parts or ("decoder.projection" in owners and "decoder" not in no_part),
        "head": "head" in no_part,
        "probe": "batch_norm" in parts and "head" not in no_part,
        "no probe": parts & {"head", "batch_norm"} == {"head"} and "head" not in no_part and in_two_parts,
    }
    return [_MISSING[cause] for cause, does in applies.items() if does]
