"""The `keras-mae` command: the only module that knows every program.

Flags are defined here with absl alone, so that `--help` needs neither TensorFlow nor Keras; a command imports what
it runs when it runs.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import tempfile
from collections.abc import Callable

from absl import flags

from keras_mae import classifier_commands

_USAGE_ERROR = 2
_TERMINATED = 128 + 15  # what a shell says of a process that SIGTERM ended


@dataclasses.dataclass(frozen=True)
class Command:
    """One word after `keras-mae`."""

    summary: str
    make_flags: Callable[[], flags.FlagValues]  # a new set for every call: parsing leaves its values in a set
    run: Callable[[flags.FlagValues], None]
    required: tuple[str, ...] = ()
    check: Callable[[flags.FlagValues], None] = lambda values: None  # before TensorFlow is imported, which takes long


def _demo(values: flags.FlagValues) -> None:
    from keras_mae import demo

    demo.run_demo(values.output, overwrite=values.overwrite, seed=values.seed)


def _demo_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("output", "runs/demo", "the run folder to write", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "discard the run that is in the output folder", flag_values=values)
    flags.DEFINE_integer("seed", 0, "what every random number is a function of", flag_values=values)
    return values


def _pretrain(values: flags.FlagValues) -> None:
    from keras_mae.trainers import recipes
    from keras_mae.trainers.config import PretrainConfig, changed
    from keras_mae.trainers.pretrain import pretrain

    config = changed(recipes.load(values.recipe, PretrainConfig), [*_stats_settings(values.stats), *values.set])
    pretrain(
        config,
        values.data,
        values.output,
        resume=values.resume,
        overwrite=values.overwrite,
        strategy=values.strategy,
        tpu=values.tpu,
        data_service=values.data_service,
    )
    print(f"wrote {values.output}")


def _stats_settings(path: str | None) -> list[str]:
    """Mean and standard deviation that `keras-mae stats` has written, as settings."""
    if path is None:
        return []
    from keras_mae.data.stats import read_stats

    stats = read_stats(path)
    return [f"mean={stats.mean}", f"std={stats.std}", f"channels={len(stats.mean)}"]


def _define_data(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "data",
        None,
        "the images: digits (built in), folder:PATH (JPEG, PNG, BMP, GIF or TIFF files at any depth), npz:PATH (an "
        "array 'images', uint8 or uint16, N x H x W x C), tfrecord:PATTERN, tfds:NAME[:SPLIT][@DATA_DIR]; or "
        "memory:... or disk:CACHE:... with one of these, to keep the files in memory or in the folder CACHE",
        flag_values=values,
    )


def _pretrain_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    _define_data(values)
    flags.DEFINE_string(
        "stats", None, "the file of keras-mae stats, whose mean and std the run's config takes", flag_values=values
    )
    flags.DEFINE_string("output", None, "the run folder to write", flag_values=values)
    flags.DEFINE_string("recipe", "mae_vit_base", "what to train and how; see keras-mae recipes", flag_values=values)
    flags.DEFINE_multi_string(
        "set", [], "a setting in place of the recipe's, as key=value; may be given again", flag_values=values
    )
    flags.DEFINE_bool("resume", False, "continue the run that is in the output folder", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "discard the run that is in the output folder", flag_values=values)
    flags.DEFINE_enum(
        "strategy", "auto", ["auto", "single", "mirrored", "multiworker", "tpu"],
        "what to train on: one device, all GPUs of this machine, the machines in TF_CONFIG, or a TPU; auto takes the "
        "machines if there are several, else the GPUs if there are several",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string("tpu", "local", "the TPU's name or address; local is this machine's", flag_values=values)
    flags.DEFINE_string(
        "data_service", None, "a tf.data service that prepares the images: grpc://HOST:PORT", flag_values=values
    )
    return values


def _reconstruct(values: flags.FlagValues) -> None:
    import keras

    import keras_mae.models  # noqa: F401  registers the classes
    from keras_mae.data import first_images, open_source
    from keras_mae.trainers import run
    from keras_mae.trainers.config import PretrainConfig
    from keras_mae.trainers.pretrain import draw_reconstructions

    folder = run.RunFolder(values.run)
    config, data = folder.config()
    if not isinstance(config, PretrainConfig):
        raise ValueError(f"{values.run} is a run of keras-mae {config.program}; reconstruct needs one of pretrain")
    source = open_source(values.data or data)
    mae = keras.saving.load_model(folder.model_path(run.MODEL), compile=False)
    images = first_images(source, config.image_shape, values.count, config.crop_ratio)
    output = values.output or os.path.join(values.run, run.PICTURES, "reconstructions.png")
    draw_reconstructions(mae, images, output, mask_ratio=values.mask_ratio)
    print(f"wrote {output}")


def _reconstruct_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("run", None, "the folder of a pretraining run", flag_values=values)
    flags.DEFINE_string("data", None, "the images, as for pretrain; the run's own if not given", flag_values=values)
    flags.DEFINE_string("output", None, "the PNG to write; in the run folder if not given", flag_values=values)
    flags.DEFINE_integer("count", 16, "how many images", lower_bound=1, flag_values=values)
    flags.DEFINE_float(
        "mask_ratio", None, "share of the patches to mask; the run's own if not given", flag_values=values
    )
    return values


def _check_export(values: flags.FlagValues) -> None:
    """Raises a `ValueError` for what cannot be exported."""
    for flag, model in (("pooling", "encoder"), ("normalize", "encoder"), ("labels", "classifier")):
        if values[flag].present and values.model != model:
            raise ValueError(f"--{flag} is for --model={model}; the model is {values.model}")
    if values.model == "autoencoder" and values.format != "savedmodel":
        raise ValueError(f"an autoencoder is written as a SavedModel only, not as {values.format}")
    if values.labels and not os.path.isfile(values.labels):
        raise ValueError(f"--labels: there is no file {values.labels}")
    _model_to_export(values)


def _model_to_export(values: flags.FlagValues) -> tuple[str, float, str | None]:
    """The model's file, the crop ratio, and the data specification, if there is one."""
    if values.run.endswith(".keras"):
        if not os.path.isfile(values.run):
            raise ValueError(f"there is no file {values.run}")
        path, crop_ratio, data = values.run, 0.875, None
    else:
        from keras_mae.trainers import run

        folder = run.RunFolder(values.run)
        config, data = folder.config()
        path = folder.model_path(run.ENCODER if values.model == "encoder" else run.MODEL)
        crop_ratio = 0.875 if config.crop_ratio is None else config.crop_ratio
    return path, crop_ratio if values.crop_ratio is None else values.crop_ratio, values.data or data


