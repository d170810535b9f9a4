"""`keras-mae export`."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import tempfile
from typing import TYPE_CHECKING, Any

from absl import flags

from keras_mae.commands.command import Command, check_init, check_model, define_embedding, define_model

if TYPE_CHECKING:
    from keras_mae.trainers.trained_model import TrainedModel


def _export_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define_model(values)
    flags.DEFINE_string(
        "output", None,
        "the model's folder, whose name is the model's for TF Serving; versions are its subfolders, and a file "
        "models.config beside it lists the models there; or a file to write: NAME.onnx, NAME.tflite, or "
        "NAME.xml with NAME.bin, for OpenVINO",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_integer("version", 1, "the version to write; versions are never overwritten", flag_values=values)
    flags.DEFINE_enum(
        "model", "encoder", ["encoder", "classifier", "regressor", "segmenter", "autoencoder"],
        "what to export: the encoder in the model, or all of it, which must then be of this kind",
        flag_values=values,
    )  # fmt: skip
    define_embedding(values)
    flags.DEFINE_enum(
        "dtype", "float32", ["float32", "bfloat16", "int8"],
        "the dtype of the computation, whatever the training's was; outputs are float32; int8 is for processors, and "
        "is calibrated on images of --data",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_enum(
        "format", "savedmodel", ["savedmodel", "onnx", "litert", "openvino"],
        "the others than savedmodel write a file that takes uint8 images; they need pip install 'keras-mae[onnx]', "
        "'keras-mae[litert]' or 'keras-mae[openvino]'",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string(
        "labels", None,
        "a text file with the names of a classifier's or segmenter's classes or of a regressor's numbers, one a line; "
        "the names of the run's data if not given",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string(
        "data",
        None,
        "images for check and calibration, as for pretrain; the run's own if not given",
        flag_values=values,
    )
    return values


_CHECKED_ON, _CALIBRATED_ON = 8, 136  # images: of the latter 8 are for the check, too
_FORMAT_OF = {".onnx": "onnx", ".tflite": "litert", ".xml": "openvino"}


def _check(values: flags.FlagValues) -> None:
    """Refuses what cannot be exported; the ending of a file to write sets its format."""
    format = _FORMAT_OF.get(os.path.splitext(values.output)[1])
    if format is not None:
        if values["format"].present and values.format != format:
            raise ValueError(f"--output={values.output} is a file of --format={format}; got --format={values.format}")
        if values["version"].present:
            raise ValueError("--version is for a folder of versions: leave it out, or name a folder with --output")
        for file in _files_of(values.output):
            if os.path.exists(file):
                raise ValueError(f"{file} is there already: choose another output")
        values["format"].value = format
    encoders, cropped = ("encoder",), ("encoder", "classifier", "regressor")
    allowed = {"pooling": encoders, "normalize": encoders, "crop_ratio": cropped}
    allowed["labels"] = ("classifier", "regressor", "segmenter")
    for flag, kinds in allowed.items():
        if values[flag].present and values.model not in kinds:
            raise ValueError(f"--{flag} is for --model={' or '.join(kinds)}; the model is {values.model}")
    if values.model in ("autoencoder", "segmenter") and values.format != "savedmodel":
        raise ValueError(f"--model={values.model} is written as a SavedModel only, not as {values.format}")
    if values.dtype == "int8" and (values.format in ("onnx", "litert") or values.model == "autoencoder"):
        raise ValueError("--dtype=int8 is for encoders and heads, written with --format=savedmodel or openvino")
    if values.labels and not os.path.isfile(values.labels):
        raise ValueError(f"--labels: there is no file {values.labels}")
    from keras_mae.trainers.checks import UNTRAINED

    check_model(values)
    check_init(values, values.init)
    trained = trained_model(values.run, values.init, values.model)
    if values.pooling == "attentive" and trained is None:
        raise ValueError(f"--init={values.init} has no attentive pooling: {UNTRAINED}")
    if trained is None and values.model != "encoder":
        raise ValueError(f"--init={values.init} is an encoder, to be exported as --model=encoder; got {values.model}")


def _files_of(output: str) -> list[str]:
    """The files that `--output=FILE` writes, `output` first: OpenVINO finds the weights by the name."""
    stem, ending = os.path.splitext(output)
    return [output, f"{stem}.bin"] if _FORMAT_OF[ending] == "openvino" else [output]


def trained_model(run: str | None, init: str | None, kind: str = "encoder") -> TrainedModel | None:
    """The model's file, and its run, that `--run` or `--init` names; None for published weights."""
    from keras_mae.trainers.run import ENCODER, MODEL
    from keras_mae.trainers.trained_model import find_model, is_ours

    path = run or init or ""
    if run is None and not is_ours(path):
        return None
    return find_model(path, ENCODER if kind == "encoder" else MODEL)


