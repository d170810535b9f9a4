"""The sizes of the model in a file, by its tensors, the config beside it, and what is published."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from keras_mae.checkpoints.checkpoint_format import CheckpointFormat
from keras_mae.checkpoints.config_beside import Beside, config_for
from keras_mae.checkpoints.difference import NORMS_WITHOUT_BIASES, additions
from keras_mae.checkpoints.metadata import ENCODER_KEY
from keras_mae.checkpoints.name_sets import NameSet
from keras_mae.checkpoints.positions import is_sincos, sincos_grid
from keras_mae.registry import listed

Shape = tuple[int, ...]

# Heads by (width, blocks) of what is published: timm's vision_transformer.py and eva.py, and the papers of ViT, DeiT,
# MAE, DINOv2, DINOv3 and LingBot-Vision. DINOv3's huge, with rotary positions, has other heads than the others' huge.
# Of plain ViTs, MAE-Lite's tiny and MoCo v3's small have 12 heads, which timm and DINOv2 have not. SigLIP has a giant
# of DINOv2's size with 16 heads, whose MLPs are not gated.
_HEADS: dict[tuple[int, int], tuple[int, ...]] = {(192, 12): (3, 12), (384, 12): (6, 12), (768, 12): (12,)}
_HEADS |= {(1024, 24): (16,), (1280, 32): (16,), (1408, 40): (16,), (1536, 40): (24, 16), (1664, 48): (16,)}
_HEADS_WITH_ROTARY: dict[tuple[int, int], tuple[int, ...]] = {(192, 12): (3,), (384, 12): (6,), (768, 12): (12,)}
_HEADS_WITH_ROTARY |= {(1024, 24): (16,), (1280, 32): (20,), (1536, 40): (24,), (4096, 40): (32,)}
_HEADS_OF_DECODERS = {(512, 8): 16}  # MAE's
_PRE_NORM_EPSILON = 1e-5  # of all models in timm that have a norm before the first block
_ROTARY_TEMPERATURE = 100.0  # DINOv3's; the periods are no weights


@dataclasses.dataclass
class Sizes:
    """What is known of the model in a file.

    Attributes:
        measured: arguments of `ViTEncoder` that the shapes of the tensors tell.
        encoder: these, and what a config or publications tell; without what is not known.
        decoder: arguments of `MAEDecoder`, or None.
        method: "mae", "simmim" or None.
        has_head: whether there is a classifier.
        notes: sentences on arguments that the tensors do not tell, by their names.
    """

    measured: dict[str, Any]
    encoder: dict[str, Any]
    decoder: dict[str, Any] | None
    method: str | None
    has_head: bool
    notes: dict[str, str]


class _Tensors:
    """The shapes in a file, asked for by our owners."""

    def __init__(self, file: NameSet) -> None:
        self.file, self.fmt = file, file.fmt
        self.found = {file.fmt.canonical(name): name for name in file.shapes}
        self.shapes = {canonical: file.shapes[name] for canonical, name in self.found.items()}

    def names(self, owner: str) -> list[str]:
        """The canonical names of an owner's tensors, of block 0 for a block's, all variants of its modules."""
        modules = variants(self.fmt, owner)
        prefixes = tuple(module.replace("{}", "0") for module in modules)
        return [name for name in self.shapes if name in prefixes or name.startswith(tuple(f"{p}." for p in prefixes))]

    def shape(self, owner: str, leaf: str = "") -> Shape | None:
        names = [name for name in self.names(owner) if not leaf or name.endswith(f".{leaf}")]
        return self.shapes[names[0]] if names else None

    def blocks(self, owner: str) -> int:
        module = str(self.fmt.names.get(f"{owner}.{{}}.norm1", ""))
        pattern = re.escape(module).replace(r"\{\}", r"\d+") + r"\.weight"
        return sum(re.fullmatch(pattern, name) is not None for name in self.shapes)

    def read(self, owner: str) -> Any:
        return self.file.read(self.found[self.names(owner)[0]])


# the other names of modules that depend on the model; see `for_model` of the formats
_VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "mlp_hidden": {"timm": ("mlp.fc1_g", "mlp.fc1_x"), "hf": ("mlp.gate_proj", "mlp.up_proj", "mlp.weights_in")},
    "mlp_output": {"hf": ("mlp.weights_out",)},
}


def variants(fmt: CheckpointFormat, owner: str) -> list[str]:
    """All modules that may hold an owner's tensors in a format, block numbers written `{}`."""
    named = fmt.names.get(owner, ())
    modules = [named] if isinstance(named, str) else [name for name in named if name]
    block = re.match(r"(.*\.\{\}\.)", modules[0])[1] if modules and "{}" in modules[0] else ""  # type: ignore[index]
    for end, others in _VARIANTS.items():
        if block and owner.startswith("encoder.") and owner.endswith(f".{end}"):
            modules += [block + other for other in others.get(fmt.name, ())]
    return modules


