"""What a command is, and the flags that several have."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

from absl import flags


@dataclasses.dataclass(frozen=True)
class Command:
    """One word after `keras-mae`.

    Attributes:
        summary: a line for `--help`.
        make_flags: gives a new set for every call, as parsing leaves its values in a set.
        run: does it.
        required: the flags that must be given.
        config: what `--set` changes in full: gives the config class; None if there is no such flag.
        check: raises a `ValueError` for what cannot work, before TensorFlow is imported, which takes long.
    """

    summary: str
    make_flags: Callable[[], flags.FlagValues]
    run: Callable[[flags.FlagValues], None]
    required: tuple[str, ...] = ()
    check: Callable[[flags.FlagValues], None] = lambda values: None
    config: Callable[[], type] | None = None


def check_output(values: flags.FlagValues) -> None:
    """Refuses a run folder that has a file's name, or is what the images, or the model, are read from."""
    if values.output is None:
        return
    if values.output.endswith((".keras", ".h5", ".onnx", ".tflite")):
        raise ValueError(
            f"--output={values.output} is a file's name, and a run is a folder; type "
            f"--output={os.path.splitext(values.output)[0]}"
        )
    output = os.path.realpath(values.output)
    for flag in ("data", "validation_data", "run"):
        given = str(values[flag].value or "") if flag in values else ""
        if given:
            path = given if flag == "run" else given.rpartition(":")[2]
            if path and os.path.realpath(path) == output:
                raise ValueError(f"--output={values.output} is what --{flag} is read from; name another folder")


def define_data(values: flags.FlagValues) -> None:
    """Defines `--data`, in full."""
    flags.DEFINE_string(
        "data",
        None,
        "the images: digits (built in), folder:PATH (JPEG, PNG, BMP, GIF or TIFF files at any depth), npz:PATH (an "
        "array 'images', uint8 or uint16, N x H x W x C), tfrecord:PATTERN, tfds:NAME[:SPLIT][@DATA_DIR]; or "
        "memory:... or disk:CACHE:... with one of these, to keep the files in memory or in the folder CACHE",
        flag_values=values,
    )


def define_set(values: flags.FlagValues) -> None:
    """Defines `--set`, of a recipe's settings."""
    flags.DEFINE_multi_string(
        "set",
        [],
        "a setting in place of the recipe's, as key=value; may be given again; keras-mae recipes --show=NAME has them",
        flag_values=values,
    )


def define_overwrite(values: flags.FlagValues) -> None:
    """Defines `--overwrite`, of a run."""
    flags.DEFINE_bool("overwrite", False, "discard the run that is in the output folder", flag_values=values)


def define_training(values: flags.FlagValues, strategy: str = "what to train on, as for pretrain") -> None:
    """Defines what the programs that train have: `--resume`, `--strategy` (with this help) and `--tpu`."""
    flags.DEFINE_bool("resume", False, "continue the run that is in the output folder", flag_values=values)
    names = ["auto", "single", "mirrored", "multiworker", "tpu"]
    flags.DEFINE_enum("strategy", "auto", names, strategy, flag_values=values)
    flags.DEFINE_string("tpu", "local", "the TPU's name or address; local is this machine's", flag_values=values)
