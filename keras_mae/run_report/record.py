"""What a run's folder tells."""

from __future__ import annotations

import datetime
import functools
import gzip
import json
import math
import os
import zlib
from collections import Counter
from typing import Any

from keras_mae.run_report import logs
from keras_mae.trainers import run
from keras_mae.trainers.config import AnyConfig, from_json

_WRITTEN = (run.CONFIG, run.LOG, run.STEPS, run.CHECKPOINTS, run.MODEL, run.RESULTS)
_MOST_CLASSES = 100_000  # more different labels are no classes


class RunRecord:
    """The files of a run, read leniently: it may be of another version, be interrupted, or be written to.

    Args:
        path: the run's folder.

    Attributes:
        path: of the folder.
        name: of the folder, without those above it.
        record: what `config.json` holds.
        program: the command that the run is of.
        epochs: the numbers of each epoch, see `logs.epochs_of`.
        steps: those of the steps, or None.
        results: what `results.json` holds; empty without one.
        fault: why this version cannot read the config, once it has been asked for.

    Raises:
        ValueError: if the folder holds no run.
    """

    def __init__(self, path: str) -> None:
        self.path, self.name = path, os.path.basename(os.path.abspath(path))
        folder = run.RunFolder(path)
        if not os.path.lexists(path):
            raise ValueError(f"--run={path}: there is no such folder")
        if not os.path.isdir(path):
            raise ValueError(f"--run={path} is a file; name the folder of a run")
        if not os.path.exists(folder / run.CONFIG):
            raise ValueError(f"{path} is not the folder of a run: it holds no {run.CONFIG}")
        folder.directory()  # which checks the JSON
        with open(folder / run.CONFIG, encoding="utf-8") as file:
            self.record: dict[str, Any] = json.load(file)
        config = self._part("config")
        self.program = str(config.get("program") or self.record.get("program") or "unknown")
        if not config:
            raise ValueError(f"{folder / run.CONFIG} is not the config of a run: it has no config")
        self.epochs = logs.epochs_of(folder / run.LOG)
        self.steps = logs.steps_of(folder / run.STEPS)
        self.results, self.fault = self._results(), ""

    def file(self, name: str) -> str:
        """The path of a file of the run."""
        return os.path.join(self.path, name)

    @property
    def data(self) -> str:
        """The data specification."""
        return str(self.record.get("data", "unknown"))

    @property
    def seen(self) -> dict[str, Any]:
        """What was seen of the data."""
        return self._part("seen")

    @property
    def init(self) -> dict[str, Any]:
        """What the first weights were."""
        return self._part("init")

    @functools.cached_property
    def config(self) -> AnyConfig | None:
        """The config; None if this version cannot read it."""
        try:
            return from_json(self.record["config"])
        except (ValueError, TypeError, KeyError) as error:
            self.fault = str(error)
            return None

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The settings by their full names; kinds by the names of their parts."""
        found: dict[str, Any] = {}
        for part, values in self._part("config").items():
            if isinstance(values, dict):
                found |= {part if key == "kind" else f"{part}.{key}": value for key, value in values.items()}
        return found

    @property
    def total_epochs(self) -> int | None:
        """The epochs that were asked for; None for a run that trains nothing."""
        epochs = self.settings.get("optimizer.epochs")
        return epochs if isinstance(epochs, int) else None

    @property
    def last_epoch(self) -> int:
        """The number of the last epoch in the log; 0 without one."""
        return int(self.epochs[-1]["epoch"]) if self.epochs else 0

    @property
    def finished(self) -> bool:
        """Whether the run has ended as it should."""
        measured = self.program != "pretrain"
        trained = self.total_epochs is None or os.path.exists(self.file(run.MODEL))
        return trained and (not measured or bool(self.results))

    @property
    def state(self) -> str:
        """How far the run is, in words."""
        of = f" of {self.total_epochs:,}" if self.total_epochs else ""
        if self.finished:
            epochs = "epoch" if (self.total_epochs or 0) <= 1 else "epochs"
            after = f"{self.last_epoch:,}{of if self.last_epoch != self.total_epochs else ''} {epochs}"
            return f"finished, {after}" if self.last_epoch else "finished"
        if not self.epochs:
            return f"not finished: no epoch{of} is logged yet" if of else "not finished"
        return f"not finished: epoch {self.last_epoch:,}{of}"

    @property
    def written(self) -> str:
        """When a file of the run was last written, in UTC."""
        files = filter(os.path.exists, map(self.file, _WRITTEN))
        last = datetime.datetime.fromtimestamp(max(map(os.path.getmtime, files)), datetime.UTC)
        return f"{last:%Y-%m-%d %H:%M} UTC"

    @property
    def steps_per_epoch(self) -> float | None:
        """Steps in an epoch, by the log, or by the number of images; None if neither tells."""
        for one in reversed(self.epochs):
            if (step := one.get("step", math.nan)) > 0:
                return step / one["epoch"]
        images, batch = self.seen.get("num_images"), self.settings.get("optimizer.batch_size")
        return float(images // batch) or None if isinstance(images, int) and isinstance(batch, int) and batch else None

    @functools.cached_property
    def class_counts(self) -> dict[str, int]:
        """The number of images of each class, those to test on included; empty if there are no classes."""
        if self.seen.get("task") not in (None, "classes") or not os.path.isfile(self.file(run.SEEN)):
            return {}
        try:
            with gzip.open(self.file(run.SEEN), "rb") as file:
                labels = Counter(item.rpartition(b"\n")[2] for item in file.read().split(b"\0"))
        except (OSError, EOFError, zlib.error):
            return {}
        if len(labels) > _MOST_CLASSES or set(labels) <= {b""}:
            return {}
        names = [str(name) for name in self.seen.get("class_names") or []]
        place = {name.encode("utf-8", "surrogateescape"): number for number, name in enumerate(names)}
        found = sorted(labels, key=lambda one: (place.get(one, len(place)), len(one), one))
        return {one.decode("utf-8", "backslashreplace") or "without a class": labels[one] for one in found}

    def _part(self, name: str) -> dict[str, Any]:
        part = self.record.get(name)
        return part if isinstance(part, dict) else {}

    def _results(self) -> dict[str, Any]:
        try:
            with open(self.file(run.RESULTS), encoding="utf-8") as file:
                results = json.load(file)
        except (OSError, ValueError):
            return {}
        return results if isinstance(results, dict) else {}
