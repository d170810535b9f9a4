"""`keras-mae finetune`, `linear-probe` and `knn`: the accuracy of an encoder, with labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from absl import flags

from keras_mae.commands.command import Command, check_init, check_output, config_of, define_init, define_run
from keras_mae.commands.report_lines import label_summary

_OF_CLASSES = ("mixup", "cutmix", "label_smoothing")  # settings that numbers have no use for
_SHOWN = 5  # numbers in a line


def _flags(recipe: str | None, fresh: bool) -> flags.FlagValues:
    """The flags of a program; `fresh` tells whether it may start from fresh weights, `recipe` is for `define_run`."""
    values = flags.FlagValues()
    flags.DEFINE_string(
        "run",
        None,
        "the encoder: the folder of a run, or a .keras file; or --init"
        + ("; fresh weights if neither is given" if fresh else ""),
        flag_values=values,
    )
    define_init(values)
    flags.DEFINE_string(
        "data", None,
        "the images with their labels, as for pretrain; a part of them is kept for the test if they have no such part",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string("validation_data", None, "other data to test on than a part of --data", flag_values=values)
    flags.DEFINE_string(
        "labels", None,
        "a table of labels, a CSV or Parquet file with a row for each image; not given, the labels that the data have",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string(
        "label_columns", None,
        "the columns of the labels, such as age,weight: of the table, or features or arrays that the data have; what "
        "they are is --set task=classes, labels (several at once) or numbers",
        flag_values=values,
    )  # fmt: skip
    define_run(values, recipe)
    return values


def _check(values: flags.FlagValues, program: str) -> None:
    """Refuses settings that cannot work."""
    from keras_mae.trainers.checks import check_together
    from keras_mae.trainers.settings import names_in

    check_output(values)
    config = config_of(values, program)
    check_together(config)
    for name in _OF_CLASSES:
        value = getattr(config.data, name, 0)
        if config.data.task == "numbers" and value and f"data.{name}" in names_in(config, values.set):
            raise ValueError(f"{name} is for classes and labels, and task=numbers: leave out --set {name}={value:g}")
    check_init(values, config.encoder.init)
    if program != "finetune" and config.encoder.run is None and config.encoder.init is None:
        raise ValueError(f"needs --run or --init; see keras-mae {program} --help")


def _train(values: flags.FlagValues, program: str) -> None:
    from keras_mae.trainers.finetune import finetune
    from keras_mae.trainers.linear_probe import linear_probe

    train: Callable[..., dict[str, Any]] = finetune if program == "finetune" else linear_probe
    started = {flag: values[flag].value for flag in ("resume", "overwrite", "strategy", "tpu")}
    results = train(config_of(values, program), values.data, values.output, **started)
    print(_measured(results))
    print(f"wrote {values.output}")


def _measured(results: dict[str, Any]) -> str:
    """The measures of a run in a line."""
    best = results["best"]
    if "top1" in results:
        top5 = f", top-5 {100 * results['top5']:.1f} %" if "top5" in results else ""
        return (
            f"top-1 {100 * results['top1']:.1f} %{top5}; best epoch {best['epoch']}: {100 * best['top1']:.1f} %; "
            f"{_majority(results)}"
        )
    images = f"{results['validation_images']} images"
    if "auc" in results:
        return f"{label_summary(results)}; best epoch {best['epoch']}: AUC {best['auc']:.4f}; {images}"
    errors = ", ".join(f"{name} {error:.4g}" for name, error in list(results["rmse"].items())[:_SHOWN])
    more = f" and {len(results['rmse']) - _SHOWN} more" if len(results["rmse"]) > _SHOWN else ""
    return (
        f"RMSE: {errors}{more}; best epoch {best['epoch']}: {100 * best['normalised_rmse']:.1f} % of the standard "
        f"deviation; {images}"
    )


def _knn(values: flags.FlagValues, program: str) -> None:
    from keras_mae.commands.knn_lines import knn_lines
    from keras_mae.trainers.knn import knn

    results = knn(config_of(values, program), values.data, values.output, overwrite=values.overwrite)
    for line in knn_lines(results, _majority):
        print(line)
    if values.output:
        print(f"wrote {values.output}")


def _majority(results: dict[str, Any]) -> str:
    """The accuracy of always answering with the largest classes, to compare with."""
    five = f", the five largest: {100 * results['majority_share_top5']:.1f} %" if "top5" in results else ""
    return f"the largest class: {100 * results['majority_share']:.1f} %{five} of {results['validation_images']} images"


def _command(summary: str, program: str, recipe: str | None, run: Callable, *required: str) -> Command:
    """A program's command; fine-tuning may start from fresh weights."""
    return Command(
        summary,
        lambda: _flags(recipe, program == "finetune"),
        lambda values: run(values, program),
        required,
        lambda values: _check(values, program),
    )


_SUMMARY = "train a classifier on a pretrained encoder, or its last blocks"
FINETUNE = _command(_SUMMARY, "finetune", "finetune_vit_base", _train, "data", "output")
LINEAR_PROBE = _command(
    "train a linear layer on a frozen encoder", "linear-probe", "probe_vit_base", _train, "data", "output"
)
KNN = _command("measure a frozen encoder by nearest neighbours", "knn", None, _knn, "data")
