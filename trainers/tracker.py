"""Trackers of experiments, which get what `log.jsonl` has: MLflow and Weights & Biases, by their own callbacks."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import keras
import tensorflow as tf

from keras_mae.trainers import run
from keras_mae.trainers.config import TrainingConfig, to_json
from keras_mae.trainers.settings import values_of
from keras_mae.trainers.strategy import on_chief

_log = logging.getLogger("keras_mae")
_PROJECT = "keras_mae"
# Both report usage or crashes to their makers unless told otherwise; a user's own values stay
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}


@contextmanager
def tracked(
    strategy: tf.distribute.Strategy, config: TrainingConfig, folder: run.RunFolder
) -> Iterator[list[keras.callbacks.Callback]]:
    """Yields the callback of the tracker that the config names, if any, on the chief; ends its run at the exit.

    Raises:
        ValueError: if the tracker cannot start, for want of an account or of a server for instance.
    """
    if config.run.tracker not in _TRACKERS:
        yield []
        return
    started: list[_Tracker] = []
    on_chief(strategy, lambda: started.append(_TRACKERS[config.run.tracker](config, folder)))
    status = "failed"
    try:
        yield [*started]
        status = "finished"
    except (run.Preempted, KeyboardInterrupt):
        status = "killed"
        raise
    finally:
        for each in started:
            each.guarded(partial(each.end, status))


class _Tracker(keras.callbacks.Callback):
    """Passes each epoch's logs on to the callback of a tracker; what fails there does not end the run.

    A run that is resumed continues the tracker's run, whose id `tracker.json` has.

    Attributes:
        name: of the tracker, its package and the extra that installs it.
    """

    name: ClassVar[str]

    def __init__(self, config: TrainingConfig, folder: run.RunFolder) -> None:
        super().__init__()
        self._failed = False
        before = _read(folder)
        known = before.get("id") if before.get("tracker") == self.name else None
        for key, value in _QUIET.items():
            os.environ.setdefault(key, value)
        try:
            found, self._callback, place = self.begin(config, folder, known)
        except Exception as error:  # each tracker, and what carries its messages, has kinds of its own
            raise ValueError(
                f"--tracker={self.name} cannot start: {_reason(error)}; mend that, or leave out --tracker: "
                "log.jsonl and TensorBoard have all"
            ) from error
        if found != known:
            folder.write_json(run.TRACKER, {"tracker": self.name, "id": found})
        _log.info("%s follows the run: %s", self.name, place)

    def begin(
        self, config: TrainingConfig, folder: run.RunFolder, known: str | None
    ) -> tuple[str, keras.callbacks.Callback, str]:
        """Begins a run of the tracker, or continues the `known` one; returns its id, a callback, and its place."""
        raise NotImplementedError

    def end(self, status: str) -> None:
        """Ends the tracker's run as `"finished"`, `"failed"` or `"killed"`."""
        raise NotImplementedError

    def set_model(self, model) -> None:
        super().set_model(model)
        self._callback.set_model(model)

    def on_train_begin(self, logs=None) -> None:
        self.guarded(lambda: self._callback.on_train_begin(logs))

    def on_epoch_end(self, epoch, logs=None) -> None:
        logged = {key: float(value) for key, value in (logs or {}).items()}
        logged["learning_rate"] = float(self.model.optimizer.learning_rate)
        self.guarded(lambda: self._callback.on_epoch_end(epoch, logged))

    def guarded(self, act: Callable[[], object]) -> None:
        """Calls `act` unless the tracker has failed before; logs its error."""
        if self._failed:
            return
        try:
            act()
        except Exception as error:
            self._failed = True
            _log.warning("%s failed (%s): the run goes on without it, and log.jsonl has all", self.name, _reason(error))


class _Wandb(_Tracker):
    name = "wandb"

    def begin(self, config, folder, known):
        import wandb
        from wandb.integration.keras import WandbMetricsLogger

        begun = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=_title(folder),
            id=known or uuid.uuid4().hex[:8],
            resume="allow",
            config=to_json(config),
            dir=folder.path,
            settings=wandb.Settings(silent=True, console="off"),
        )
        place = f"offline, in {folder / 'wandb'}; wandb sync sends it" if begun.offline else begun.url
        return begun.id, WandbMetricsLogger(log_freq="epoch"), place

    def end(self, status):
        import wandb

        wandb.finish(exit_code=0 if status == "finished" else 1)


class _Mlflow(_Tracker):
    name = "mlflow"

    def begin(self, config, folder, known):
        import mlflow
        from mlflow.keras import MlflowCallback

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table that it makes
        own = any(name in os.environ for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"))
        if known is None:
            begun = mlflow.start_run(run_name=_title(folder), experiment_id=None if own else _experiment(mlflow))
        else:
            begun = mlflow.start_run(run_id=known)
        if known is None:
            try:
                mlflow.log_params(values_of(config))
            except Exception:
                mlflow.end_run("FAILED")
                raise
        return begun.info.run_id, MlflowCallback(), f"run {begun.info.run_id} in {mlflow.get_tracking_uri()}"

    def end(self, status):
        import mlflow

        mlflow.end_run(status.upper())


_TRACKERS: dict[str, type[_Tracker]] = {tracker.name: tracker for tracker in (_Mlflow, _Wandb)}


def _experiment(mlflow: Any) -> str:
    """The id of the experiment of all runs, which is made with the first of them."""
    found = mlflow.get_experiment_by_name(_PROJECT)
    return mlflow.create_experiment(_PROJECT) if found is None else found.experiment_id


def _title(folder: run.RunFolder) -> str:
    return os.path.basename(os.path.abspath(folder.path))


def _read(folder: run.RunFolder) -> dict[str, Any]:
    if not os.path.exists(folder / run.TRACKER):
        return {}
    with open(folder / run.TRACKER, encoding="utf-8") as file:
        return json.load(file)


def _reason(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
