"""`keras-mae predict`."""

from __future__ import annotations

import os
from typing import Any

from absl import flags

from keras_mae.commands.command import Command, define_data, define_split

_IN_A_TABLE = 20  # classes that are printed


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "run", None, "the folder of a run of finetune, linear-probe or segment, or its model's file: FILE.keras",
        flag_values=values,
    )  # fmt: skip
    define_data(values)
    define_split(values)
    flags.DEFINE_string(
        "output", None,
        "the CSV file to write, such as predictions.csv; with labels, predictions_report.json, "
        "predictions_confusions.csv and .png lie beside it; for a run of segment the folder of the masks",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_integer(
        "k", 5, "how many classes to write for each image, the most likely first", lower_bound=1, flag_values=values
    )
    flags.DEFINE_integer("batch_size", 256, "images that are classified together", lower_bound=1, flag_values=values)
    flags.DEFINE_bool("overwrite", False, "replace the files of earlier predictions", flag_values=values)
    return values


def _check(values: flags.FlagValues) -> None:
    """Refuses an output that is there or is no CSV file, and a run without a classifier."""
    from keras_mae.trainers import run
    from keras_mae.trainers.classifier_config import ClassifierConfig
    from keras_mae.trainers.mask_folder import check_folder, writes_masks
    from keras_mae.trainers.prediction_files import PredictionFiles
    from keras_mae.trainers.trained_model import find_model

    masks = writes_masks(values.run)
    if masks and values["k"].present:
        raise ValueError(
            f"--k is for classes of images; {values.run} is a run of segment, whose masks hold one a pixel"
        )
    check_folder(values.output, values.overwrite) if masks else PredictionFiles(values.output).check(values.overwrite)
    place = os.path.realpath(values.data.rpartition("folder:")[2])
    if "folder:" in values.data and os.path.realpath(values.output).startswith(os.path.join(place, "")):
        raise ValueError(
            f"--output={values.output} lies in the folder of the images, to which its picture would belong; name "
            "another --output"
        )
    if masks:
        return
    config = find_model(values.run, run.MODEL).config
    if config is not None and not isinstance(config, ClassifierConfig):
        raise ValueError(
            f"{values.run} is a run of keras-mae {config.program}, which trains no classifier; predict needs one of "
            "finetune, linear-probe or segment"
        )


def _predict(values: flags.FlagValues) -> None:
    from keras_mae.export.computing import model_in_dtype
    from keras_mae.trainers.mask_folder import writes_masks
    from keras_mae.trainers.predict import predict

    if writes_masks(values.run):
        return _predict_masks(values)
    results = predict(
        values.run,
        values.data,
        values.output,
        values.split,
        values.k,
        values.batch_size,
        values.overwrite,
        lambda model: model_in_dtype(model, None),  # float16 is served in float32
    )
    if results["report"]:
        print("\n".join(_lines(results["report"])))
    print(f"wrote {', '.join(results['written'])}: {results['images']} images, {results['skipped']} skipped")


def _predict_masks(values: flags.FlagValues) -> None:
    """Writes the masks of a segmenter's run."""
    from keras_mae.commands.segmenting import pixel_lines
    from keras_mae.export.computing import model_in_dtype
    from keras_mae.trainers.predict_masks import predict_masks

    as_served = lambda model: model_in_dtype(model, None)  # noqa: E731  as for classes
    together = values.batch_size if values["batch_size"].present else 8
    results = predict_masks(values.run, values.data, values.output, values.split, together, values.overwrite, as_served)
    if results["report"]:
        print("\n".join(pixel_lines(results["report"])))
    print(f"wrote {values.output}: {results['images']} masks, {len(results['skipped'])} images skipped")


def _lines(report: dict[str, Any]) -> list[str]:
    """The report in words, with a table if it has few classes."""
    top5 = f", top-5 {100 * report['top5']:.1f} %" if "top5" in report else ""
    auc = "" if report["auc"] is None else f", AUC {report['auc']:.4f}"
    averages = ", ".join(f"{name} {100 * report[name]:.1f} %" for name in ("precision", "recall"))
    return [
        f"top-1 {100 * report['top1']:.1f} %{top5}; the largest class: {100 * report['majority_share']:.1f} % of "
        f"{report['images']} images",
        f"mean over the classes: {averages}, F1 {100 * report['f1']:.1f} %{auc}",
        *(_table(report["per_class"]) if report["classes"] <= _IN_A_TABLE else []),
        *report["notes"],
    ]


def _table(classes: list[dict[str, Any]]) -> list[str]:
    width = max(5, *(len(one["class"]) for one in classes))
    heads = ("images", "precision", "recall", "F1", "AUC")
    lines = [f"{'class':{width}}" + "".join(f"{head:>11}" for head in heads)]
    for one in classes:
        shares = ["-" if one[key] is None else f"{100 * one[key]:.1f} %" for key in ("precision", "recall", "f1")]
        auc = "-" if one["auc"] is None else f"{one['auc']:.4f}"
        lines.append(f"{one['class']:{width}}{one['images']:>11}" + "".join(f"{cell:>11}" for cell in (*shares, auc)))
    return lines


PREDICT = Command(
    "classify images with a trained classifier, and measure it if they have labels",
    _flags,
    _predict,
    ("run", "data", "output"),
    _check,
)
