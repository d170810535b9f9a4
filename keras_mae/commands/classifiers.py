"""`keras-mae finetune`, `linear-probe` and `knn`: what an encoder is worth, with labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from absl import flags

from keras_mae.commands.command import Command, check_output, define_overwrite, define_set, define_training


def _flags(recipe: str | None, fresh: bool = False) -> flags.FlagValues:
    """The flags of a program.

    Args:
        recipe: what it trains with if it is not told another, or None if it trains nothing.
        fresh: whether it may start from fresh weights.
    """
    values = flags.FlagValues()
    flags.DEFINE_string(
        "run",
        None,
        "whose encoder: the folder of a run, or a .keras file" + ("; fresh weights if not given" if fresh else ""),
        flag_values=values,
    )
    flags.DEFINE_string(
        "data", None,
        "the images with their labels, as for pretrain; a part of them is kept for the test if they have no such part",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string("validation_data", None, "what to test on, if not a part of the data", flag_values=values)
    flags.DEFINE_string("output", None, "the run folder to write", flag_values=values)
    if recipe:
        flags.DEFINE_string("recipe", recipe, "the settings; see keras-mae recipes", flag_values=values)
    define_set(values)
    define_overwrite(values)
    if recipe:
        define_training(values)
    return values


def _kind(program: str) -> type:
    """What `--set` changes."""
    from keras_mae.trainers.config import CONFIGS

    return CONFIGS[program]


def _check(values: flags.FlagValues, program: str) -> None:
    """Refuses settings that cannot work."""
    from keras_mae.trainers.checks import check_together

    check_output(values)
    check_together(_config(values, program))


def _config(values: flags.FlagValues, program: str) -> Any:
    """The recipe, or the defaults where there is none, with what was set and what has a flag of its own."""
    from keras_mae.trainers import recipes
    from keras_mae.trainers.settings import changed, replaced

    kind = _kind(program)
    config = changed(recipes.load(values.recipe, kind) if "recipe" in values else kind(), values.set)
    given = {name: values[name].value for name in ("run", "validation_data") if values[name].value is not None}
    return replaced(config, **given)


def _finetune(values: flags.FlagValues) -> None:
    from keras_mae.trainers.finetune import finetune

    _train(values, "finetune", finetune)


def _linear_probe(values: flags.FlagValues) -> None:
    from keras_mae.trainers.linear_probe import linear_probe

    _train(values, "linear-probe", linear_probe)


def _train(values: flags.FlagValues, name: str, program: Callable[..., dict[str, Any]]) -> None:
    config = _config(values, name)
    started = {flag: values[flag].value for flag in ("resume", "overwrite", "strategy", "tpu")}
    results = program(config, values.data, values.output, **started)
    top5 = f", top-5 {100 * results['top5']:.1f} %" if "top5" in results else ""
    best = results["best"]
    print(
        f"top-1 {100 * results['top1']:.1f} %{top5}; best epoch {best['epoch']}: {100 * best['top1']:.1f} %; "
        f"{_majority(results)}"
    )
    print(f"wrote {values.output}")


def _knn(values: flags.FlagValues) -> None:
    from keras_mae.trainers.knn import knn

    config = _config(values, "knn")
    results = knn(config, values.data, values.output, overwrite=values.overwrite)
    for k, top1 in results["top1"].items():
        top5 = f", top-5 {100 * results['top5'][k]:.1f} %" if "top5" in results else ""
        print(f"k = {k:>3}: top-1 {100 * top1:.1f} %{top5}; {_majority(results)}")
    if values.output:
        print(f"wrote {values.output}")


def _majority(results: dict[str, Any]) -> str:
    """What an accuracy is to be compared with."""
    five = f", the five largest: {100 * results['majority_share_top5']:.1f} %" if "top5" in results else ""
    return f"the largest class: {100 * results['majority_share']:.1f} %{five} of {results['validation_images']} images"


def _command(summary: str, name: str, recipe: str | None, run: Callable, *required: str) -> Command:
    """A program's command; one that need not be told whose encoder starts from fresh weights then."""
    flags_of, check = (lambda: _flags(recipe, fresh="run" not in required)), (lambda values: _check(values, name))
    return Command(summary, flags_of, run, required, check, lambda: _kind(name))


_SUMMARY = "train a classifier on a pretrained encoder, or its last blocks"
FINETUNE = _command(_SUMMARY, "finetune", "finetune_vit_base", _finetune, "data", "output")
LINEAR_PROBE = _command(
    "train a linear layer on a frozen encoder", "linear-probe", "probe_vit_base", _linear_probe, "run", "data", "output"
)
KNN = _command("measure a frozen encoder by nearest neighbours", "knn", None, _knn, "run", "data")
