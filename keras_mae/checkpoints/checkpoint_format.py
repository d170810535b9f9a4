"""The base of checkpoint formats: a table of names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

import keras
import numpy as np

from keras_mae.layers.slots import Slot
from keras_mae.registry import Registry

FORMATS: Registry[CheckpointFormat] = Registry("format")

ZEROS = ""  # in place of a name: the format has no tensor for a piece without influence, which becomes zeros
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_LEAVES = {"kernel": "weight", "gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"}


class CheckpointFormat:
    """One library's names for the tensors of a Vision Transformer.

    A subclass is a table of modules; the leaves have the same names in all of PyTorch's formats.

    Attributes:
        name: the format's name in calls.
        names: the module's name in the file by our owner, block numbers written `{}`; three names where queries, keys
            and values are stored apart, two for gate and value. A variable that is named otherwise than its module
            stands with its own name. The format has no place for an owner that is not in the table.
        parts: regular expressions of the names that belong to the `decoder`, to the `head`, to a `mask_token` of a
            training with masks, and to `nothing` (counters, and heads of other tasks). All other names are the
            encoder's.
        signature: regular expression of a name that every file in the format has.
        foreign: regular expression of names that no file in the format has.
        wrapper: the key that PyTorch files hold the tensors under, if any.
        families: further tables of the same format, for other kinds of models. The first of the format and its families
            that recognises the names of a file reads it, and the first that can hold an encoder writes it.
        holds: what an encoder has to be for this table: the values of its attributes that are allowed.
        rotary: whether its models have rotary positions, which no tensor shows.
        epsilon: LayerNorm's, where nothing else tells it.
        may_be_gated: whether a file with gated MLPs may be read; models of its names may compute something else.
    """

    name: str
    names: dict[str, str | tuple[str, ...]]
    parts: dict[str, str]
    signature: str
    foreign: str | None = None
    wrapper: str | None = None
    families: tuple[CheckpointFormat, ...] = ()
    holds: dict[str, tuple[Any, ...]] = {}
    rotary: bool = False
    epsilon: float = 1e-6
    may_be_gated: bool = True

    @property
    def patch_kernel(self) -> str:
        """The canonical name of the patch projection's matrix; every set of weights has one."""
        return f"{self.names['encoder.patch_projection']}.weight"

    def canonical(self, name: str) -> str:
        """The table's name for a name in a file; libraries have changed their names over time."""
        return name

    def grid_beside(self, path: str) -> tuple[int, int] | None:
        """The grid of patches that a file beside `path` states, in formats that have such a file."""
        return None

    def members(self) -> tuple[CheckpointFormat, ...]:
        """The format's tables: itself, and its families."""
        return (self, *self.families)

    def refusal(self, encoder: keras.Model) -> str | None:
        """What an encoder has that the table has no place for; None if nothing."""
        temperature = getattr(encoder, "rotary_temperature", None)
        if (temperature is not None) != self.rotary:
            return f"rotary_temperature={temperature!r}, where its models have {'a number' if self.rotary else None}"
        holds = dict(self.holds)
        if getattr(encoder, "position_embedding", None) is not None:
            holds["num_prefix_positions"] = self.position_rows(encoder)
        for name, allowed in holds.items():
            value = getattr(encoder, name, allowed[0])  # other encoders than the ViT lack some
            if value not in allowed:
                return f"{name}={value!r}, where its models have {' or '.join(map(repr, dict.fromkeys(allowed)))}"
        return None

    def position_rows(self, encoder: keras.Model) -> tuple[int, ...]:
        """For how many prefix tokens of an encoder the table of positions may have a row."""
        return (encoder.num_cls_tokens,)

    def placed(self, slot: Slot) -> Slot:
        """The variable, with another layout where this format's tensor has other axes."""
        return slot

    def unused(self, encoder: keras.Model) -> dict[str, np.ndarray]:
        """Tensors that the library's class has and our encoder has no use for, to write with it."""
        return {}

    def recognises(self, names: Collection[str]) -> bool:
        """Whether a file with these names looks like this format."""
        canonical = [self.canonical(name) for name in names]
        if self.foreign is not None and any(re.search(self.foreign, name) for name in canonical):
            return False
        return any(re.search(self.signature, name) for name in canonical)

    def file_names(self, slot: Slot) -> tuple[str, ...]:
        """The canonical names of a variable: one, three, or none if the format has no place for it; or `ZEROS`."""
        numbers = _NUMBER.findall(slot.owner)
        owner, leaf = _NUMBER.sub("{}", slot.owner), f".{_LEAVES.get(slot.leaf, slot.leaf)}" if slot.leaf else ""
        named = self.names.get(owner, ())
        if slot.leaf and f"{owner}.{slot.leaf}" in self.names:
            named, leaf = self.names[f"{owner}.{slot.leaf}"], ""
        modules = (named,) if isinstance(named, str) else named
        return tuple(module.format(*numbers) + leaf for module in modules)

    def part_of(self, name: str) -> str:
        """`encoder`, `decoder`, `head`, `mask_token` or `nothing`: what a canonical name belongs to."""
        return next((part for part, pattern in self.parts.items() if re.search(pattern, name)), "encoder")

    def for_model(
        self, model: keras.Model, found: Collection[str] | None, skipped: Callable[[str], bool]
    ) -> tuple[CheckpointFormat, list[str]]:
        """The format with its names for this model, and sentences for the report.

        The default has one table for all; formats that name the final norm by the kind of pooling override this.

        Args:
            model: the model to load or save.
            found: the canonical names in the file; None when saving.
            skipped: whether the caller skips a variable, by our name.

        Raises:
            ValueError: if the file's classifier and the model's compute different things.
        """
        return self, []


def slots_of(model: keras.Model, with_target: bool = True) -> list[Slot]:
    """Every weight of an encoder, autoencoder or classifier of this package, exactly once.

    Args:
        model: has them.
        with_target: whether weights of its target, such as a basis or a tokenizer, are refused; else they are left out.

    Raises:
        ValueError: for another kind of model, or one with weights that no published format has.
    """
    if not hasattr(model, "slots"):
        raise ValueError(
            "checkpoints are of a ViTEncoder, a MaskedAutoencoder, a SimMIM or an ImageClassifier; "
            f"got a {type(model).__name__}: pass its encoder, or save it with model.save(...)"
        )
    found = list(model.slots())
    known = {id(slot.variable) for slot in found}
    of_target = {id(variable) for variable in getattr(getattr(model, "target", None), "weights", ())} - known
    if of_target and with_target:
        raise ValueError(
            f"no published format has a place for the weights of a {type(model.target).__name__}: save the encoder "
            "(model.encoder), or all of the model with model.save(...)"
        )
    unknown = [variable.path for variable in model.weights if id(variable) not in known | of_target]
    if unknown or len(known) != len(found):
        raise ValueError(f"no published format has a place for these weights of the model: {', '.join(unknown)}")
    return found


def parts_of(slots: Iterable[Slot]) -> set[str]:
    """The parts of a file that a model with these weights has a place for."""
    parts = {slot.part for slot in slots}
    return parts | ({"head"} if "batch_norm" in parts else set()) | ({"decoder"} if "mask_token" in parts else set())
