"""The one place where `.keras` files are read: by people who may not have written them."""

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
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.targets import Target

_MODULES = (
    "keras",
    "keras.activations",
    "keras.constraints",
    "keras.initializers",
    "keras.layers",
    "keras.losses",
    "keras.metrics",
    "keras.models",
    "keras.optimizers",
    "keras.optimizers.schedules",
    "keras.regularizers",
)
_OURS = "keras_mae>"
# What a program may add classes of its own to, which it has then registered itself
_EXTENSIBLE = (Encoder, Decoder, MaskSampler, Target, MaskedLoss, MaskedImageModel)
_RUNS_CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__")
_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")
_LARGEST_CONFIG = 2**26


def load_model_file(path: str) -> keras.Model:
    """The model in a `.keras` file of this package, without its optimizer.

    Nothing in the file can run code: it is refused before Keras sees it if it names anything but classes of this
    package, plain layers, initializers and activations of Keras, and encoders, decoders, masks, targets, losses and
    methods that the running program has registered itself, which are made with the file's arguments.

    Args:
        path: the file.

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
    except Exception as error:  # whatever Keras, h5py and the constructors make of a damaged file
        own = " ".join(str(error).split())
        raise ValueError(
            f"{path} is damaged, or another version of keras_mae has written it: its settings or weights do not make "
            f"a {config['class_name']} ({type(error).__name__}: {own[:160]})"
        ) from error
    if not isinstance(model, keras.Model):
        raise ValueError(f"{path} holds a {type(model).__name__}, and not a model; save the model with model.save(...)")
    return model


def read_encoder_arguments(path: str) -> dict[str, Any]:
    """What the encoder in a `.keras` file was made with, without making it.

    Raises:
        ValueError: in one line, if it is damaged, is something else, or holds no encoder.
    """
    parts = list(_objects(_config(path)))
    for part in parts:
        _check_object(part, path)
    for part in parts:
        kind = keras.saving.get_registered_object(str(part.get("registered_name")))
        if isinstance(kind, type) and issubclass(kind, Encoder):
            return part["config"]
    raise ValueError(f"{path} holds no encoder")


def _config(path: str) -> dict[str, Any]:
    """What the file says its model is."""
    size = f"{path} ({os.path.getsize(path):,} bytes)"
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            absent = [name for name in _MEMBERS if name not in sizes]
            if absent:
                raise ValueError(f"{size} is not a model saved by this package: it holds no {absent[0]}")
            if sizes["config.json"] > _LARGEST_CONFIG or sum(sizes.values()) > 4 * os.path.getsize(path) + 2**20:
                raise ValueError(
                    f"{size} is not a model saved by this package: it unpacks to {sum(sizes.values()):,} bytes"
                )
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, RecursionError) as error:
        raise ValueError(
            f"{size} is not a model saved by this package, or is truncated ({str(error)[:80]}): get it again, and "
            "compare its size with the original's"
        ) from error
    except ValueError as error:
        if str(error).startswith(path):
            raise
        raise ValueError(f"{size} is not a model saved by this package: its config.json is no JSON") from error
    if not isinstance(config, dict):
        raise ValueError(f"{size} is not a model saved by this package: its config.json describes no model")
    return config


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every description of an object in a config, at any depth."""
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
    """Whether a class has a name of this package, or this program has registered it as one of its extensions."""
    if not isinstance(registered, str):
        return False
    kind = keras.saving.get_registered_object(registered)
    if registered.startswith(_OURS):
        return True
    return isinstance(kind, type) and issubclass(kind, _EXTENSIBLE) and kind.__name__ == name


def _check_object(part: dict[str, Any], path: str) -> None:
    """Refuses an object that is neither ours nor a plain one of Keras."""
    name, module, registered = (part.get(key) for key in ("class_name", "module", "registered_name"))
    if name in _RUNS_CODE:
        raise ValueError(f"{path} holds a {name}, which can run code of whoever wrote the file: it was refused")
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
        "whoever wrote the file: it was refused. Load it yourself with keras.saving.load_model if you trust them"
    )