def pooling_of_run(trained: TrainedModel) -> str:
    """The pooling of a classifier's run; the mean for another one."""
    return getattr(getattr(trained.config, "head", None), "pooling", "mean")


def _export(values: flags.FlagValues) -> None:
    from keras_mae import export
    from keras_mae.export.versions import new_version

    is_file = os.path.splitext(values.output)[1] in _FORMAT_OF
    if not is_file:
        new_version(values.output, values.version)  # refused before anything is loaded
    try:
        path = _write_file(values) if is_file else _write(values, values.output)
    except export.VerificationError as error:
        first, *more = str(error).splitlines()  # the last line of a fresh process' traceback names the error
        raise ValueError(" ".join([first, *more[-1:]])) from error
    print(f"wrote {path}, and checked it in {'a fresh process' if values.format == 'savedmodel' else 'its runtime'}")
    if values.format == "savedmodel":
        written = export.write_models_config(os.path.dirname(os.path.abspath(values.output)))
        if written:
            logging.getLogger("keras_mae").info("wrote %s, for TF Serving's --model_config_file", written)


def _write_file(values: flags.FlagValues) -> str:
    """Writes the model's files to `--output`, without a folder of versions, and returns the first one's name."""
    output = values.output
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder):
        raise ValueError(f"--output={output}: there is no folder {folder}")
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as aside:
        version = _write(values, os.path.join(aside, "model"))
        with open(os.path.join(version, "metadata.json"), encoding="utf-8") as record:
            licence = json.load(record).get("licence")
        if licence is not None and values.format == "litert":
            logging.getLogger("keras_mae").warning(
                "the licence of the weights, %s, does not stand in %s: give it along with the file", licence, output
            )
        _check(values)  # once more: another export may have written it
        for file in reversed(_files_of(output)):
            os.replace(os.path.join(version, f"model{os.path.splitext(file)[1]}"), file)
    return output


def _write(values: flags.FlagValues, output: str) -> str:
    """Writes a version of the model into the folder `output`, and returns its path."""
    from keras_mae import export
    from keras_mae.trainers.trained_model import say_if_outside
    from keras_mae.trainers.trained_pooling import attentive_classifier

    trained, classifier = trained_model(values.run, values.init, values.model), None
    if trained is not None and values.model == "encoder":
        classifier = attentive_classifier(trained, values.pooling)
    if trained is None:
        model, trained = load_published(values.init, values.init_format)
        encoder = model
    elif classifier is not None:
        model = encoder = classifier.encoder
    else:
        model, encoder = load_for_export(trained.path, values.model)
    crop_ratio = trained.crop_ratio if values.crop_ratio is None else values.crop_ratio
    say_if_outside(trained, _taken(values, crop_ratio))
    images, trained = _look_at_data(values, trained, encoder.image_shape, crop_ratio)
    arguments: dict[str, Any] = {"version": values.version, "images": images, "dtype": values.dtype}
    arguments |= {"pixel_dtype": trained.seen.get("dtype") or "auto", "licence": trained.licence}
    if values.model not in ("autoencoder", "segmenter"):
        arguments["crop_ratio"] = crop_ratio
    if values.model != "autoencoder":
        arguments["decoding"] = trained.decoding
    if values.model == "encoder":
        pooling = values.pooling or pooling_of_run(trained)
        arguments |= {"pooling": pooling, "normalize": values.normalize}
        if classifier is not None:
            arguments |= {"pooling": classifier.attentive, "layer": classifier.layer}
        return export.export_encoder(model, output, format=values.format, **arguments)
    if values.model == "classifier":
        arguments["labels"] = _labels(values, trained, model.num_classes)
        return export.export_classifier(model, output, format=values.format, **arguments)
    if values.model == "regressor":
        arguments["labels"] = _labels(values, trained, model.num_outputs)
        return export.export_head(model, output, format=values.format, **arguments)
    if values.model == "segmenter":
        arguments["labels"] = _labels(values, trained, model.num_classes)
        return export.export_segmenter(model, output, **arguments)
    return export.export_autoencoder(model, output, **arguments)


