"""The class of all commands, and their shared flags, checks and config."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags


@dataclasses.dataclass(frozen=True)
class Command:
    """One word after `keras-mae`.

    Attributes:
        summary: a line for `--help`.
        make_flags: returns new flags for every call, as parsing stores its values in them.
        run: runs the command.
        required: the flags that must be given.
        check: raises a `ValueError` for what cannot work, before TensorFlow is imported, which takes seconds.
        positional: the flag that a word without `--` is for; None if the command takes flags only.
        needs_tensorflow: whether TensorFlow is imported before `run` is called.
    """

    summary: str
    make_flags: Callable[[], flags.FlagValues]
    run: Callable[[flags.FlagValues], None]
    required: tuple[str, ...] = ()
    check: Callable[[flags.FlagValues], None] = lambda values: None
    positional: str | None = None
    needs_tensorflow: bool = True


def check_output(values: flags.FlagValues) -> None:
    """Refuses a run folder that has a file's name, or that the images or the model are read from."""
    if values.output is None:
        return
    if values.output.endswith((".keras", ".h5", ".onnx", ".tflite")):
        raise ValueError(
            f"--output={values.output} is a file's name, and a run is a folder; type "
            f"--output={os.path.splitext(values.output)[0]}"
        )
    output = os.path.realpath(values.output)
    for flag in ("data", "validation_data", "labelled_data", "run", "init"):
        given = str(values[flag].value or "") if flag in values else ""
        path = given if flag in ("run", "init") else given.partition(":")[2].rpartition(":")[2]  # not of `digits`
        paths = path.split(",") if "pairs:" in given else [path]
        if any(path and os.path.realpath(path) == output for path in paths):
            more = "; to continue the run that is there, give --resume in place of --init" if flag == "init" else ""
            raise ValueError(f"--output={values.output} is what --{flag} is read from; name another folder{more}")


def define_init(values: flags.FlagValues) -> None:
    """Defines `--init` and `--init_format`."""
    from keras_mae.trainers.ranges import WeightsFormat, names_of

    flags.DEFINE_string(
        "init",
        None,
        "weights to begin a new run with: published ones by name, such as mae_vit_base, a .safetensors, .pth, .bin or "
        ".keras file, a URL, hf://OWNER/NAME, or the folder of a run; sizes come from there",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "init_format", None, list(names_of(WeightsFormat)),
        "the names of the weights of --init; found out if not given", flag_values=values,
    )  # fmt: skip


def define_model(values: flags.FlagValues) -> None:
    """Defines `--run` and `--init`, of which one names a model."""
    flags.DEFINE_string(
        "run", None, "the folder of a run, or a model's file: FILE.keras; or --init", flag_values=values
    )
    define_init(values)


def define_split(values: flags.FlagValues) -> None:
    """Defines `--split`, for commands that go through images once."""
    flags.DEFINE_enum(
        "split", None, ["train", "validation"],
        "only this part of the images; without it all, or those to train on if the images to test on lie apart",
        flag_values=values,
    )  # fmt: skip


