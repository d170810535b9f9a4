"""`keras-mae predict`."""

from __future__ import annotations

import os

from absl import flags

from keras_mae.commands.command import Command, define_data, define_split
from keras_mae.commands.report_lines import report_lines


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "run", None, "the folder of a run of finetune or linear-probe, or a model's file: FILE.keras",
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
        "and pictures lie beside it",
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
    from keras_mae.trainers.prediction_files import PredictionFiles
    from keras_mae.trainers.trained_model import find_model

    PredictionFiles(values.output).check(values.overwrite)
    place = os.path.realpath(values.data.rpartition("folder:")[2])
    if "folder:" in values.data and os.path.realpath(values.output).startswith(os.path.join(place, "")):
        raise ValueError(
            f"--output={values.output} lies in the folder of the images, to which its picture would belong; name "
            "another --output"
        )
    config = find_model(values.run, run.MODEL).config
    if config is not None and not isinstance(config, ClassifierConfig):
        raise ValueError(
            f"{values.run} is a run of keras-mae {config.program}, and predict tells classes, labels and numbers: it "
            "needs a run of finetune or linear-probe"
        )


def _predict(values: flags.FlagValues) -> None:
    from keras_mae.export.saved_model import model_in_dtype
    from keras_mae.trainers.predict import predict

    results = predict(
        values.run,
        values.data,
        values.output,
        values.split,
        values.k,
        values.batch_size,
        values.overwrite,
        lambda model: model_in_dtype(model, None),  # float16 is served in float32
        values.labels,
        values.label_columns,
    )
    if results["report"]:
        print("\n".join(report_lines(results["report"])))
    print(f"wrote {', '.join(results['written'])}: {results['images']} images, {results['skipped']} skipped")


PREDICT = Command(
    "write what a trained head tells of images, classes, labels or numbers, and measure it if they have labels",
    _flags,
    _predict,
    ("run", "data", "output"),
    _check,
)