def sizes_of(file: NameSet) -> Sizes:
    """What the tensors of a file, the config beside it and publications say of its model.

    Raises:
        ValueError: in one line, if the model is none that a `ViTEncoder` can be.
    """
    tensors, fmt = _Tensors(file), file.fmt
    kernel = tensors.shape("encoder.patch_projection", "weight")
    if kernel is None or len(kernel) != 4 or not tensors.blocks("encoder.blocks"):
        raise ValueError(f"{file.path} is not of a Vision Transformer on images: {fmt.patch_kernel} is {kernel}")
    _check_all_known(tensors)
    if tensors.shape("encoder.blocks.{}.mlp_output", "weight") is None:
        raise ValueError(f"{file.path} is not of a Vision Transformer that is known here: its blocks have no MLPs")
    _check_norms(tensors)
    measured = _measured(tensors, kernel)
    beside = config_for(file.path, kernel[0], measured["gated_mlp"])
    found, notes = dict(measured), {}
    found["rotary_temperature"] = beside.encoder.get("rotary_temperature", _ROTARY_TEMPERATURE) if fmt.rotary else None
    if fmt.rotary and "rotary_temperature" not in beside.encoder:
        notes["rotary_temperature"] = f"rotary_temperature={_ROTARY_TEMPERATURE:g}, as in DINOv3: no tensor tells it"
    _heads(found, notes, tensors, beside)
    _epsilon(found, notes, fmt, beside)
    grid = _positions(found, notes, tensors, beside)
    if grid is not None:
        rows, columns = measured["patch_size"]
        found["image_shape"] = (grid[0] * rows, grid[1] * columns, kernel[1])
    channels = kernel[1]
    found |= {name: beside.encoder[name] for name in ("mean", "std") if len(beside.encoder.get(name, ())) == channels}
    decoder = _decoder(tensors, beside, found) if tensors.blocks("decoder.blocks") else None
    simmim = tensors.names("decoder.projection") and (tensors.names("mask_token") or fmt.name == "simmim_torch")
    method = "mae" if decoder is not None else "simmim" if simmim else None
    has_head = any(fmt.part_of(name) == "head" for name in tensors.shapes)
    return Sizes(measured, found, decoder, method, has_head, notes)


def _check_all_known(tensors: _Tensors) -> None:
    """Raises a ValueError for tensors of the encoder that no `ViTEncoder` has."""
    known = [module for owner in tensors.fmt.names for module in variants(tensors.fmt, owner)]
    known += ["fc_norm", "rel_pos_bias.relative_position_bias_table", "blocks.{}.attn.relative_position_bias_table"]
    pattern = "|".join(re.escape(module).replace(r"\{\}", r"\d+") + r"(\.(weight|bias))?" for module in known)
    others = [
        name for name in tensors.shapes if tensors.fmt.part_of(name) == "encoder" and not re.fullmatch(pattern, name)
    ]
    if others:
        what = additions(others) or [f"tensors that no ViTEncoder has: {listed(others)}"]
        raise ValueError(f"{tensors.file.path} has {'; '.join(what)}")


