"""`keras-mae replay`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from absl import flags

from keras_mae.commands.command import Command

if TYPE_CHECKING:
    from keras_mae.trainers.replay import BatchImage, Replay

_LISTED = 16


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("run", None, "the folder of a pretraining run, which may be running", flag_values=values)
    flags.DEFINE_integer(
        "step", None, "the step to compute again, counted from 1 as in steps.jsonl", lower_bound=1, flag_values=values
    )
    flags.DEFINE_string(
        "output", None, "the PNG to write; in the run's folder, under replay, if not given", flag_values=values
    )
    return values


def _check(values: flags.FlagValues) -> None:
    """Refuses what is no pretraining run, and an output that is no PNG, before TensorFlow is imported."""
    from keras_mae.trainers import run

    config, _ = run.RunFolder(values.run).config()
    if config.program != "pretrain":
        raise ValueError(f"{values.run} is a run of keras-mae {config.program}; replay needs one of pretrain")
    output = values.output
    if output is not None and (os.path.isdir(output) or not output.lower().endswith(".png")):
        raise ValueError(f"--output={output} is not the name of a PNG file; type --output={output}.png")


def _replay(values: flags.FlagValues) -> None:
    from keras_mae.trainers.replay import replay

    found = replay(values.run, values.step, values.output)
    print("\n".join(lines_of(found)))
    print(f"wrote {found.picture}")


def lines_of(found: Replay) -> list[str]:
    """What the command prints."""
    step = found.step
    fate = f"; skipped ({step.skipped})" if step.skipped else f"; clipped ({step.clipped})" if step.clipped else ""
    lines = [f"step {step.number}: loss {step.loss:.6g}, gradient norm {step.norm:.6g}{fate}", found.agreement]
    bad = sum(not image.is_finite for image in found.images)
    if bad:
        lines.append(f"loss or gradient of {bad} of {len(found.images)} images is not finite")
    lines.append(found.place or "all outputs and gradients are finite")
    shown = found.images[:_LISTED]
    lines += [
        "the images of the batch, the worst first:",
        f"{'image':>9} {'loss':>12} {'gradient norm':>14}  name",
        *map(_row, shown),
    ]
    if len(found.images) > len(shown):
        lines.append(f"and {len(found.images) - len(shown)} more")
    return lines


def _row(image: BatchImage) -> str:
    return f"{image.index:9} {image.loss:12.6g} {image.norm:14.6g}  {image.name}"


REPLAY = Command(
    "compute a step of a pretraining run again: its images, and where numbers are not finite",
    _flags,
    _replay,
    ("run", "step"),
    _check,
)
