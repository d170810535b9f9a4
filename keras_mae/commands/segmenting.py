"""`keras-mae segment`: a segmenter on an encoder, trained with masks."""

from __future__ import annotations

import os
from typing import Any

from absl import flags

from keras_mae.commands.command import Command, check_init, check_output, config_of, define_init, define_run

_PROGRAM = "segment"
_IN_A_TABLE = 30  # classes that are printed


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "run", None,
        "the encoder: the folder of a run, or a .keras file; or --init; fresh weights if neither is given",
        flag_values=values,
    )  # fmt: skip
    define_init(values)
    flags.DEFINE_string(
        "data", None,
        "the images with their masks: pairs:IMAGES,MASKS (two folders; masks are PNG files, of gray levels or with a "
        "palette, of the images' names), npz:PATH (arrays 'images' and 'masks'), tfrecord:PATTERN (of keras-mae "
        "tfrecords), or memory:... or disk:CACHE:...; a part is kept for the test if there is no such part",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_string("validation_data", None, "other data to test on than a part of --data", flag_values=values)
    define_run(values, "segment_vit_base")
    return values


def _check(values: flags.FlagValues) -> None:
    """Refuses settings that cannot work."""
    from keras_mae.trainers.checks import check_together

    check_output(values)
    _check_pairs(values.data)
    config = config_of(values, _PROGRAM)
    check_together(config)
    check_init(values, config.encoder.init)


def _check_pairs(data: str) -> None:
    """Refuses a folder, or two, without `pairs:`: a folder of images alone has no masks."""
    images, comma, masks = data.partition(",")
    if not os.path.isdir(images):
        return
    if not comma:
        inside = [os.path.join(images, name) for name in ("images", "masks")]
        images, masks = inside if all(map(os.path.isdir, inside)) else (images, "MASKS")
    where = ", where MASKS is the folder of the masks" if masks == "MASKS" else ""
    raise ValueError(
        f"images with masks in folders are given as pairs:IMAGES,MASKS; got {data!r}; type "
        f"--data=pairs:{images},{masks}{where}"
    )


def _segment(values: flags.FlagValues) -> None:
    from keras_mae.trainers.segment import segment

    started: dict[str, Any] = {flag: values[flag].value for flag in ("resume", "overwrite", "strategy", "tpu")}
    results = segment(config_of(values, _PROGRAM), values.data, values.output, **started)
    best = results["best"]
    if "mean_iou" in results:
        print("\n".join(pixel_lines(results)))
    if best:
        print(f"best epoch {best['epoch']}: mean IoU {100 * best['mean_iou']:.1f} %")
    print(f"wrote {values.output}")


def pixel_lines(report: dict[str, Any]) -> list[str]:
    """A report of pixels in words, with a table if it has few classes."""
    classes = report["per_class"]
    lines = [
        f"mean IoU {100 * report['mean_iou']:.1f} %, pixel accuracy {100 * report['pixel_accuracy']:.1f} %; the "
        f"largest class: {100 * report['majority_share']:.1f} % of the pixels of {report['images']} images"
    ]
    if len(classes) <= _IN_A_TABLE:
        width = max(5, *(len(one["class"]) for one in classes))
        lines.append(f"{'class':{width}}{'pixels':>14}{'IoU':>11}{'accuracy':>11}")
        for one in classes:
            iou, accuracy = ("-" if one[key] is None else f"{100 * one[key]:.1f} %" for key in ("iou", "accuracy"))
            lines.append(f"{one['class']:{width}}{one['pixels']:>14,}{iou:>11}{accuracy:>11}")
    return [*lines, *report["notes"]]


SEGMENT = Command(
    "train a segmenter, which tells the class of every pixel, on a pretrained encoder",
    _flags,
    _segment,
    ("data", "output"),
    _check,
)
