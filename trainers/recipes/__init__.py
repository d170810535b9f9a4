"""Recipes: short Python files, each with a function `config()` and the evidence for it on top."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar, overload

from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.config import PretrainConfig

Recipe = PretrainConfig | FinetuneConfig | ProbeConfig
Config = TypeVar("Config", bound=Recipe)


def names() -> list[str]:
    """The names of all recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def by_program() -> dict[str, list[str]]:
    """The names of the recipes for each program, in the order in which one runs them."""
    programs: dict[str, list[str]] = {"pretrain": [], "finetune": [], "linear-probe": []}
    for name in names():
        programs[_module(name).config().program].append(name)
    return programs


@overload
def load(name: str) -> Recipe: ...
@overload
def load(name: str, kind: type[Config]) -> Config: ...


def load(name: str, kind: type[Config] | None = None):
    """The recipe `name`.

    Args:
        name: the recipe.
        kind: None, or the config class that is needed.

    Raises:
        ValueError: if there is none of that name, of which the near ones are shown; or if it is for another program.
    """
    if name not in names():
        known = names() if kind is None else by_program()[kind.program]
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}? Type --recipe={near[0]}." if near else ""
        raise ValueError(f"no recipe is called {name!r}{hint} There are: {', '.join(names())}")
    config = _module(name).config()
    if kind is not None and not isinstance(config, kind):
        program = kind.program
        raise ValueError(
            f"{name} is a recipe for keras-mae {config.program}, not for {program}; for that there are: "
            f"{', '.join(by_program()[program])}"
        )
    return config


def title(name: str) -> str:
    """The first line of a recipe's docstring."""
    return evidence(name).splitlines()[0]


def evidence(name: str) -> str:
    """A recipe's docstring: what it is for, where its settings are from, what to expect of it."""
    return inspect.getdoc(_module(name)) or ""


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