def define_embedding(values: flags.FlagValues) -> None:
    """Defines how an image becomes a vector: `--pooling`, `--normalize`, `--crop_ratio`."""
    flags.DEFINE_enum(
        "pooling", None, ["mean", "cls", "both", "attentive"],
        "an embedding is the mean of the patch tokens, the class token, the class token followed by the mean, or what "
        "the trained queries of a probe's run pool; if not given, the pooling of a classifier's run, else the mean",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_bool("normalize", False, "scale embeddings to length 1", flag_values=values)
    flags.DEFINE_float(
        "crop_ratio", None,
        "share of a scaled image's side that is used; if not given, the run's own, or 0.875 for weights of no run",
        lower_bound=0, upper_bound=1, flag_values=values,
    )  # fmt: skip


def check_model(values: flags.FlagValues, command: str = "export") -> None:
    """Refuses neither or both of `--run` and `--init`, and `--init_format` alone."""
    from keras_mae.trainers.checks import check_source

    if values.run is None and values.init is None:
        raise ValueError(f"needs --run or --init; see keras-mae {command} --help")
    check_source(values.init, values.run, ["init_format"] if values.init_format else [])


def check_init(values: flags.FlagValues, init: str | None) -> None:
    """Refuses what cannot go together with `--init`, or with `--resume`, before TensorFlow is imported.

    Args:
        values: the flags.
        init: of the config: `--init`, or the setting `init`.
    """
    from keras_mae.trainers import run
    from keras_mae.trainers.trained_model import find_model, is_ours

    folder = None if values.output is None else run.RunFolder(values.output)
    there = folder is not None and os.path.exists(folder / run.CONFIG)
    resume = "resume" in values and values.resume
    if folder is not None and resume and there and (init or folder.init()):
        folder.check_init(init)
    if folder is not None and resume and init and not there:
        raise ValueError(
            f"--resume continues a run, and {values.output} holds none (no {run.CONFIG}): leave out --resume to begin "
            f"one with --init={init}"
        )
    if init and there and not resume and not values.overwrite:
        raise ValueError(
            f"--init begins a new run, and {values.output} holds one: name another --output, or discard it with "
            "--overwrite; --resume continues it"
        )
    if init and is_ours(init):
        find_model(init)
    elif init and _is_missing(init):
        raise ValueError(f"--init={init}: there is no such file or folder")


def _is_missing(init: str) -> bool:
    """Whether something with a path's form is not there; names of published weights have no such form."""
    is_path = os.sep in init or init.lower().endswith((".safetensors", ".pth", ".pt", ".bin"))
    return "://" not in init and is_path and not os.path.exists(init)


def define_data(values: flags.FlagValues) -> None:
    """Defines `--data`, with all its forms."""
    flags.DEFINE_string(
        "data",
        None,
        "the images: digits (built in), folder:PATH (JPEG, PNG, BMP, GIF, WebP or TIFF files at any depth), npz:PATH "
        "(an array 'images', uint8 or uint16, N x H x W x C), tfrecord:PATTERN, tfds:NAME[:SPLIT][@DATA_DIR]; or "
        "memory:... or disk:CACHE:... with one of these, to keep the files in memory or in the folder CACHE, and "
        "disk:CACHE:shrink=PIXELS:... to keep the images with so many pixels on the shorter side",
        flag_values=values,
    )


def define_run(values: flags.FlagValues, recipe: str | None) -> None:
    """Defines the flags of a program that has a config and writes a run folder.

    Args:
        values: where they are defined.
        recipe: the default of `--recipe`; None for a program that trains nothing, and has no recipe.
    """
    flags.DEFINE_string("output", None, "the run folder to write", flag_values=values)
    flags.DEFINE_multi_string(
        "set",
        [],
        "a setting in place of the recipe's, as key=value; may be given again; keras-mae recipes --show=NAME has them",
        flag_values=values,
    )
    flags.DEFINE_bool("overwrite", False, "discard the run that is in the output folder", flag_values=values)
    if recipe is None:
        return
    flags.DEFINE_string("recipe", recipe, "the settings; see keras-mae recipes", flag_values=values)
    flags.DEFINE_bool("resume", False, "continue the run that is in the output folder", flag_values=values)
    flags.DEFINE_enum(
        "strategy",
        "auto",
        ["auto", "single", "mirrored", "multiworker", "tpu"],
        "the devices to train on: one, all GPUs of this machine, the machines in TF_CONFIG, or a TPU; auto takes the "
        "machines if there are several, else the GPUs if there are several",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "tracker",
        None,
        ["tensorboard", "mlflow", "wandb"],
        "also send what log.jsonl has to MLflow or Weights & Biases, as their own variables in the environment say; "
        "tensorboard, the default, is the files in the run folder alone",
        flag_values=values,
    )
    flags.DEFINE_string("tpu", "local", "the TPU's name or address; local is this machine's", flag_values=values)


# flags beside --data that are settings of the data, too
OF_DATA = ("validation_data", "labelled_data", "labels", "label_columns")


def config_of(values: flags.FlagValues, program: str, settings: Sequence[str] = (), base: Any = None) -> Any:
    """The config of a program: its recipe, or its defaults without one, with what the command line sets.

    Args:
        values: the flags.
        program: its name, such as `"finetune"`.
        settings: `key=value`; those of `--set` come after them, and flags that name a setting last.
        base: a config in place of the recipe's.
    """
    from keras_mae.trainers import recipes
    from keras_mae.trainers.config import CONFIGS
    from keras_mae.trainers.settings import changed, replaced

    kind = CONFIGS[program]
    config = base or (recipes.load(values.recipe, kind) if "recipe" in values else kind())
    if "recipe" in values and not values["recipe"].present and values.init and program != "pretrain":
        config = replaced(config, preset=None)  # the default's, which is not asked for: the file tells the sizes
    config = changed(config, [*settings, *values.set])
    given = settings_of_flags(values)
    return replaced(config, **given) if given else config


def settings_of_flags(values: flags.FlagValues) -> dict[str, str]:
    """The values that are given to flags which name a setting."""
    given = {n: values[n].value for n in ("run", "init", "init_format", "tracker", *OF_DATA) if n in values}
    return {name: value for name, value in given.items() if value is not None}
