"""`keras-mae recipes`: a line for each recipe, or one recipe in full."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from absl import flags

from keras_mae.commands.command import Command

if TYPE_CHECKING:
    from keras_mae.trainers.settings import Config


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("show", None, "a recipe to show: its evidence, and every setting", flag_values=values)
    return values


def _recipes(values: flags.FlagValues) -> None:
    from keras_mae.trainers import auto_recipe, recipes

    of_auto = inspect.getdoc(auto_recipe) or ""
    if values.show is None:
        width = max(map(len, recipes.names()))
        for program, names in recipes.by_program().items():
            print(f"for keras-mae {program}:")
            if program == "pretrain":
                print(f"  {auto_recipe.AUTO:{width}}  {of_auto.splitlines()[0]}")
            for name in names:
                print(f"  {name:{width}}  {recipes.title(name)}")
        return
    if values.show == auto_recipe.AUTO:
        print(of_auto)
        return
    config = recipes.load(values.show)
    print(f"{recipes.evidence(values.show)}\n\nfor keras-mae {config.program}; every setting, for --set:")
    for line in _explained(config):
        print(line)
    peak = config.optimizer.peak_learning_rate
    print(f"\nthe peak learning rate, base_learning_rate x batch_size / 256, is {peak:.4g}")


def _explained(config: Config) -> Iterator[str]:
    """The parts of a config with their settings, as `--set` takes them, and the explanation of each."""
    from keras_mae.trainers import settings
    from keras_mae.trainers.ranges import hints_of

    short = dict(zip(settings.values_of(config), settings.short_names(config), strict=True))
    for name, part in settings.parts_of(config).items():
        kinds = settings.registry_of(hints_of(type(config))[name])
        chosen = name if kinds is None else f"{name}={settings.kind_of(config, name)}"
        others = f" (there are: {', '.join(kinds)})" if kinds is not None and len(kinds) > 1 else ""
        summary = inspect.cleandoc(part.__doc__ or "").split("\n")[0]
        yield "\n" + textwrap.fill(f"{chosen}: {summary}{others}", 120, subsequent_indent="    ")
        meanings = explanations(type(part))
        for field in dataclasses.fields(part):
            value = str(getattr(part, field.name)).replace(" ", "")  # needs no quotes
            begin = f"  {short[f'{name}.{field.name}']}={value}"
            yield textwrap.fill(f"{begin:34}  {meanings.get(field.name, '')}", 120, subsequent_indent=" " * 36)


def explanations(part: type) -> dict[str, str]:
    """The explanation of each setting, from the docstrings of a part and of its base classes."""
    found: dict[str, str] = {}
    for base in reversed(part.__mro__):
        _, _, attributes = inspect.cleandoc(base.__doc__ or "").partition("\nAttributes:\n")
        attributes = re.split(r"\n(?=\S)", attributes)[0]
        for name, text in re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", attributes, re.MULTILINE):
            found[name] = " ".join(text.split())
    return found


RECIPES = Command("list the recipes, or show one of them", _flags, _recipes)
