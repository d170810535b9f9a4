"""The command lines that go on from a run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator

from keras_mae.run_report.record import RunRecord
from keras_mae.trainers import run
from keras_mae.trainers.head_recipe import head_recipe
from keras_mae.trainers.nearest_recipe import GIVEN, nearest_recipe
from keras_mae.trainers.settings import values_of

_HEADS = {"finetune": "classifier", "linear-probe": "classifier", "segment": "segmenter"}
_LABELLED = "folder:LABELLED_IMAGES"

_PATHS = ("labels", "validation_labels", "validation_data", "labelled_data", "tokenizer")  # settings


def commands_of(one: RunRecord) -> Iterator[tuple[str, str]]:
    """Titles and lines; words in capitals are the reader's to fill in."""
    if not one.finished and one.total_epochs is not None:
        if (line := resume_line(one)) is not None:
            yield "Continue the run", line
    skipped = [event.step for event in one.steps.events] if one.steps else []
    if skipped and one.program == "pretrain":
        yield (
            "Compute the first skipped step again, and look at its images",
            _line(one, "replay", f"--step={skipped[0]}"),
        )
    if one.program == "pretrain":
        yield from _after_pretraining(one)
    elif one.program in _HEADS:
        yield from _after_a_head(one)


def resume_line(one: RunRecord) -> str | None:
    """The line that continues a run, with every setting; None if this version cannot read its config."""
    if one.config is None:
        return None
    recipe, differing = nearest_recipe(one.config)
    words = ["keras-mae", one.program, f"--data={one.data}", f"--output={_home(one)}"]
    words += [f"--recipe={recipe}"] if recipe else []
    words += [
        f"--{name.rpartition('.')[2]}={value}"
        for name, value in values_of(one.config).items()
        if name in GIVEN and value is not None
    ]
    line = shlex.join([*words, "--resume"])
    for one_setting in differing:
        line += f" --set {shlex.quote(one_setting.typed)}"
    return _inside(one, line)


def _after_pretraining(one: RunRecord) -> Iterator[tuple[str, str]]:
    home, data = _home(one), one.data if one.seen.get("class_names") else _LABELLED
    if os.path.exists(one.file(run.MODEL)):
        yield "Measure its features by nearest neighbours", _line(one, "knn", f"--data={data}")
        images = one.seen.get("num_images") if data == one.data else None
        for title, name, begins in (
            ("Measure them by a linear layer", "linear-probe", "probe"),
            ("Train a classifier", "finetune", "finetune"),
        ):
            recipe = head_recipe(begins, one.settings, one.data, images)
            output = f"--output={home}_{'probe' if name == 'linear-probe' else 'classifier'}"
            yield title, _line(one, name, f"--data={data}", output, f"--recipe={recipe}")
        yield "Write a vector for each image", _line(one, "embed", f"--data={one.data}", f"--output={home}.parquet")
        yield "Draw what it makes of masked images", _line(one, "reconstruct")
        yield "Export the encoder for TensorFlow Serving", _line(one, "export", f"--output={home}_served")


def _after_a_head(one: RunRecord) -> Iterator[tuple[str, str]]:
    home, kind = _home(one), _HEADS[one.program]
    if not os.path.exists(one.file(run.MODEL)):
        return
    if one.seen.get("task") == "numbers":
        kind = "regressor"
    output = f"{home}_masks" if kind == "segmenter" else f"{home}.csv"
    yield "Predict other images", _line(one, "predict", "--data=folder:NEW_IMAGES", f"--output={output}")
    yield "Export it for TensorFlow Serving", _line(one, "export", f"--model={kind}", f"--output={home}_served")


def _home(one: RunRecord) -> str:
    return os.path.abspath(one.path)


def _line(one: RunRecord, name: str, *words: str) -> str:
    line = shlex.join(["keras-mae", name, f"--run={_home(one)}", *words])
    return _inside(one, line) if any(word == f"--data={one.data}" for word in words) else line


def _inside(one: RunRecord, line: str) -> str:
    """The line in the folder in which the run began, if its paths are relative to that."""
    settings = [value for name, value in one.settings.items() if isinstance(value, str) and _names_a_path(name)]
    paths = [path for value in (one.data, *settings) for path in _paths(value)]
    relative = any(path and "://" not in path and not os.path.isabs(path) for path in paths)
    directory = one.record.get("directory")
    return f"cd {shlex.quote(directory)} && {line}" if directory and relative else line


def _names_a_path(setting: str) -> bool:
    return setting in GIVEN or setting.rpartition(".")[2] in _PATHS


def _paths(value: str) -> list[str]:
    """The paths in a data specification, or the path that a setting is."""
    kind, colon, place = re.sub(r"^(memory:|disk:.*?:(?=[a-z]+:))+", "", value).partition(":")
    if not colon or place.startswith("//"):  # a file, a URL, or what is built in
        return [] if value == "digits" else [value]
    return [] if kind == "tfds" else place.split(",")
