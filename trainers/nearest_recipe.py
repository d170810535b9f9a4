"""The recipe that a config differs least from, and what differs."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras_mae.trainers import recipes
from keras_mae.trainers.config import CONFIGS
from keras_mae.trainers.settings import Config, short_names, values_of

# settings with a flag of their own, which name the first weights
GIVEN = ("encoder.run", "encoder.init", "run.init")


class Difference(NamedTuple):
    """A setting that two configs do not share.

    Attributes:
        name: as `--set` takes it.
        value: of the one config.
        other: of the other; None if it has no such setting.
    """

    name: str
    value: Any
    other: Any

    @property
    def typed(self) -> str:
        """The setting as `--set` takes it."""
        value = self.value if isinstance(self.value, str) else repr(self.value).replace(" ", "")
        return f"{self.name}={value}"


def nearest_recipe(config: Config) -> tuple[str | None, list[Difference]]:
    """The recipe of a config's program that it differs least from, and the settings that differ.

    Without a recipe, as for kNN, the settings that differ from the defaults.
    """
    names = recipes.by_program().get(config.program, [])
    if not names:
        return None, differences(config, CONFIGS[config.program]())
    found = {name: differences(config, recipes.load(name)) for name in names}
    best = min(found, key=lambda name: len(found[name]))
    return best, found[best]


def differences(config: Config, other: Config) -> list[Difference]:
    """The settings of a config that another one has not, or has with another value; the first weights are left out."""
    own, theirs = values_of(config), values_of(other)
    typed = dict(zip(own, short_names(config), strict=True))
    return [
        Difference(typed[name], value, theirs.get(name))
        for name, value in own.items()
        if name not in GIVEN and (name not in theirs or theirs[name] != value)
    ]
