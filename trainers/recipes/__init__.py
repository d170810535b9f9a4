"""Recipes: short Python files, each with a function `config()` and the evidence for it on top."""

from __future__ import annotations

import difflib
import importlib
import pkgutil

from keras_mae.trainers.config import PretrainConfig


def names() -> list[str]:
    """The names of all recipes."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> PretrainConfig:
    """The recipe `name`.

    Raises:
        ValueError: if there is none of that name; the near ones are shown.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=2, cutoff=0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"no recipe is called {name!r}{hint} There are: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").config()


def title(name: str) -> str:
    """The first line of a recipe's docstring."""
    return (importlib.import_module(f"{__name__}.{name}").__doc__ or "").splitlines()[0]
