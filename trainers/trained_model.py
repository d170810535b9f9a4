"""The file of a trained model, and the run that wrote it."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from typing import TYPE_CHECKING, Any

from keras_mae.trainers import run
from keras_mae.trainers.config import AnyConfig
from keras_mae.trainers.training_parts import DecodedData

if TYPE_CHECKING:
    from keras_mae.data import Decoding, Source

_log = logging.getLogger("keras_mae")


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """The model that `--run` names.

    Attributes:
        path: of the `.keras` file.
        folder: the folder of the file's run, or None.
        config: the run's config, or None.
        data: the run's data specification, or None.
        seen: a summary of the run's data, see `RunFolder.seen`; empty without a run.
        init: what the run's first weights were, see `RunFolder.init`; empty without a run.
        directory: the working directory in which the run began; empty if it is not known.
    """

    path: str
    folder: str | None = None
    config: AnyConfig | None = None
    data: str | None = None
    seen: dict[str, Any] = dataclasses.field(default_factory=dict)
    init: dict[str, Any] = dataclasses.field(default_factory=dict)
    directory: str = ""

    def has_seen(self, data: str) -> bool:
        """Whether the run was trained on the images of a data specification, or on copies of them."""
        from keras_mae.data.sources import absolute, kept_images

        own = self.data
        return own is not None and absolute(kept_images(data)) == absolute(kept_images(own), self.directory)

    @property
    def licence(self) -> str | None:
        """The licence that came with the run's first weights, or that the file states; None for neither."""
        from keras_mae.checkpoints.licences import licence_inside

        return self.init.get("licence") or licence_inside(self.path)

    @property
    def crop_ratio(self) -> float:
        """The run's crop ratio of the evaluation transform; 0.875 if it is not known."""
        ratio = None if self.config is None else self.config.data.crop_ratio
        return 0.875 if ratio is None else ratio

    @property
    def decoding(self) -> Decoding:
        """The run's rules of decoding; the defaults if they are not known."""
        return (DecodedData() if self.config is None else self.config.data).decoding()


def find_model(path: str, name: str = run.ENCODER) -> TrainedModel:
    """The model that `--run` names: the folder of a run, or a `.keras` file, which may lie in one.

    Args:
        path: the folder or the file.
        name: of the file in a folder, such as `model.keras`.

    Raises:
        ValueError: if there is no such file, or the folder is not that of a finished run.
    """
    if not path.endswith(".keras"):
        if os.path.isfile(path):
            raise ValueError(
                f"{path} is neither the folder of a run nor a .keras file; make one of published weights with "
                f"keras-mae convert --checkpoint={path} --output=FILE.keras"
            )
        folder = run.RunFolder(path)
        config, data = folder.config()
        return _of_run(folder.model_path(name), folder, config, data)
    if not os.path.isfile(path):
        raise ValueError(f"there is no file {path}")
    for file in (os.path.abspath(path), os.path.realpath(path)):  # a link may lie in the run's folder, or point there
        folder = run.RunFolder(os.path.dirname(file))
        try:
            config, data = folder.config()
        except ValueError as error:  # the file is fine also beside another program's config.json
            if "earlier version" in str(error):
                _log.warning("%s: its crop ratio, bit depth and class names are not known here", error)
            continue
        return _of_run(path, folder, config, data)
    return TrainedModel(path)


def _of_run(path: str, folder: run.RunFolder, config: AnyConfig, data: str) -> TrainedModel:
    return TrainedModel(path, folder.path, config, data, folder.seen(), folder.init(), folder.directory())


def is_ours(source: str) -> bool:
    """Whether weights are those of a run's folder, or of a `.keras` file on this machine, which tell all of a model."""
    if not os.path.isdir(source):
        return source.endswith(".keras") and "://" not in source
    try:
        with open(os.path.join(source, run.CONFIG), encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError):
        return False
    # a preset of KerasHub has "config" too
    return isinstance(record, dict) and ("program" in record or {"config", "data"} <= record.keys())


def read_as_trained(dtype: str | None, model: str, *sources: Source) -> None:
    """Sets the depth to which image files are decoded to that of a model's training, as for an exported model.

    Another depth than the images' own is logged. Arrays keep their dtype: a model scales both to [0, 255].

    Args:
        dtype: of the images that the model was trained on, `"uint8"` or `"uint16"`; None if it is not known.
        model: its name in the log.
        sources: the images.
    """
    others = [source for source in sources if dtype not in (None, source.dtype)]
    if others:
        own, theirs = _BITS[others[0].dtype], _BITS[str(dtype)]
        how = f"files are read in {theirs} bits, as an exported model reads them"
        if not others[0].encoded:
            how = f"levels are scaled, so that {2**own - 1} counts as {2**theirs - 1} does there"
        _log.warning(
            "these images have %d bits a channel, and those that %s was trained on have %d: %s",
            own, model, theirs, how,
        )  # fmt: skip
    for source in others:
        if source.encoded:
            source.dtype = str(dtype)


def say_other_depth(trained: TrainedModel, source: Source) -> None:
    """Logs that a new run trains on images of another depth than the run that its weights come from."""
    dtype = trained.seen.get("dtype")
    if dtype not in (None, source.dtype):
        _log.warning(
            "these images have %d bits a channel, and those that %s was trained on have %d: this run and what is "
            "exported from it read %d bits",
            _BITS[source.dtype], trained.path, _BITS[str(dtype)], _BITS[source.dtype],
        )  # fmt: skip


_BITS = {"uint8": 8, "uint16": 16}


def say_if_outside(model: TrainedModel, defaults: str) -> None:
    """Logs the defaults for a file outside of a run, such as `"the crop ratio is 0.875"`."""
    if model.folder is None:
        _log.info("%s lies in no run's folder, so it does not say how it was trained: %s", model.path, defaults)
