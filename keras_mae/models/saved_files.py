"""The one place that reads `.keras` files, which may come from others."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from typing import Any

import keras

from keras_mae.decoders import Decoder
from keras_mae.encoders import Encoder
from keras_mae.losses import MaskedLoss
from keras_mae.masking import MaskSampler
from keras_mae.models.image_head import ImageHead
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.targets import Target

_PARTS_OF_KERAS = (
    *("activations", "constraints", "initializers", "layers", "losses", "metrics", "models"),
    *("optimizers", "optimizers.schedules", "regularizers"),
)
_MODULES = ("keras", *(f"keras.{name}" for name in _PARTS_OF_KERAS))
_OURS = "keras_mae>"
# Bases of classes that a program may register itself
_EXTENSIBLE = (Encoder, Decoder, MaskSampler, Target, MaskedLoss, MaskedImageModel, ImageHead)
_RUNS_CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__")
_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")
_LARGEST_CONFIG = 2**26


def load_model_file(path: str) -> keras.Model:
    """The model in a `.keras` file of this package, without its optimizer.

    No file can run code: before Keras reads it, it is refused if it names anything but classes of this package, plain
    layers, initializers and activations of Keras, and encoders, decoders, masks, targets, losses and methods that the
    running program has registered itself.

    Raises:
        ValueError: in one line, if there is no such file, it is damaged, is something else, names another class, or
            its weights do not fit.
    """
    if not os.path.isfile(path):
        raise ValueError(f"there is no file {path}" if not os.path.isdir(path) else f"{path} is a folder, not a file")
    config = _config(path)
    for part in _objects(config):
        _check_object(part, path)
    if not _is_ours(config.get("registered_name"), config.get("class_name")):
        raise ValueError(
            f"{path} holds a {config.get('class_name')!s:.60}, and not a model of this package: an encoder, an "
            "autoencoder or a classifier that keras_mae has saved"
        )
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras, h5py and constructors raise many kinds for damaged files
        own = " ".join(str(error).split())
        raise ValueError(
            f"{path} is damaged, or another version of keras_mae has written it: its settings or weights do not make "
            f"a {config['class_name']} ({type(error).__name__}: {own[:160]})"
        ) from error
    if not isinstance(model, keras.Model):
        raise ValueError(f"{path} holds a {type(model).__name__}, and not a model; save the model with model.save(...)")
    return model


def read_parts(path: str) -> list[tuple[str, dict[str, Any]]]:
    """Class and constructor arguments of each object in a `.keras` file, the model's own first; nothing is built.

    Raises:
        ValueError: in one line, if the file is damaged, is something else, or names a class that could run code.
    """
    parts = list(_objects(_config(path)))
    for part in parts:
        _check_object(part, path)
    return [(str(part.get("registered_name")), part.get("config") or {}) for part in parts]


def read_encoder_arguments(path: str) -> dict[str, Any]:
    """The constructor arguments of the encoder in a `.keras` file.

    Raises:
        ValueError: in one line, if the file is damaged, is something else, or holds no encoder.
    """
    for name, arguments in read_parts(path):
        kind = keras.saving.get_registered_object(name)
        if isinstance(kind, type) and issubclass(kind, Encoder):
            return arguments
    raise ValueError(f"{path} holds no encoder")


def _config(path: str) -> dict[str, Any]:
    not_ours = f"{path} ({os.path.getsize(path):,} bytes) is not a model saved by this package"
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            absent = [name for name in _MEMBERS if name not in sizes]
            if absent:
                raise ValueError(f"{not_ours}: it holds no {absent[0]}")
            if sizes["config.json"] > _LARGEST_CONFIG or sum(sizes.values()) > 4 * os.path.getsize(path) + 2**20:
                raise ValueError(f"{not_ours}: it unpacks to {sum(sizes.values()):,} bytes")
            text = archive.read("config.json")
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if str(error).startswith(not_ours):
            raise
        raise ValueError(
            f"{not_ours}, or is truncated ({str(error)[:80]}): get it again, and compare its size with the original's"
        ) from error
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{not_ours}: its config.json is no JSON") from error
    if not isinstance(config, dict):
        raise ValueError(f"{not_ours}: its config.json describes no model")
    return config


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """The descriptions of all objects in a config, at any depth."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            if "class_name" in each:
                yield each
            pending += each.values()
        elif isinstance(each, list):
            pending += each


def _is_ours(registered: Any, name: Any) -> bool:
    """Whether a class has a name of this package, or is an extension that this program has registered."""
    if not isinstance(registered, str):
        return False
    kind = keras.saving.get_registered_object(registered)
    is_extension = isinstance(kind, type) and issubclass(kind, _EXTENSIBLE) and kind.__name__ == name
    return registered.startswith(_OURS) or is_extension


def _check_object(part: dict[str, Any], path: str) -> None:
    """Raises a ValueError for an object that is neither ours nor a plain one of Keras."""
    name, module, registered = (part.get(key) for key in ("class_name", "module", "registered_name"))
    if name in _RUNS_CODE:
        raise ValueError(f"{path} holds a {name}, which can run code of the file's author: it was refused")
    if name == "function":
        if isinstance(part.get("config"), str) and hasattr(keras.activations, part["config"]):
            return
        raise ValueError(f"{path} names the function {part.get('config')!s:.60}, and can run code: it was refused")
    if _is_ours(registered, name):
        if keras.saving.get_registered_object(registered) is None:
            raise ValueError(f"{path} holds a {name}, which this version of keras_mae does not know")
        return
    if module in _MODULES or (module is None and name in ("__tuple__", "TensorShape", "__tensor__", "__numpy__")):
        return
    if module == "builtins" and name in ("__tuple__", "slice", "__ellipsis__"):
        return
    raise ValueError(
        f"{path} names {module}.{name}, which is not part of keras_mae nor a plain layer of Keras, and can run code of "
        "the file's author: it was refused. If you trust the author, load it with keras.saving.load_model"
    )
