"""Recipes: short Python files, each with its evidence and a function `config()`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar, overload

from keras_mae.registry import did_you_mean
from keras_mae.trainers.config import TrainingConfig

Config = TypeVar("Config", bound=TrainingConfig)


def names() -> list[str]:
    """The names of all recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def by_program() -> dict[str, list[str]]:
    """The names of the recipes for each program, in the order in which the programs are run."""
    programs: dict[str, list[str]] = {"pretrain": [], "finetune": [], "segment": [], "linear-probe": []}
    for name in names():
        programs[_module(name).config().program].append(name)
    return programs


@overload
def load(name: str) -> TrainingConfig: ...
@overload
def load(name: str, kind: type[Config]) -> Config: ...


def load(name: str, kind: type[Config] | None = None):
    """The recipe `name`.

    Args:
        name: the recipe.
        kind: the class that its config must have; None for any.

    Raises:
        ValueError: for an unknown name, with similar ones; or if the recipe is for another program.
    """
    if name not in names():
        known = names() if kind is None else by_program()[kind.program]
        if kind is None or kind.program == "pretrain":
            known = ["auto", *known]
        if name == "auto":
            raise ValueError(
                "--recipe=auto has no settings of its own, it chooses them by the images: in Python it is "
                "keras_mae.trainers.auto_recipe.AutoRecipe"
                if kind is None or kind.program == "pretrain"
                else f"--recipe=auto is for keras-mae pretrain, not for {kind.program}; for that there are: "
                f"{', '.join(known)}"
            )
        raise ValueError(f"no recipe is called {name!r}{did_you_mean(name, known)} {', '.join(known)}")
    config = _module(name).config()
    if kind is not None and not isinstance(config, kind):
        raise ValueError(
            f"{name} is a recipe for keras-mae {config.program}, not for {kind.program}; for that there are: "
            f"{', '.join(by_program()[kind.program])}"
        )
    return config


def title(name: str) -> str:
    """The first line of a recipe's docstring."""
    return evidence(name).splitlines()[0]


def evidence(name: str) -> str:
    """A recipe's docstring: its purpose, the source of its settings, and the expected result."""
    return inspect.getdoc(_module(name)) or ""


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
