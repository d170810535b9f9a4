"""The folder of a run: its files, and the one process that may write to it."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_mae.one_writer import lock_folder
from keras_mae.trainers.config import AnyConfig, from_json, to_json
from keras_mae.trainers.machine import machine, versions
from keras_mae.trainers.settings import values_of
from keras_mae.whole_file import replace_file

if TYPE_CHECKING:  # it imports TensorFlow, which a command that is refused can do without
    from keras_mae.data.seen import Seen

_log = logging.getLogger("keras_mae")
CONFIG, LOG, RESULTS = "config.json", "log.jsonl", "results.json"
STEPS, REPLAY = "steps.jsonl", "replay"
MODEL, ENCODER, BEST = "model.keras", "encoder.keras", "best.keras"
CHECKPOINTS, TENSORBOARD, PICTURES, REPORT = "checkpoints", "tensorboard", "reconstructions", "report"
SEGMENTATIONS = "segmentations"
TRACKER, WANDB = "tracker.json", "wandb"  # the id of the tracker's run; the files of Weights & Biases
SEEN = "seen.gz"  # names and labels of the images, to name what has changed
RECONSTRUCTIONS, LOSS_CURVE, SAVED_MODEL = "reconstructions.png", "loss.png", "saved_model"  # the demo's
PAGE = "report.html"  # of keras-mae report
TEST_IMAGES, VECTORS, MAP = "test_digits.npz", "vectors.parquet", "map.html"  # the demo's
_FILES = (
    CONFIG,
    SEEN,
    LOG,
    RESULTS,
    MODEL,
    ENCODER,
    BEST,
    RECONSTRUCTIONS,
    LOSS_CURVE,
    TEST_IMAGES,
    VECTORS,
    MAP,
    TRACKER,
    STEPS,
    PAGE,
)
_FOLDERS = (CHECKPOINTS, TENSORBOARD, PICTURES, REPORT, SEGMENTATIONS, SAVED_MODEL, WANDB, REPLAY)

# Settings that may change when a run is resumed; those of the second line change results by round-off
_FREE = ("check_memory", "pictures_every", "checkpoint_steps", "checkpoint_minutes", "max_skipped_steps", "tracker")
_HARMLESS = {f"run.{name}" for name in _FREE}
_ROUND_OFF = {"optimizer.accumulation_steps", "run.rematerialize", "run.jit_compile", "run.steps_per_execution"}


class Preempted(Exception):
    """The process was asked to end, and has saved the run's state. `keras-mae` then ends with code 143."""