def _export(values: flags.FlagValues) -> None:
    from keras_mae import export

    path, crop_ratio, data = _model_to_export(values)
    model, encoder = _load_for_export(path, values.model)
    images = _images_for_check(data, encoder.image_shape, crop_ratio, asked_for=values.data is not None)
    arguments = {"version": values.version, "images": images, "dtype": values.dtype}
    if values.model == "encoder":
        arguments |= {"crop_ratio": crop_ratio, "pooling": values.pooling, "normalize": values.normalize}
        path = export.export_encoder(model, values.output, format=values.format, **arguments)
    elif values.model == "classifier":
        labels = None
        if values.labels:
            with open(values.labels, encoding="utf-8") as file:
                labels = file.read().splitlines()
        arguments |= {"crop_ratio": crop_ratio, "labels": labels}
        path = export.export_classifier(model, values.output, format=values.format, **arguments)
    else:
        path = export.export_autoencoder(model, values.output, **arguments)
    print(f"wrote {path}, and checked it in {'a fresh process' if values.format == 'savedmodel' else 'its runtime'}")
    if values.format == "savedmodel":
        written = export.write_models_config(os.path.dirname(os.path.abspath(values.output)))
        if written:
            logging.getLogger("keras_mae").info("wrote %s, for TF Serving's --model_config_file", written)