def _check_norms(tensors: _Tensors) -> None:
    """Raises a ValueError for norms without biases, and for a model without a final norm."""
    if tensors.shape("encoder.blocks.{}.norm1", "bias") is None:
        raise ValueError(f"{tensors.file.path} has {NORMS_WITHOUT_BIASES}")
    if not tensors.names("encoder.norm") and not any(name.startswith("fc_norm.") for name in tensors.shapes):
        raise ValueError(
            f"{tensors.file.path} has no final norm, and every encoder here has one, so that it computes something "
            "else: take another checkpoint"
        )


def _measured(tensors: _Tensors, kernel: Shape) -> dict[str, Any]:
    def count(owner: str) -> int:
        return (tensors.shape(owner) or (0, 0, 0))[1]

    block = "encoder.blocks.{}"
    hidden, output = tensors.shape(f"{block}.mlp_hidden", "weight"), tensors.shape(f"{block}.mlp_output", "weight")
    apart = len([name for name in tensors.names(f"{block}.mlp_hidden") if name.endswith(".weight")]) > 1
    width = (output or (0, 0))[1]
    qkv = (*tensors.names(f"{block}.attention.qkv"), *tensors.names(f"{block}.attention.qkv.bias"))
    biases = [name for name in qkv if name.endswith("bias")]
    key = any(re.search(r"\.(qkv|key|k_proj)\.bias$", name) for name in biases)
    relative = [name for name in tensors.shapes if name.endswith("relative_position_bias_table")]
    return {
        "patch_size": kernel[2:],
        "hidden_dim": kernel[0],
        "num_layers": tensors.blocks("encoder.blocks"),
        "mlp_dim": width,
        "gated_mlp": apart or (hidden or (0,))[0] == 2 * width,
        "num_cls_tokens": count("encoder.cls_token"),
        "num_registers": count("encoder.registers"),
        "layer_scale": 1.0 if tensors.names(f"{block}.attention_scale.gamma") else None,
        "qkv_bias": bool(biases),
        "key_bias": key or not biases or not tensors.fmt.rotary,
        "qk_norm": bool(tensors.names(f"{block}.attention.q_norm")),
        "pre_norm": bool(tensors.names("encoder.norm_pre")),
        "relative_position_bias": None if not relative else "per_block" if "blocks." in relative[0] else "shared",
    }


def _heads(found: dict[str, Any], notes: dict[str, str], tensors: _Tensors, beside: Beside) -> None:
    width, depth = found["hidden_dim"], found["num_layers"]
    norm = tensors.shape("encoder.blocks.{}.attention.q_norm")
    relative = [shape for name, shape in tensors.shapes.items() if name.endswith("relative_position_bias_table")]
    if relative:
        found["num_heads"] = relative[0][-1]
    elif norm:
        found["num_heads"] = width // norm[-1]
    elif "num_heads" in beside.encoder:
        found["num_heads"] = beside.encoder["num_heads"]
        notes["num_heads"] = f"num_heads={found['num_heads']}, by the config beside the file ({beside.name})"
    else:
        table = _HEADS_WITH_ROTARY if tensors.fmt.rotary else _HEADS
        published = table.get((width, depth), ())
        models = f"published models of {depth} blocks of width {width}"
        of_timm_or_dino = found["layer_scale"] is not None or (beside.name is not None and width < 1536)
        if len(published) == 1 or (published and of_timm_or_dino):
            found["num_heads"] = published[0]
            notes["num_heads"] = f"num_heads={published[0]}, as {models} have: no tensor tells it"
        elif published:
            notes["num_heads"] = f"{models} have {' or '.join(map(str, published))} heads: no tensor tells it"


