"""`keras-mae finetune`, `linear-probe`, `knn` and `recipes`: their flags, and what they run; `cli` lists them."""

from __future__ import annotations

import dataclasses

from absl import flags


def classifier_flags(recipe: str, trains: bool = True) -> flags.FlagValues:
    """The flags of a program that measures an encoder with labels.

    Args:
        recipe: the default recipe; empty for a program that has none.
        trains: whether it trains, and so may be interrupted.
    """
    values = flags.FlagValues()
    flags.DEFINE_string(
        "run", None,
        "whose encoder: the folder of a pretraining run, or a .keras file" + ("; fresh weights if not given" * trains),
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string(
        "data", None,
        "the images with their labels, as for pretrain; a part of them is kept for the test if they have no such part",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string("validation_data", None, "what to test on, if not a part of the data", flag_values=values)
    flags.DEFINE_string("output", None, "the run folder to write", flag_values=values)
    if recipe:
        flags.DEFINE_string("recipe", recipe, "the settings; see keras-mae recipes", flag_values=values)
    flags.DEFINE_multi_string(
        "set", [], "a setting in place of the recipe's, as key=value; may be given again", flag_values=values
    )
    flags.DEFINE_bool("overwrite", False, "discard the run that is in the output folder", flag_values=values)
    if trains:
        flags.DEFINE_bool("resume", False, "continue the run that is in the output folder", flag_values=values)
        flags.DEFINE_enum(
            "strategy", "auto", ["auto", "single", "mirrored", "multiworker", "tpu"],
            "what to train on, as for pretrain", flag_values=values,
        )  # fmt: skip
        flags.DEFINE_string("tpu", "local", "the TPU's name or address; local is this machine's", flag_values=values)
    return values


def finetune_flags() -> flags.FlagValues:
    """The flags of `keras-mae finetune`."""
    return classifier_flags("finetune_vit_base")


def probe_flags() -> flags.FlagValues:
    """The flags of `keras-mae linear-probe`."""
    return classifier_flags("probe_vit_base")


def knn_flags() -> flags.FlagValues:
    """The flags of `keras-mae knn`."""
    return classifier_flags("", trains=False)


def recipes_flags() -> flags.FlagValues:
    """The flags of `keras-mae recipes`."""
    values = flags.FlagValues()
    flags.DEFINE_string("show", None, "a recipe to show: its evidence, and every setting", flag_values=values)
    return values


def run_finetune(values: flags.FlagValues) -> None:
    """`keras-mae finetune`."""
    from keras_mae.trainers.finetune import finetune
    from keras_mae.trainers.finetune_config import FinetuneConfig

    _train(values, FinetuneConfig, finetune)


def run_linear_probe(values: flags.FlagValues) -> None:
    """`keras-mae linear-probe`."""
    from keras_mae.trainers.linear_probe import linear_probe
    from keras_mae.trainers.probe_config import ProbeConfig

    _train(values, ProbeConfig, linear_probe)


def _train(values: flags.FlagValues, kind: type, program) -> None:
    from keras_mae.trainers import recipes
    from keras_mae.trainers.config import changed

    config = _with_flags(changed(recipes.load(values.recipe, kind), values.set), values)
    results = program(
        config,
        values.data,
        values.output,
        resume=values.resume,
        overwrite=values.overwrite,
        strategy=values.strategy,
        tpu=values.tpu,
    )
    top5 = f", top-5 {100 * results['top5']:.1f} %" if "top5" in results else ""
    best = results["best"]
    print(f"top-1 {100 * results['top1']:.1f} %{top5}; best epoch {best['epoch']}: {100 * best['top1']:.1f} %")
    print(f"wrote {values.output}")


def run_knn(values: flags.FlagValues) -> None:
    """`keras-mae knn`."""
    from keras_mae.trainers.config import changed
    from keras_mae.trainers.knn import knn
    from keras_mae.trainers.knn_config import KnnConfig

    config = _with_flags(changed(KnnConfig(), values.set), values)
    results = knn(config, values.data, values.output, overwrite=values.overwrite)
    for k, top1 in results["top1"].items():
        top5 = f", top-5 {100 * results['top5'][k]:.1f} %" if "top5" in results else ""
        print(f"k = {k:>3}: top-1 {100 * top1:.1f} %{top5}")
    if values.output:
        print(f"wrote {values.output}")


def _with_flags(config, values: flags.FlagValues):
    given = {name: values[name].value for name in ("run", "validation_data") if values[name].value is not None}
    return dataclasses.replace(config, **given)


def run_recipes(values: flags.FlagValues) -> None:
    """`keras-mae recipes`: a line for each, or one of them in full."""
    from keras_mae.trainers import recipes

    if values.show is None:
        width = max(map(len, recipes.names()))
        for program, names in recipes.by_program().items():
            print(f"for keras-mae {program}:")
            for name in names:
                print(f"  {name:{width}}  {recipes.title(name)}")
        return
    config = recipes.load(values.show)
    print(f"{recipes.evidence(values.show)}\n\nfor keras-mae {config.program}; every setting, for --set:")
    for field in dataclasses.fields(config):
        print(f"  {field.name}={getattr(config, field.name)}")
    if hasattr(config, "peak_learning_rate"):
        print(f"the peak learning rate, base x batch / 256, is {config.peak_learning_rate:.4g}")