class RunFolder:
    """A run's output folder.

    Args:
        path: of the folder; a `ValueError` refuses a path that is not on a local disk, such as `gs://...`.
    """

    def __init__(self, path: str) -> None:
        if "://" in path:  # a local folder called gs: would be made
            raise ValueError(f"a run lies in a folder of a local disk, got {path}; name one, and copy it afterwards")
        self.path = path

    def __truediv__(self, name: str) -> str:
        return os.path.join(self.path, name)

    def claim(self) -> None:
        """Locks the folder if it is there; a `ValueError` says that another process writes to it."""
        if os.path.isdir(self.path):
            lock_folder(self.path)

    def start(
        self,
        config: AnyConfig,
        data: str,
        resume: bool,
        overwrite: bool,
        seen: Seen | None = None,
        loaded: str | None = None,
        init: dict[str, Any] | None = None,
    ) -> None:
        """Locks the folder for a run, so that no other process writes to it, and writes `config.json`.

        The caller releases the lock at its end, see `keras_mae.one_writer`.

        Args:
            config, data: of the run.
            resume: continue the run that is there.
            overwrite: discard the run that is there.
            seen: names and labels of the images, see `keras_mae.data.seen.Seen`.
            loaded: None, or the path of the model, a file or a folder, that the run's model was made from.
            init: None, or what the run's first weights are, for `config.json`: `source`, `licence`, and for a run that
                begins with `--init` the file's `digest`, what was loaded of it, and what was not.

        Raises:
            ValueError: if the folder holds something already and neither `resume` nor `overwrite` is set; if there
                is no run to resume, or its config, data or loaded model is another; if another process writes there.
        """
        if resume and overwrite:
            raise ValueError("--resume continues the run that is there, --overwrite discards it: give one of them")
        if resume:
            self.claim()
            self._check_same(config, data, seen, loaded, init or {})
            self._add_machine()
            return
        # relative paths in data and settings are those of the directory
        record: dict[str, Any] = {"data": data, "directory": os.getcwd(), "config": to_json(config)}
        record |= {"machine": [machine()], "versions": [versions()]}
        if loaded is not None:
            record["loaded"] = digest_of(loaded)
        if init is not None:
            record["init"] = init
        if seen is not None:
            record["seen"] = seen.summary
        if not os.path.isdir(self.path):
            self.check_new(overwrite)
        os.makedirs(self.path, exist_ok=True)
        lock_folder(self.path)
        self.check_new(overwrite)
        if os.listdir(self.path):
            for name in (*_FILES, *_FOLDERS):  # files that no run writes stay
                entry = self / name
                if os.path.isdir(entry):
                    shutil.rmtree(entry)
                elif os.path.exists(entry):
                    os.remove(entry)
        self.write_json(CONFIG, record)
        if seen is not None:
            self.replace(SEEN, seen.write_images)

    def check_new(self, overwrite: bool) -> None:
        """Raises a ValueError if a run cannot begin here: a file, or a folder that holds something, is in the way."""
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise ValueError(f"the output {self.path} is a file; name a folder")
        if not os.path.isdir(self.path) or not os.listdir(self.path):
            return
        if not os.path.exists(self / CONFIG):
            raise ValueError(f"the output folder {self.path} holds something that is not a run; name another")
        if not overwrite:
            raise ValueError(
                f"the output folder {self.path} holds another run; continue it with --resume, discard it with "
                "--overwrite, or name another folder"
            )

    def _add_machine(self) -> None:
        """Notes the machine and the versions with which a run is resumed, if they are others than before."""
        record = self._record()
        for name, now in (("machine", machine()), ("versions", versions())):
            before = record.get(name) or []
            if now != (before[-1] if before else None):
                self.note(name, [*before, now])

    def note(self, name: str, value: Any) -> None:
        """Adds a fact to `config.json`, or replaces it."""
        self.write_json(CONFIG, {**self._record(), name: value})

    def config(self) -> tuple[AnyConfig, str]:
        """The run's config, and its data specification.

        Raises:
            ValueError: if the folder holds no run.
        """
        if not os.path.exists(self / CONFIG):
            raise ValueError(f"{self.path} is not the folder of a run: it holds no {CONFIG}")
        record = self._record()
        missing = [key for key in ("data", "config") if key not in record]
        if missing and "program" in record:
            raise ValueError(
                f"an earlier version of this package has written {self.path}: name one of its .keras files instead"
            )
        if missing:
            raise ValueError(f"{self / CONFIG} is not the config of a run: it has no {missing[0]}")
        return from_json(record["config"]), record["data"]

    def config_if_any(self) -> AnyConfig | None:
        """The config of the run that is there, if there is one."""
        return self.config()[0] if os.path.exists(self / CONFIG) else None

    def directory(self) -> str:
        """The working directory in which the run began; empty if it is not known."""
        return self._record().get("directory", "")

    def seen(self) -> dict[str, Any]:
        """The summary of the run's data; empty for a run of an earlier version."""
        return self._record().get("seen", {})

    def init(self) -> dict[str, Any]:
        """What the run's first weights were, as given to `start`; empty for fresh ones, and without a run."""
        return self._record().get("init", {}) if os.path.exists(self / CONFIG) else {}

    def _record(self) -> dict[str, Any]:
        try:
            with open(self / CONFIG, encoding="utf-8") as file:
                record = json.load(file)
        except ValueError as error:
            raise ValueError(f"{self / CONFIG} is not the config of a run: it is no JSON ({error})") from None
        if not isinstance(record, dict):
            raise ValueError(f"{self / CONFIG} is not the config of a run: it is no JSON object")
        return record

    def model_path(self, name: str) -> str:
        """The path of `model.keras` or `encoder.keras`, which a finished run has.

        Raises:
            ValueError: if the file is missing.
        """
        if not os.path.exists(self / name):
            config = self.config_if_any()
            if config is not None and config.program == "knn":
                measured: Any = config.encoder
                raise ValueError(
                    f"{self.path} is a run of keras-mae knn, which saves no model: name what it has measured, "
                    f"{measured.run or measured.init}"
                )
            raise ValueError(
                f"{self.path} holds no {name}: the run has not finished; continue it with --resume, or wait for its end"
            )
        return self / name

    def _check_same(
        self, config: AnyConfig, data: str, seen: Seen | None, loaded: str | None, init: dict[str, Any]
    ) -> None:
        config_there, data_there = self.config()
        if config_there.program != config.program:
            raise ValueError(f"the run in {self.path} is one of {config_there.program}, not of {config.program}")
        self.check_init(init.get("source") if "digest" in init else None)
        if (digest := self.init().get("digest")) != init.get("digest"):
            raise ValueError(
                f"{init['source']} holds other weights than those that the run in {self.path} began with (digest "
                f"{digest} there, {init['digest']} now): put them back, or begin a new run with another --output"
            )
        there, now = {"data": data_there, **values_of(config_there)}, {"data": data, **values_of(config)}
        pairs = {key: (there.get(key), now.get(key)) for key in now | there}
        changes = {
            key: f"{one!r} there, {other!r} now"
            for key, (one, other) in pairs.items()
            if one != other and not (key.endswith(".init") and _place(one) == _place(other))
        }
        harmful = [f"{key}: {change}" for key, change in changes.items() if key not in _HARMLESS | _ROUND_OFF]
        if harmful:
            raise ValueError(f"the run in {self.path} has another config, and cannot be resumed: {'; '.join(harmful)}")
        before = self.seen()
        if seen and before and (change := seen.changed_since(before, self / SEEN)):
            raise ValueError(
                f"the data of the run in {self.path} have changed, and it cannot be resumed: {change}; put the data "
                "back as they were, or begin a new run with another --output"
            )
        known = self._record().get("loaded")
        if loaded is not None and known not in (None, digest_of(loaded)):
            raise ValueError(
                f"{loaded} is another model than the one that the run in {self.path} was made from: put it back, or "
                "begin a new run with another --output"
            )
        if changes:
            note = " (results may differ by round-off)" if _ROUND_OFF & set(changes) else ""
            shown = "; ".join(f"{key}: {change}" for key, change in changes.items())
            _log.info("resumed with other settings%s: %s", note, shown)
            self.write_json(CONFIG, {**self._record(), "config": to_json(config)})

    def check_init(self, source: str | None) -> None:
        """Refuses to resume a run that began with other weights, or with fresh ones; by the names of the sources."""
        there = self.init()
        began = there.get("source") if "digest" in there else None
        if source is None and began is not None:
            raise ValueError(
                f"the run in {self.path} began with weights of {began}: continue it with the command line that began "
                f"it, --init={began}, and --resume"
            )
        if source is not None and began is None:
            raise ValueError(
                f"the run in {self.path} did not begin with --init, and --resume takes the weights of its checkpoint: "
                "leave out --init to continue it, or begin a new run with another --output"
            )
        if _place(source) != _place(began):
            raise ValueError(
                f"the run in {self.path} began with weights of {began}, not of {source}: --resume continues it with "
                f"--init={began}; to begin a new one, name another --output and leave out --resume"
            )

    def write_json(self, name: str, record: Any) -> None:
        """Writes a JSON file in one step: if it fails, the file that was there stays."""
        text = json.dumps(record, indent=2) + "\n"
        self.replace(name, lambda path: Path(path).write_text(text, encoding="utf-8"))

    def replace(self, name: str, write: Callable[[str], object]) -> None:
        """Writes the file `name` as `replace_file` does."""
        replace_file(self / name, write)


def _place(source: str | None) -> str | None:
    """A source of weights; the absolute path of a file or folder on this machine, however it was typed."""
    return os.path.abspath(source) if source is not None and os.path.exists(source) else source


def digest_of(path: str) -> str:
    """A digest of a model's contents: those of a `.keras` file but for its date, or of all files in a folder."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            contents = [(one.filename, one.CRC) for one in archive.infolist() if one.filename != "metadata.json"]
    else:
        files = sorted(filter(os.path.isfile, [path, *glob.glob(f"{glob.escape(path)}/**", recursive=True)]))
        contents = [(os.path.relpath(name, path), zlib.crc32(Path(name).read_bytes())) for name in files]
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:32]