def _load_for_export(path: str, kind: str):
    """The model of this kind in the file, and its encoder."""
    import keras

    from keras_mae import models

    expected = {
        "encoder": models.ViTEncoder,
        "classifier": models.ImageClassifier,
        "autoencoder": models.MaskedAutoencoder,
    }[kind]
    model = keras.saving.load_model(path, compile=False)
    if kind == "encoder":
        model = getattr(model, "encoder", model)
    if not isinstance(model, expected):
        raise ValueError(f"--model={kind} needs {expected.__name__}, and {path} holds {type(model).__name__}")
    return model, getattr(model, "encoder", model)


def _images_for_check(data: str | None, image_shape: tuple[int, int, int], crop_ratio: float, asked_for: bool):
    """Some of the images in `data`, or None if it is gone and nobody asked for it."""
    from keras_mae.data import first_images, open_source

    try:
        return None if data is None else first_images(open_source(data), image_shape, 8, crop_ratio)
    except ValueError as error:
        if asked_for:
            raise
        logging.getLogger("keras_mae").info("checking with drawn images, as %s", error)
        return None


def _export_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("run", None, "the folder of a run, or a model's file: FILE.keras", flag_values=values)
    flags.DEFINE_string(
        "output",
        None,
        "the model's folder, whose name is the model's for TF Serving; versions are subfolders of it, and a file "
        "models.config beside it lists the models there",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "version", 1, "the version to write; one that is there is never overwritten", flag_values=values
    )
    flags.DEFINE_enum(
        "model", "encoder", ["encoder", "classifier", "autoencoder"],
        "what to export: the encoder in it, or all of it, which must then be of this kind",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_enum(
        "pooling", "mean", ["mean", "cls", "both"],
        "an embedding is the mean of the patch tokens, the class token, or the class token followed by the mean",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_bool("normalize", False, "scale embeddings to length 1", flag_values=values)
    flags.DEFINE_enum(
        "dtype", None, ["float32", "bfloat16"],
        "what to compute in, outputs are float32 either way; what the model was trained in if not given",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_enum(
        "format", "savedmodel", ["savedmodel", "onnx", "litert"],
        "onnx and litert write a file that takes uint8 images; they need pip install 'keras-mae[onnx]' or "
        "'keras-mae[litert]'",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_float(
        "crop_ratio", None,
        "share of a scaled image file's side that is used; the run's own, or 0.875 for a .keras file, if not given",
        lower_bound=0, upper_bound=1, flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string("labels", None, "a text file with a classifier's class names, one a line", flag_values=values)
    flags.DEFINE_string(
        "data", None, "images for the check, as for pretrain; the run's own if not given", flag_values=values
    )
    return values


def _convert(values: flags.FlagValues) -> None:
    import typing

    from keras_mae.checkpoints import convert_checkpoint
    from keras_mae.models import ViTEncoder
    from keras_mae.trainers.config import parsed

    hints = typing.get_type_hints(ViTEncoder.__init__)
    settings = parsed(
        values.set, {name: hint for name, hint in hints.items() if name not in ("name", "kwargs", "return")}
    )
    convert_checkpoint(
        values.checkpoint,
        values.format,
        values.output,
        values.output_format,
        preset=values.preset,
        num_classes=values.num_classes,
        pooling=values.pooling,
        skip=values.skip,
        resize_positions=_grid(values.resize_positions),
        overwrite=values.overwrite,
        **settings,
    )
    print(f"wrote {values.output}")


def _grid(text: str | None) -> bool | tuple[int, int]:
    """What `--resize_positions` says, as `keras_mae.load_checkpoint` takes it."""
    if text in (None, "square"):
        return text is not None
    rows, _, columns = str(text).partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise ValueError(f"resize_positions is square or ROWSxCOLUMNS, such as 14x28; got {text!r}")
    return int(rows), int(columns)


def _convert_flags() -> flags.FlagValues:
    formats = ["mae_torch", "timm", "hf", "keras"]
    values = flags.FlagValues()
    flags.DEFINE_string(
        "checkpoint", None, "a .safetensors, .pth, .pt, .bin or .keras file, or a URL of one", flag_values=values
    )
    flags.DEFINE_enum(
        "format", None, formats,
        "whose names it has: the official MAE code's, timm's, Hugging Face's or ours",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string("output", None, "the file to write, with one of these endings", flag_values=values)
    flags.DEFINE_enum("output_format", None, formats, "the format to write", flag_values=values)
    flags.DEFINE_string(
        "preset",
        None,
        "the model in the checkpoint: vit_base_patch16, or mae_vit_base_patch16 with its decoder; a .keras file knows "
        "its own",
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "set",
        [],
        "a constructor argument of the encoder in place of the preset's, as key=value, such as "
        "image_shape=(384,384,3); may be given again",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_classes", None, "it is a classifier on that preset, with so many classes", lower_bound=1,
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_enum("pooling", "mean", ["mean", "cls"], "what the classifier looks at", flag_values=values)
    flags.DEFINE_multi_string(
        "skip", [], "a pattern of names to leave out, such as 'decoder.*'; may be given again", flag_values=values
    )
    flags.DEFINE_string(
        "resize_positions",
        None,
        "resize position embeddings if the image size is another; the grid of patches in the checkpoint: square, or "
        "ROWSxCOLUMNS",
        flag_values=values,
    )
    flags.DEFINE_bool("overwrite", False, "replace files that are there", flag_values=values)
    return values


def _stats(values: flags.FlagValues) -> None:
    from keras_mae.data import measure_stats, open_source

    stats = measure_stats(open_source(values.data), values.channels, values.count)
    print(f"{stats.num_images} images, {stats.dtype}: --set 'mean={stats.mean}' --set 'std={stats.std}'")
    if values.output:
        stats.write(values.output)
        print(f"wrote {values.output}, for keras-mae pretrain --stats={values.output}")


def _stats_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    _define_data(values)
    flags.DEFINE_integer("channels", 3, "how many channels the images are read with", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("count", 1000, "how many images to look at", lower_bound=1, flag_values=values)
    flags.DEFINE_string("output", None, "a JSON file to write, for pretrain --stats", flag_values=values)
    return values


def _tfrecords(values: flags.FlagValues) -> None:
    from keras_mae.data import open_source, write_records

    source = open_source(values.data, split=values.split)
    paths = write_records(source, values.output, values.files)
    print(
        f"{source.num_images} images in {len(paths)} files: --data=tfrecord:{os.path.join(values.output, '*.tfrecord')}"
    )


def _tfrecords_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    _define_data(values)
    flags.DEFINE_string("output", None, "the folder to write; files that are there stay", flag_values=values)
    flags.DEFINE_integer("files", None, "how many files; one for 1,024 images if not given", flag_values=values)
    flags.DEFINE_enum(
        "split", None, ["train", "validation"], "only this part of the images; everything if not given",
        flag_values=values,
    )  # fmt: skip
    return values


COMMANDS: dict[str, Command] = {
    "demo": Command("pretrain, look, probe and export on built-in digits, in minutes", _demo_flags, _demo),
    "pretrain": Command("pretrain a masked autoencoder on your images", _pretrain_flags, _pretrain, ("data", "output")),
    "finetune": Command(
        "train a classifier on a pretrained encoder, or its last blocks",
        classifier_commands.finetune_flags,
        classifier_commands.run_finetune,
        ("data", "output"),
    ),
    "linear-probe": Command(
        "train a linear layer on a frozen encoder",
        classifier_commands.probe_flags,
        classifier_commands.run_linear_probe,
        ("run", "data", "output"),
    ),
    "knn": Command(
        "measure a frozen encoder by nearest neighbours",
        classifier_commands.knn_flags,
        classifier_commands.run_knn,
        ("run", "data"),
    ),
    "reconstruct": Command(
        "draw what a pretrained model makes of masked images", _reconstruct_flags, _reconstruct, ("run",)
    ),
    "export": Command(
        "write a run's encoder, or a whole model, for TF Serving and other programs",
        _export_flags,
        _export,
        ("run", "output"),
        _check_export,
    ),
    "convert": Command(
        "write a checkpoint in another library's format",
        _convert_flags,
        _convert,
        ("checkpoint", "format", "output", "output_format"),
    ),
    "stats": Command("measure the mean and std of images, for pretrain --stats", _stats_flags, _stats, ("data",)),
    "tfrecords": Command(
        "write image files into TFRecord files, which network disks read faster",
        _tfrecords_flags,
        _tfrecords,
        ("data", "output"),
    ),
    "recipes": Command(
        "list the recipes, or show one of them", classifier_commands.recipes_flags, classifier_commands.run_recipes
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns 0, or 2 after a one-line message if the user gave something that cannot work.

    143 means that a run was asked to end (SIGTERM), and has saved its state: `--resume` continues it.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("--help", "-h", "-help", "help"):
        print(_overview())
        return 0 if arguments else _USAGE_ERROR
    name, *rest = arguments
    if name == "--version":
        from keras_mae import __version__

        print(__version__)
        return 0
    if name not in COMMANDS:
        return _refuse(f"there is no command {name!r}; there are: {', '.join(COMMANDS)}")
    command = COMMANDS[name]
    if any(argument in ("--help", "-h", "-help") for argument in rest):
        print(_help(name, command))
        return 0
    values = command.make_flags()
    try:
        positional = values([name, *rest])[1:]
    except flags.Error as error:
        return _refuse(f"{name}: {' '.join(str(error).split())}; see keras-mae {name} --help")
    if positional:
        return _refuse(f"{name}: takes flags only, such as --output=DIR; got {positional[0]!r}")
    missing = [f"--{flag}" for flag in command.required if values[flag].value is None]
    if missing:
        return _refuse(f"{name}: needs {' and '.join(missing)}; see keras-mae {name} --help")
    return _run(name, command, values)


def _run(name: str, command: Command, values: flags.FlagValues) -> int:
    from keras_mae.trainers.run import Preempted

    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("keras_mae").setLevel(logging.INFO)
    try:
        command.check(values)
        _start_tensorflow()
        command.run(values)
    except (ValueError, OSError, ImportError) as error:
        return _refuse(f"{name}: {' '.join(str(error).split())}")
    except Preempted as error:
        print(f"keras-mae {name}: {error}", file=sys.stderr)
        return _TERMINATED
    except KeyboardInterrupt:
        print(f"keras-mae {name}: interrupted", file=sys.stderr)
        return 130
    return 0


def _start_tensorflow() -> None:
    """Imports TensorFlow and finds its devices, without the notices that it writes past Python to stderr.

    They say that there is no GPU, or which instructions it was built for. If the import fails, they are shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryFile() as notices:
        stderr = os.dup(2)
        os.dup2(notices.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            notices.seek(0)
            os.write(stderr, notices.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _refuse(message: str) -> int:
    print(f"keras-mae {message}", file=sys.stderr)
    return _USAGE_ERROR


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "keras-mae: pretrain Vision Transformers on unlabelled images with masked autoencoders",
            "",
            "usage: keras-mae COMMAND [--flag=value ...]",
            "",
            *lines,
            "",
            "keras-mae COMMAND --help lists the command's flags.",
        ]
    )


def _help(name: str, command: Command) -> str:
    lines = [f"keras-mae {name}: {command.summary}", ""]
    own = command.make_flags().flags_by_module_dict().values()
    for flag in [flag for group in own for flag in group]:
        default = "" if flag.default in (None, []) else f" (default: {str(flag.default_as_str).strip(chr(39))})"
        needed = " (required)" if flag.name in command.required else ""
        lines += [f"  --{flag.name}{needed}{default}", f"      {flag.help}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
