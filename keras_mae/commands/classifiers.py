"""`keras-mae finetune`, `linear-probe` and `knn`: what an encoder is worth, with labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from absl import flags

from keras_mae.commands.command import Command, define_overwrite, define_set, define_training


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


def _finetune(values: flags.FlagValues) -> None:
    from keras_mae.trainers.finetune import finetune
    from keras_mae.trainers.finetune_config import FinetuneConfig

    _train(values, FinetuneConfig, finetune)


def _linear_probe(values: flags.FlagValues) -> None:
    from keras_mae.trainers.linear_probe import linear_probe
    from keras_mae.trainers.probe_config import ProbeConfig

    _train(values, ProbeConfig, linear_probe)


def _train(values: flags.FlagValues, kind: type, program: Callable[..., dict[str, Any]]) -> None:
    from keras_mae.trainers import recipes
    from keras_mae.trainers.config import changed

    config = _with_flags(changed(recipes.load(values.recipe, kind), values.set), values)
    started = {name: values[name].value for name in ("resume", "overwrite", "strategy", "tpu")}
    results = program(config, values.data, values.output, **started)
    top5 = f", top-5 {100 * results['top5']:.1f} %" if "top5" in results else ""
    best = results["best"]
    print(
        f"top-1 {100 * results['top1']:.1f} %{top5}; best epoch {best['epoch']}: {100 * best['top1']:.1f} %; "
        f"{_majority(results)}"
    )
    print(f"wrote {values.output}")


def _knn(values: flags.FlagValues) -> None:
    from keras_mae.trainers.config import changed
    from keras_mae.trainers.knn import knn
    from keras_mae.trainers.knn_config import KnnConfig

    config = _with_flags(changed(KnnConfig(), values.set), values)
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


def _with_flags(config: Any, values: flags.FlagValues) -> Any:
    """The config with what has a flag of its own, if that is given."""
    given = {name: values[name].value for name in ("run", "validation_data") if values[name].value is not None}
    return dataclasses.replace(config, **given)


FINETUNE = Command(
    "train a classifier on a pretrained encoder, or its last blocks",
    lambda: _flags("finetune_vit_base", fresh=True),
    _finetune,
    ("data", "output"),
)
LINEAR_PROBE = Command(
    "train a linear layer on a frozen encoder",
    lambda: _flags("probe_vit_base"),
    _linear_probe,
    ("run", "data", "output"),
)
KNN = Command("measure a frozen encoder by nearest neighbours", lambda: _flags(None), _knn, ("run", "data"))
