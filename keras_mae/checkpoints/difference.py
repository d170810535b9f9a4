"""What keeps a file from fitting a model, in words: the cause, and a remedy where there is one."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import keras

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.reading import TensorFile
from keras_mae.checkpoints.report import listed
from keras_mae.layers.slots import Offsets, Slot, Table

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Misfit:
    """A tensor that is not what its variable needs.

    Attributes:
        slot: the variable.
        name: the tensor.
        found, expected: their shapes.
        grid: for position embeddings of the right width, what is wrong with their grid, and what to do; else "".
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
    """What keeps a file from fitting.

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
    difference: Difference, file: TensorFile, fmt: CheckpointFormat, model: keras.Model, shapes: dict[str, Shape]
) -> str:
    """The message of the error.

    Args:
        difference: what is wrong.
        file: the file.
        fmt: its format.
        model: what should have been loaded.
        shapes: the file's tensors by canonical name.
    """
    lines = [f"{file.path} (format {fmt.name}) does not fit the {type(model).__name__}, and nothing was loaded."]
    encoder = getattr(model, "encoder", model)
    size = _size(fmt, shapes, "encoder")
    found, wanted = (size["num_layers"], size["hidden_dim"]), (encoder.num_layers, encoder.hidden_dim)
    if None not in found and found != wanted:
        lines.append("The encoder has {} blocks of width {} in the file, {} of {} here.".format(*found, *wanted))
    shaped = [misfit for misfit in difference.misfits if misfit.found != misfit.expected]
    if shaped:
        lines.append(f"Other shapes ({len(shaped)}): {listed(map(str, shaped), 4)}.")
    if difference.missing:
        names = [f"{listed(names) or 'no place in this format'} ({slot.name})" for slot, names in difference.missing]
        lines.append(f"Missing in the file ({len(names)}): {listed(names)}.")
    if difference.unexpected:
        lines.append(f"Unexpected in the file ({len(difference.unexpected)}): {listed(difference.unexpected)}.")
    outside = getattr(file, "outside", ())
    if outside and difference.missing:
        lines.append(f"Not under the prefix {getattr(file, 'prefix', '')!r}, so not read: {listed(outside, 4)}.")
    return "\n".join([*lines, *_sizes(fmt, model, shapes), *_causes(difference, fmt, model, shapes)])


def _size(fmt: CheckpointFormat, shapes: dict[str, Shape], part: str) -> dict[str, int | None]:
    """Number and width of the blocks of an encoder or a decoder in the file, as the constructors name them."""

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
    """A sentence with the arguments to build each part with, where they differ from the model's."""
    encoder = getattr(model, "encoder", model)
    arguments: dict[str, Any] = _size(fmt, shapes, "encoder")
    ours = {name: getattr(encoder, name) for name in arguments}
    kernel = shapes.get(fmt.patch_kernel, ())
    if len(kernel) == 4:
        arguments["patch_size"], ours["patch_size"] = kernel[2:], encoder.patch_size
        arguments["channels"], ours["channels"] = kernel[1], encoder.image_shape[-1]
    sentences = []
    changed = {name: value for name, value in arguments.items() if value is not None and value != ours[name]}
    if changed:
        channels = changed.pop("channels", None)
        words = [f"{name}={value}" for name, value in changed.items()]
        words += [] if channels is None else [f"image_shape=(height, width, {channels})"]
        sentences.append(f"Build the encoder with {', '.join(words)}, as in the file.")
    decoder = getattr(model, "decoder", None)
    if getattr(decoder, "num_layers", None) is not None:
        there = _size(fmt, shapes, "decoder")
        words = [f"{key}={value}" for key, value in there.items() if value not in (None, getattr(decoder, key))]
        sentences += [f"Build the decoder with {', '.join(words)}, as in the file."] if words else []
    return sentences


# what a file may have that a model has not, and what follows
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
    r"\.(q_bias|v_bias)$": "biases of queries and values apart, as SimMIM and BEiT have them, which this format has "
    "not: try format='simmim_torch'",
    r"^(cls_token|vit\.embeddings\.cls_token|encoder\.cls_token)$": "a class token: build the encoder with "
    "use_cls_token=True",
    r"(^|\.)(pos_embed|position_embeddings|positions\.table)$": "absolute positions: build the encoder with "
    "position_embedding='learned'",
    r"^(norm|fc_norm)\.(weight|bias)$": "two final norms, and the models here have one: take another checkpoint",
}
_LAYER_SCALE = r"(\.(ls[12]\.gamma|gamma_[12]|lambda_[12]|layer_scale[12]\.lambda1|(attention|mlp)_scale\.gamma))$"