def _taken(values: flags.FlagValues, crop_ratio: float) -> str:
    """The defaults with which a file outside of a run is exported, and the flags that change them."""
    parts = ["image files keep the bits that they have"]
    cropped = f"the crop ratio is {crop_ratio} (--crop_ratio), and " if values.model != "segmenter" else ""
    if values.model != "autoencoder":
        parts.append(f"{cropped}transparent pixels are white")
    if values.model in ("classifier", "segmenter") and not values.labels:
        parts.append("labels are numbers (--labels)")
    return ", ".join(parts)


def _labels(values: flags.FlagValues, trained: TrainedModel, num_classes: int) -> list[str] | None:
    """The names of the classes: from the file of `--labels`, or from the run's data, or None."""
    if values.labels:
        with open(values.labels, encoding="utf-8") as file:
            return file.read().splitlines()
    names = trained.seen.get("label_names") or trained.seen.get("class_names") or None
    if names is None and trained.folder is not None:
        logging.getLogger("keras_mae").info("the run's data name no classes: labels are numbers (--labels)")
    what = "classes" if values.model == "classifier" else "numbers"
    if names is not None and len(names) != num_classes:
        raise ValueError(
            f"the data of the run {trained.folder} name {len(names)} {what} and the model has {num_classes}: give all "
            "names in order with --labels=FILE, one a line"
        )
    return names


def load_published(init: str, init_format: Any) -> tuple[Any, TrainedModel]:
    """The encoder of published weights, and its licence."""
    from keras_mae.trainers.encoder_choice import published_encoder
    from keras_mae.trainers.first_weights import find_weights
    from keras_mae.trainers.trained_model import TrainedModel
    from keras_mae.trainers.training_parts import Weights

    own = Weights(init, init_format)
    encoder, record = published_encoder(own, find_weights(own))
    return encoder, TrainedModel(init, init=record)


def load_for_export(path: str, kind: str):
    """The model in a file, or its encoder if that is the kind to export; and its encoder."""
    from keras_mae import models
    from keras_mae.models.masked_image_model import MaskedImageModel
    from keras_mae.models.saved_files import load_model_file

    expected, names = {
        "encoder": (models.Encoder, "Encoder"),
        "classifier": (models.ImageClassifier, "ImageClassifier"),
        "regressor": (models.ImageRegressor, "ImageRegressor"),
        "segmenter": (models.ImageSegmenter, "ImageSegmenter"),
        "autoencoder": (MaskedImageModel, "MaskedAutoencoder or SimMIM"),
    }[kind]
    model = load_model_file(path)
    encoder = getattr(model, "encoder", model)
    model = encoder if kind == "encoder" else model
    if not isinstance(model, expected):
        raise ValueError(f"--model={kind} needs {names}, and {path} holds {type(model).__name__}")
    return model, encoder


def _look_at_data(
    values: flags.FlagValues, trained: TrainedModel, image_shape: tuple[int, int, int], crop_ratio: float
) -> tuple[Any, TrainedModel]:
    """Some images for the check, or None if the run's data are gone; and the model, with a summary of its data.

    Runs of earlier versions have no summary of their data: it is taken from the data that are there now.
    """
    from keras_mae.data import drawn_images, first_images, open_source
    from keras_mae.trainers.labelled_data import check_channels

    data, is_int8 = values.data or trained.data, values.dtype == "int8"
    if data is None and is_int8:
        raise ValueError("--dtype=int8 is calibrated on images, and the model names none: give --data=folder:PATH")
    if data is None:
        return None, trained
    try:
        source = open_source(data, decoding=trained.decoding)
        check_channels(source, image_shape[-1])
        some, count = (drawn_images, _CALIBRATED_ON) if is_int8 else (first_images, _CHECKED_ON)
        images = some(source, image_shape, count, crop_ratio)
    except ValueError as error:
        if values.data:
            raise
        if is_int8:
            raise ValueError(f"--dtype=int8 is calibrated on images: {error}; give others with --data") from error
        logging.getLogger("keras_mae").info("checking with drawn images, as %s", error)
        return None, trained
    if not values.data and not trained.seen:
        trained = dataclasses.replace(trained, seen={"dtype": source.dtype, "class_names": source.class_names})
    return images, trained


EXPORT = Command(
    "write a run's encoder, or a whole model, for TF Serving and other programs",
    _export_flags,
    _export,
    ("output",),
    _check,
)
