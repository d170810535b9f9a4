"""A model's weights in a folder as timm and transformers take them: safetensors and `config.json`."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import keras

from keras_mae.checkpoints.licences import write_licence
from keras_mae.checkpoints.save import write_checkpoint
from keras_mae.encoders import Encoder
from keras_mae.export.timm_config import timm_config
from keras_mae.models import ImageClassifier

FILE, TIMM_FILE, KERAS_FILE, CONFIG = "model.safetensors", "timm.safetensors", "encoder.keras", "config.json"


@dataclasses.dataclass(frozen=True)
class Weights:
    """What `write_weights` has written.

    Attributes:
        model: the model in the file: the one that was given, or its encoder alone.
        file: the file's name.
        format: its format: `hf`, `timm`, `simmim_torch` or `keras`.
        config: the contents of `config.json`; empty if no other library has such a model.
    """

    model: Any
    file: str
    format: str
    config: dict[str, Any]

    @property
    def timm_file(self) -> str | None:
        """The file that timm reads; None if it has no such model."""
        if "architecture" not in self.config:
            return None
        return self.file if self.format == "timm" else TIMM_FILE


def write_weights(
    model: Encoder | ImageClassifier,
    folder: str,
    licence: str | None = None,
    class_names: Sequence[str] = (),
    crop_ratio: float = 0.875,
) -> Weights:
    """Writes a model's weights into a folder, under the names of the first library here that has such a model.

    These are transformers, timm, SimMIM's code, and else our own `.keras` file. If transformers is the first and timm
    has the model, too, `timm.safetensors` has the same weights under timm's names. A classifier that none of these has,
    such as a linear probe with its BatchNorm, is written without its head.

    Args:
        model: an encoder, or a classifier.
        folder: it exists, and is empty.
        licence: of the weights, which is written into each file.
        class_names: of a classifier; empty for numbers.
        crop_ratio: of the evaluation transform, for timm's config.
    """
    whole = [model] if isinstance(model, ImageClassifier) and not model.is_probe else []
    target: Any
    for target in [*whole, getattr(model, "encoder", model)]:
        timm = timm_config(target, class_names, crop_ratio)
        formats = ["hf", *(["timm"] if timm else [])]
        if getattr(getattr(target, "encoder", target), "relative_position_bias", None) is not None:
            formats.append("simmim_torch")
        for format in formats:
            if not _saved(target, os.path.join(folder, FILE), format, licence):
                continue
            config = _hugging_face(folder, target, class_names) if format == "hf" else {}
            if format == "hf" and not config:
                continue
            if timm is not None and (
                format == "timm" or _saved(target, os.path.join(folder, TIMM_FILE), "timm", licence)
            ):
                extra = {"hf_hub_filename": TIMM_FILE} if format == "hf" else {}
                config = {**timm, "pretrained_cfg": {**timm["pretrained_cfg"], **extra}, **config}
            if config:
                _write_json(os.path.join(folder, CONFIG), config)
            return Weights(target, FILE, format, config)
    if os.path.exists(os.path.join(folder, FILE)):
        os.remove(os.path.join(folder, FILE))
    target.save(os.path.join(folder, KERAS_FILE))
    write_licence(os.path.join(folder, KERAS_FILE), licence)
    return Weights(target, KERAS_FILE, "keras", {})


def _saved(model: keras.Model, path: str, format: str, licence: str | None) -> bool:
    """Writes a file, if the format has a place for the model."""
    try:
        write_checkpoint(model, path, format, licence)
    except ValueError:
        return False
    return True


def _hugging_face(folder: str, model: keras.Model, class_names: Sequence[str]) -> dict[str, Any]:
    """The config that was written beside a file in Hugging Face's format; empty if there is none."""
    path = os.path.join(folder, CONFIG)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    if class_names and "id2label" in config:
        config["id2label"] = {str(index): name for index, name in enumerate(class_names)}
        config["label2id"] = {name: index for index, name in enumerate(class_names)}
    return config


def _write_json(path: str, content: dict[str, Any]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
