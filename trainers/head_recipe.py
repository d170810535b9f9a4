"""The recipe for a head on a pretrained encoder: the paper's where it fits, else the one for any encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_mae.encoders.presets import PRESETS
from keras_mae.trainers import recipes

_SMALL = 64  # pixels: the largest side for which recipes for small images are named in any case
_LEAST_STEPS = 10  # an epoch; with fewer a paper's number of epochs is a handful of steps
_OF_PAPER = {"vit_base": "vit_base_patch16", "vit_large": "vit_large_patch16", "vit_huge": "vit_huge_patch14"}
_SIZES = ("hidden_dim", "num_layers", "num_heads")


def head_recipe(begins: str, settings: Mapping[str, Any], data: str, num_images: int | None) -> str:
    """The name of a recipe that takes the encoder of a run, and has batches that its images fill.

    Args:
        begins: how the names of the program's recipes begin, `probe` or `finetune`.
        settings: those of the run that trained the encoder, by their full names, as `config.json` has them.
        data: the data specification of that run.
        num_images: the images to train the head on; None if that is not known.

    Returns:
        A recipe of the paper needs the encoder's sizes and, where the number of images is known, ten steps an epoch.
    """
    if data == "digits":
        return f"{begins}_digits"
    own = {name: settings.get(f"encoder.{name}") for name in ("preset", "image_size", "patch_size", *_SIZES)}
    of_preset = PRESETS.get(own["preset"] or "", {})
    sizes = [own[name] or of_preset.get(name) for name in _SIZES]
    sides = [side for side in _pair(own["image_size"]) if isinstance(side, int)]
    for kind, name in _OF_PAPER.items():
        theirs = PRESETS[name]
        same = sizes == [theirs[size] for size in _SIZES] and _pair(own["patch_size"]) == _pair(theirs["patch_size"])
        if not same or (sides and max(sides) <= _SMALL):
            continue
        least = _LEAST_STEPS * recipes.load(f"{begins}_{kind}").optimizer.batch_size
        if num_images is None or num_images >= least:
            return f"{begins}_{kind}"
    return f"{begins}_small_images"


def _pair(size: Any) -> list[Any]:
    return list(size) if isinstance(size, (list, tuple)) else [size, size]
