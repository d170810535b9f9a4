"""Settings that are chosen by your images and your machine; taken where no recipe is named.

Sizes, epochs and rates come from runs that were measured, here or in papers, see `keras_mae.trainers.auto_choice`; what
that chooses for typical sets is in docs/which_recipe.md. Every choice is printed with its reason before the run starts.
Command: `keras-mae pretrain --data=folder:/data/pictures --output=runs/mine`, which takes this recipe by itself; `--set
key=value` replaces a choice, and what depends on it follows.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keras_mae.trainers.auto_choice import Chosen, choose, given_names
from keras_mae.trainers.auto_facts import Facts, memory_of_run, seconds_of_run
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.settings import changed, kind_of, names_in, parts_of, replaced, values_of

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_mae.data import Source
    from keras_mae.trainers.run import RunFolder

AUTO = "auto"
_log = logging.getLogger("keras_mae")
_MANY = 1_000_000
# what a run of so many hours has scaled when it began
_IN_EPOCHS = ("epochs", "warmup_epochs", "milestones", "frozen_epochs")
_PLAIN = Facts(num_images=50_000, height=256, width=256)  # facts that limit nothing, to check what is given


@dataclasses.dataclass(frozen=True)
class AutoRecipe:
    """In place of a config for `keras_mae.trainers.pretrain.pretrain`: the settings are chosen once data are open.

    Attributes:
        given: settings that are not to be chosen, by name as for `keras_mae.trainers.settings.replaced`.

    Example:
        >>> from keras_mae.trainers.auto_recipe import AutoRecipe
        >>> source = keras_mae.data.open_source("folder:/data/pictures")
        >>> config, reasons = AutoRecipe({"epochs": 300}).choose(source)
    """

    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_settings(cls, settings: Sequence[str]) -> AutoRecipe:
        """The recipe with `key=value` settings; errors as `changed`."""
        default = PretrainConfig()
        config = changed(default, settings)
        kinds = {name: kind_of(config, name) for name in parts_of(config)}
        kinds = {name: kind for name, kind in kinds.items() if kind not in (None, kind_of(default, name))}
        values = values_of(config)
        return cls(kinds | {name: values[name] for name in names_in(config, settings)})

    @property
    def base(self) -> PretrainConfig:
        """The defaults with what is given."""
        return replaced(PretrainConfig(), **self.given)

    def check(self) -> None:
        """Raises a ValueError for given settings that exclude each other; no image is looked at."""
        given = {name: value for name, value in self.given.items() if _last(name) != "hours"}
        names = [_last(name) for name in given]
        if "epochs" not in names:  # how many are chosen depends on the images
            given |= {"epochs": _MANY} if "warmup_epochs" in names else {"epochs": _MANY, "warmup_epochs": 0.0}
        check_together(choose(_PLAIN, given).config)

    def choose(self, source: Source, strategy: tf.distribute.Strategy | None = None) -> Chosen:
        """Measures the images and this machine, chooses, and logs each choice with its reason.

        Args:
            source: the images.
            strategy: of the run; None for one device. All workers of several choose what the chief does.

        Raises:
            ValueError: as `keras_mae.trainers.auto_measure.measure_facts`, `choose` and `check_together`.
        """
        import tensorflow as tf

        from keras_mae.trainers.auto_measure import measure_facts
        from keras_mae.trainers.strategy import of_chief

        strategy = strategy or tf.distribute.get_strategy()
        facts = measure_facts(source, strategy, given_names(self.given))
        record: dict[str, Any] = json.loads(of_chief(strategy, json.dumps(dataclasses.asdict(facts))))
        values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in record.items()}
        facts = Facts(**values)
        chosen = choose(facts, self.given)
        check_together(chosen.config)
        for line in lines_of(chosen, facts):
            _log.info("%s", line)
        return chosen

    def resumed(self, folder: RunFolder) -> PretrainConfig:
        """The config of the run that is there, with what is given; a `ValueError` if there is none of pretraining."""
        config = folder.config()[0]
        if not isinstance(config, PretrainConfig):
            raise ValueError(f"the run in {folder.path} is one of {config.program}, not of {PretrainConfig.program}")
        decided = _IN_EPOCHS if config.run.hours is not None else ()
        return replaced(config, **{name: value for name, value in self.given.items() if _last(name) not in decided})


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def lines_of(chosen: Chosen, facts: Facts) -> list[str]:
    """What people read before the run starts: the facts, each choice with its reason, memory and time."""
    size = f"{facts.height} x {facts.width} pixels{'' if facts.same_size else ' or more, nine of ten'}"
    channels = "1 channel" if facts.channels == 1 else f"{facts.channels} channels"
    device = "accelerator" if facts.accelerator else "processor"
    free = "" if facts.memory is None else f", {facts.memory / 1e9:.1f} GB free"
    lines = [f"--recipe=auto: {facts.num_images:,} images of {size}, {channels} of {facts.bits} bits; {device}{free}"]
    width = max(len(reason.setting) for reason in chosen.reasons if len(reason.setting) <= 44)
    for reason in chosen.reasons:
        shown = reason.setting if len(reason.setting) <= 100 else f"{reason.setting[:60]}..."  # of many channels
        lines.append(f"  {shown:{width}}  {reason.why}")
    memory, seconds = memory_of_run(chosen.config, facts), seconds_of_run(chosen.config, facts)
    if memory is not None and seconds is not None:
        lines.append(
            f"  about {memory / 1e9:.1f} GB of memory in all and {_time(seconds)}, by the speed of a matrix product "
            "here; --set key=value replaces a choice"
        )
    return lines


def _time(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{math.ceil(seconds / 60 + 1)} minutes"
    )  # it starts, too
