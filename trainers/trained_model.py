"""A trained model's file, and what the run that wrote it knows of it."""

from __future__ import annotations

import dataclasses
import logging
import os
from typing import Any

from keras_mae.trainers import run
from keras_mae.trainers.config import AnyConfig

CROP_RATIO = 0.875  # of a file that no run knows: the evaluation transform's default

_log = logging.getLogger("keras_mae")


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """What `--run` names.

    Attributes:
        path: of the `.keras` file.
        folder: the folder of the run that the file lies in, or None.
        config: the run's config, or None.
        data: the run's data specification, or None.
        seen: what the run saw of its data, see `RunFolder.seen`; empty without a run.
    """

    path: str
    folder: str | None = None
    config: AnyConfig | None = None
    data: str | None = None
    seen: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def crop_ratio(self) -> float:
        """Of the evaluation transform, as the run had it; 0.875 if there is none that says."""
        ratio = None if self.config is None else self.config.data.crop_ratio
        return CROP_RATIO if ratio is None else ratio

    @property
    def class_names(self) -> list[str] | None:
        """The names of the classes in order, if the run's data had some."""
        return self.seen.get("class_names") or None

    @property
    def pixel_dtype(self) -> str | None:
        """The dtype of the run's images, `"uint8"` or `"uint16"`, if it is known."""
        return self.seen.get("dtype")


def find_model(path: str, name: str = run.ENCODER) -> TrainedModel:
    """The model that `--run` names: the folder of a run, or a `.keras` file, which may lie in one.

    Args:
        path: the folder or the file.
        name: which file of a folder, such as `model.keras`.

    Raises:
        ValueError: if there is no such file, or the folder is not that of a run, or of one that has not finished.
    """
    if not path.endswith(".keras"):
        folder = run.RunFolder(path)
        config, data = folder.config()
        return TrainedModel(folder.model_path(name), path, config, data, folder.seen())
    if not os.path.isfile(path):
        raise ValueError(f"there is no file {path}")
    for file in (os.path.abspath(path), os.path.realpath(path)):  # a link may lie in the run's folder, or point there
        folder = run.RunFolder(os.path.dirname(file))
        try:
            config, data = folder.config()
        except ValueError as error:  # somebody else's config.json is no reason not to take the file
            if "earlier version" in str(error):
                _log.warning("%s: its crop ratio, bit depth and class names are not known here", error)
            continue
        return TrainedModel(path, folder.path, config, data, folder.seen())
    return TrainedModel(path)


def say_if_outside(model: TrainedModel, defaults: str) -> None:
    """Logs what is taken for a file that no run knows, such as `"the crop ratio 0.875; set it with ..."`."""
    if model.folder is None:
        _log.info("%s lies in no run's folder, so it does not say how it was trained: %s", model.path, defaults)