def _causes(difference: Difference, fmt: CheckpointFormat, model: keras.Model, shapes: dict[str, Shape]) -> list[str]:
    unexpected = difference.unexpected
    causes = [
        f"The file has {what}."
        for pattern, what in _ADDITIONS.items()
        if any(re.search(pattern, name) for name in unexpected)
    ]
    if any(re.search(_LAYER_SCALE, name) for name in unexpected):
        known = any(name.endswith("attention_scale.gamma") for name in (*fmt.names, *unexpected))
        remedy = "build the encoder with layer_scale=1.0, which the file's gains replace"
        causes.append(
            f"The file has LayerScale: {remedy if known else f'which this format has no place for; {_CANNOT}'}."
        )
    causes += _what_is_missing(difference, fmt, model, shapes)
    if any(misfit.slot.part == "head" for misfit in difference.misfits):
        causes.append("For another number of classes, keep the model's head as it is, with skip=('head.*',).")
    for misfit in difference.misfits:
        if isinstance(misfit.slot.layout, Offsets) and misfit.found[-1:] != misfit.expected[-1:]:
            causes.append(f"Build the encoder with num_heads={misfit.found[-1]}, as in the file.")
    prefix_differs = any(re.search(r"(reg_token|register_tokens|dist\w*_token|cls_token)$", n) for n in unexpected)
    prefix_differs |= any(slot.owner == "encoder.cls_token" for slot, _ in difference.missing)
    if not prefix_differs:  # else it has other rows for that reason, and the remedies of grids are none
        causes += dict.fromkeys(f"{each.name}: {each.grid}." for each in difference.misfits if each.grid)
    if causes or _sizes(fmt, model, shapes):
        return causes
    if unexpected:
        return [
            "What is unexpected is no part of the models here: skip=(patterns of names,) leaves it out, and a model "
            "that was trained with it then computes something else."
        ]
    return ["What is missing, skip=(patterns of names,) leaves as it is in the model, untrained."]


def _what_is_missing(
    difference: Difference, fmt: CheckpointFormat, model: keras.Model, shapes: dict[str, Shape]
) -> list[str]:
    in_file = {fmt.part_of(name) for name in shapes}
    slots = [slot for slot, _ in difference.missing]
    missing = {slot.part for slot in slots}
    causes = []
    if any(slot.owner.endswith("_scale.gamma") for slot in slots):
        causes.append("The file has no LayerScale: build the encoder with layer_scale=None.")
    if any(slot.owner == "encoder.cls_token" for slot in slots):
        causes.append("The file has no class token: build the encoder with use_cls_token=False.")
    if any(slot.owner == "encoder.positions.table" and isinstance(slot.layout, Table) for slot in slots):
        causes.append("The file has no absolute positions: build the encoder with position_embedding=None.")
    if any(isinstance(slot.layout, Offsets) for slot in slots):
        causes.append("The file has no relative positions: build the encoder with relative_position_bias=None.")
    if {slot.name for slot in slots} >= {"encoder.norm.gamma", "encoder.norm.beta"}:
        causes.append(
            "The file has no final norm, and every encoder here has one, so that it computes something else: take "
            "another checkpoint, or, to train it further, leave the model's own with skip=('encoder.norm.*',)."
        )
    if "decoder" in missing and "decoder" not in in_file:
        causes.append(
            "The file holds no decoder: get a full checkpoint, or keep the model's decoder as it is, with "
            "skip=('decoder.*',)."
        )
    elif any(slot.name == "decoder.mask_token" for slot in slots) and not _size(fmt, shapes, "decoder")["num_layers"]:
        causes.append(
            "The file's decoder is another than MAE's, such as SimMIM's one layer: keep the model's decoder as it is, "
            "with skip=('decoder.*',)."
        )
    if "mask_token" in missing or any(slot.name.startswith("decoder.projection.") for slot in slots):
        causes.append(
            "A SimMIM's mask token and its one layer are in the formats 'simmim_torch' and 'keras'; elsewhere, keep "
            "the model's own with skip=('mask_token', 'decoder.*')."
        )
    if "head" in missing and "head" not in in_file:
        causes.append("The file holds no classifier: keep the model's head as it is, with skip=('head.*',).")
    elif "batch_norm" in missing:
        causes.append(
            "The file's classifier is no linear probe: build the ImageClassifier without num_trainable_layers=0, or "
            "keep the model's head as it is, with skip=('head.*', 'batch_norm.*')."
        )
    elif "head" in missing and any(re.search(r"^head\.\d", name) for name in shapes):
        causes.append(
            "The file's classifier is a linear probe: build the ImageClassifier with num_trainable_layers=0, or keep "
            "the model's head as it is, with skip=('head.*',)."
        )
    return causes