def _epsilon(found: dict[str, Any], notes: dict[str, str], fmt: CheckpointFormat, beside: Beside) -> None:
    if "layer_norm_epsilon" in beside.encoder:
        found["layer_norm_epsilon"] = float(beside.encoder["layer_norm_epsilon"])
        return
    found["layer_norm_epsilon"] = epsilon = _PRE_NORM_EPSILON if found["pre_norm"] else fmt.epsilon
    notes["layer_norm_epsilon"] = f"layer_norm_epsilon={epsilon:g}, the usual one of such files: no tensor tells it"


def _positions(
    found: dict[str, Any], notes: dict[str, str], tensors: _Tensors, beside: Beside
) -> tuple[int, int] | None:
    """Sets `position_embedding` and `num_prefix_positions`, and returns the grid; both if they are known."""
    said = tensors.file.grid or beside.grid
    if said is None and "image_shape" in beside.encoder:  # timm's has no patch size
        sides, patch = beside.encoder["image_shape"], found["patch_size"]
        said = (sides[0] // patch[0], sides[1] // patch[1])
    if not tensors.names("encoder.positions.table"):
        if found["relative_position_bias"] is not None:
            found["position_embedding"] = None
            name = next(name for name in tensors.shapes if name.endswith("relative_position_bias_table"))
            rows = tensors.shapes[name][0] - (3 if found["num_cls_tokens"] else 0)
            side = (math.isqrt(rows) + 1) // 2
            return said or ((side, side) if (2 * side - 1) ** 2 == rows else None)
        if tensors.fmt.rotary:
            found["position_embedding"] = None
        elif ENCODER_KEY not in tensors.file.metadata:
            raise ValueError(
                f"{tensors.file.path} has no positions: those of its model are no tensor, as rotary ones of other "
                "kinds than DINOv3's are, and no ViTEncoder has them"
            )
        return said
    table = tensors.read("encoder.positions.table")[0]
    classes, both = found["num_cls_tokens"], found["num_cls_tokens"] + found["num_registers"]
    counts = dict.fromkeys((classes, 0, both))
    if said is not None:
        fitting = {count: None for count in counts if len(table) == count + said[0] * said[1]}
        said, counts = (said, fitting) if fitting else (None, counts)  # a config may be of another image size
    for count in counts:
        grid = said or sincos_grid(table, count)
        if grid is not None and is_sincos(table, grid, count):
            found |= {"position_embedding": "sincos", "num_prefix_positions": count}
            return grid
    for count in counts:
        side = math.isqrt(len(table) - count)
        if said is not None or side * side == len(table) - count:
            found |= {"position_embedding": "learned", "num_prefix_positions": count}
            if said is None:
                text = f"{side} x {side}"
                notes["image_shape"] = f"a grid of {text} patches, as its {len(table)} positions make a square one"
            return said or (side, side)
    found["position_embedding"] = "learned"
    return None


def _decoder(tensors: _Tensors, beside: Beside, encoder: Mapping[str, Any]) -> dict[str, Any]:
    hidden = tensors.shape("decoder.blocks.{}.mlp_hidden", "weight") or (0, 0)
    decoder: dict[str, Any] = {
        "hidden_dim": hidden[1],
        "num_layers": tensors.blocks("decoder.blocks"),
        "mlp_dim": hidden[0],
        "layer_norm_epsilon": encoder["layer_norm_epsilon"],
        "position_embedding": "learned",
    }
    heads = beside.decoder.get("num_heads", _HEADS_OF_DECODERS.get((hidden[1], decoder["num_layers"])))
    if heads is not None:
        decoder["num_heads"] = heads
    if tensors.names("decoder.positions.table"):
        table = tensors.read("decoder.positions.table")[0]
        count = encoder["num_cls_tokens"] + encoder["num_registers"]
        grid = sincos_grid(table, count)
        if grid is not None:
            decoder["position_embedding"] = "sincos"
    return decoder
