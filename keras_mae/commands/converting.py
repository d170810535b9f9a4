"""`keras-mae convert`."""

from __future__ import annotations

import os
import typing

from absl import flags

from keras_mae.commands.command import Command


def _convert_flags() -> flags.FlagValues:
    formats = ["hf", "mae_torch", "simmim_torch", "timm", "keras"]
    values = flags.FlagValues()
    flags.DEFINE_string(
        "checkpoint",
        None,
        "a .safetensors, .pth, .pt, .bin or .keras file, a URL of one, a folder with one, hf://OWNER/NAME, or the name "
        "of published weights, such as mae_vit_base",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "format", None, formats,
        "the names of its weights: the official MAE code's, timm's, Hugging Face's, SimMIM's or ours",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string("output", None, "the file to write, with one of these endings", flag_values=values)
    flags.DEFINE_enum("output_format", None, formats, "the format to write", flag_values=values)
    flags.DEFINE_string(
        "preset", None,
        "the model in the checkpoint, if it does not tell: vit_base_patch16, or mae_vit_base_patch16 with a decoder",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_multi_string(
        "set", [],
        "a constructor argument of the encoder in place of the preset's, as key=value, such as "
        "image_shape=(384,384,3); may be given again",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_integer(
        "num_classes", None, "number of classes, if the model is a classifier on that preset", lower_bound=1,
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_enum("pooling", "mean", ["mean", "cls"], "the pooling of the classifier", flag_values=values)
    flags.DEFINE_multi_string(
        "skip", [], "a pattern of names to leave out, such as 'decoder.*'; may be given again", flag_values=values
    )
    flags.DEFINE_string(
        "resize_positions", None,
        "resize position embeddings if the image size is another; the grid of patches in the checkpoint: square, or "
        "ROWSxCOLUMNS",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string(
        "prefix", None, "prefix of the names of the weights to take, if there are several sets", flag_values=values
    )
    flags.DEFINE_bool("overwrite", False, "replace files that are there", flag_values=values)
    return values


def _check(values: flags.FlagValues) -> None:
    """Refuses an output that is there."""
    if os.path.exists(values.output) and not values.overwrite:
        raise ValueError(
            f"{values.output} is there already: choose another output, or allow its replacement with --overwrite"
        )


def _convert(values: flags.FlagValues) -> None:
    from keras_mae.checkpoints import convert_checkpoint
    from keras_mae.models import ViTEncoder
    from keras_mae.trainers.settings import parsed

    hints = typing.get_type_hints(ViTEncoder.__init__)
    for name in ("name", "kwargs", "return"):
        del hints[name]
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
        prefix=values.prefix,
        overwrite=values.overwrite,
        **parsed(values.set, hints),
    )
    print(f"wrote {values.output}")


def _grid(text: str | None) -> bool | tuple[int, int]:
    """`--resize_positions` as `keras_mae.load_checkpoint` takes it."""
    if text in (None, "square"):
        return text is not None
    rows, _, columns = str(text).partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise ValueError(f"resize_positions is square or ROWSxCOLUMNS, such as 14x28; got {text!r}")
    return int(rows), int(columns)


CONVERT = Command(
    "write a checkpoint in another library's format",
    _convert_flags,
    _convert,
    ("checkpoint", "format", "output", "output_format"),
    _check,
)
