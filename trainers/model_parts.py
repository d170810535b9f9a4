"""The mask sampler and the target that a config names."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from keras_mae.masking import SAMPLERS, MaskSampler
from keras_mae.targets import PCATarget, PixelTarget, Target, TokenTarget
from keras_mae.trainers.config import PretrainConfig


def make_sampler(config: PretrainConfig) -> MaskSampler:
    """The sampler `config.sampler`, at the config's mask ratio and, if it says so, with its mask unit.

    Raises:
        ValueError: for an unknown name, or settings that do not go with the sampler.
    """
    sampler = _named("sampler", config.sampler, SAMPLERS)
    if config.mask_unit is None:
        return sampler(mask_ratio=config.mask_ratio)
    if config.sampler != "units":
        raise ValueError(f"mask_unit is for sampler=units; the sampler is {config.sampler}")
    return sampler(unit=config.mask_unit, mask_ratio=config.mask_ratio)


def _tokens(config: PretrainConfig) -> Target:
    if config.tokenizer is None or config.vocabulary_size is None:
        raise ValueError("target=tokens needs a tokenizer, the folder of a SavedModel, and its vocabulary_size")
    return TokenTarget(config.tokenizer, config.vocabulary_size)


TARGETS: dict[str, Callable[[PretrainConfig], Target]] = {
    "pixels": lambda config: PixelTarget(normalize=config.normalize_target),
    "pca": lambda config: PCATarget(config.pca_components),
    "tokens": _tokens,
}


def make_target(config: PretrainConfig) -> Target:
    """The target `config.target`.

    Raises:
        ValueError: for an unknown name, or if a setting that it needs is missing.
    """
    return _named("target", config.target, TARGETS)(config)


def _named(kind: str, name: str, known: dict[str, Any]):
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"no {kind} is called {name!r}{hint} There are: {', '.join(known)}")
    return known[name]
