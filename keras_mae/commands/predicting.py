"""`keras-mae predict`."""

from __future__ import annotations

import os

from absl import flags

from keras_mae.commands.command import Command, define_data, define_split
from keras_mae.commands.report_lines import report_lines


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "run", None, "the folder of a run of finetune, linear-probe or segment, or its model's file: FILE.keras",
        flag_values=values,
    )  # fmt: skip
    define_data(values)
    define_split(values)
    flags.DEFINE_string(
        "labels", None,
        "a table of labels, a CSV or Parquet file; not given, the run's for its own images, or the labels that the "
        "data have",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string(
        "label_columns", None,
        "the columns of the labels, such as age,weight, of the table or of the data; not given, those called as the "
        "run's",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string(
        "output", None,
        "the CSV file to write, such as predictions.csv; with labels, predictions_report.json and the report's tables "
        "and pictures lie beside it; for a run of segment the folder of the masks",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_integer(
        "k",
        5,
        "of a classifier: how many classes to write for each image, the most likely first",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer("batch_size", 256, "images that are computed together", lower_bound=1, flag_values=values)
    flags.DEFINE_bool("overwrite", False, "replace the files of earlier predictions", flag_values=values)
    return values


def _check(values: flags.FlagValues) -> None:
    """Refuses an output that is there or is no CSV file, and a run without such a head."""
    from keras_mae.trainers import run
    from keras_mae.trainers.classifier_config import ClassifierConfig
    from keras_mae.trainers.mask_folder import check_folder, writes_masks
    from keras_mae.trainers.prediction_files import PredictionFiles
    from keras_mae.trainers.trained_model import find_model

    masks = writes_masks(values.run)
    for flag in ("k", "labels", "label_columns"):
        if masks and values[flag].present:
            raise ValueError(
                f"--{flag} is for classes of images; {values.run} is a segmenter, whose masks hold one a pixel"
            )
    check_folder(values.output, values.overwrite) if masks else PredictionFiles(values.output).check(values.overwrite)
    kind, _, places = values.data.rpartition(":")
    output = os.path.realpath(values.output)
    inside = [output.startswith(os.path.join(os.path.realpath(place), "")) for place in places.split(",")]
    if any(inside) and kind.endswith(("folder", "pairs")):
        raise ValueError(
            f"--output={values.output} lies in the folder of the images, to which its picture would belong; name "
            "another --output"
        )
    if masks:
        return
    config = find_model(values.run, run.MODEL).config
    if config is not None and not isinstance(config, ClassifierConfig):
        raise ValueError(
            f"{values.run} is a run of keras-mae {config.program}, and predict tells classes, labels, numbers and "
            "masks: it needs a run of finetune, linear-probe or segment"
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
        lambda model: model_in_dtype(model, "float32"),
        values.labels,
        values.label_columns,
    )
    if results["report"]:
        print("\n".join(report_lines(results["report"])))
    print(f"wrote {', '.join(results['written'])}: {results['images']} images, {results['skipped']} skipped")


def _predict_masks(values: flags.FlagValues) -> None:
    """Writes the masks of a segmenter's run."""
    from keras_mae.commands.segmenting import pixel_lines
    from keras_mae.export.computing import model_in_dtype
    from keras_mae.trainers.predict_masks import predict_masks

    as_served = lambda model: model_in_dtype(model, "float32")  # noqa: E731  as for classes
    together = values.batch_size if values["batch_size"].present else 8
    results = predict_masks(values.run, values.data, values.output, values.split, together, values.overwrite, as_served)
    if results["report"]:
        print("\n".join(pixel_lines(results["report"])))
    print(f"wrote {values.output}: {results['images']} masks, {len(results['skipped'])} images skipped")


PREDICT = Command(
    "write what a trained head tells of images, classes, labels or numbers, and measure it if they have labels",
    _flags,
    _predict,
    ("run", "data", "output"),
    _check,
)
