"""Files of tensors: `.safetensors`, PyTorch's `.pth` and `.bin`, and our own `.keras`."""

from __future__ import annotations

import abc
import argparse
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from keras_mae import _compat
from keras_mae.checkpoints.checkpoint_format import slots_of
from keras_mae.checkpoints.keras_hub import from_keras_hub
from keras_mae.checkpoints.metadata import grid_of
from keras_mae.models.saved_files import load_model_file
from keras_mae.registry import listed

SAFETENSORS = (".safetensors",)
TORCH = (".pth", ".pt", ".bin")
KERAS = (".keras",)
KERAS_HUB = (".weights.h5",)  # in the folder of a preset
LICENCE_KEY = "keras_mae.licence"  # in the metadata of our safetensors files, and of our PyTorch state dicts
_TORCH_VERSION = (2, 6)  # older ones can run code in a pickle in spite of weights_only=True: CVE-2025-32434
_MOST_MAPPED_BYTES = 2**28


class TensorFile(abc.ABC):
    """Named tensors in a file, read one at a time. A context manager.

    Attributes:
        path: the file.
        shapes: the shape of each tensor.
        grid: the (rows, columns) of patches of its position embeddings, if the file states them.
        licence: of its weights, if the file is of PyTorch and states it; see `keras_mae.checkpoints.licences`.
        metadata: texts by name that the file holds beside its tensors.
    """

    path: str
    shapes: dict[str, tuple[int, ...]]
    metadata: Mapping[str, Any] = MappingProxyType({})
    grid: tuple[int, int] | None = None
    licence: str | None = None

    @abc.abstractmethod
    def read(self, name: str) -> np.ndarray:
        """The tensor, in its stored layout and dtype."""

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file, in subclasses that keep it open."""


def open_tensors(path: str) -> TensorFile:
    """Opens a `.safetensors`, `.pth`, `.pt`, `.bin` or `.keras` file, or KerasHub's weights of a preset, by its ending.

    Raises:
        ValueError: if there is no such file, it is damaged or holds something else, or holds Python code.
    """
    endings = ", ".join((*SAFETENSORS, *TORCH, *KERAS))
    kinds: dict[tuple[str, ...], Any] = {SAFETENSORS: SafetensorsFile, TORCH: TorchFile, KERAS: KerasFile}
    kinds[KERAS_HUB] = KerasHubFile
    kind = next((kind for its_endings, kind in kinds.items() if path.lower().endswith(its_endings)), None)
    if kind is None:
        raise ValueError(f"a checkpoint's name ends in {endings}, got {path}; rename or convert the file")
    if not os.path.isfile(path):
        raise ValueError(f"there is no checkpoint file {path}; expected a file ending in {endings}")
    return kind(path)


class SafetensorsFile(TensorFile):
    """A `.safetensors` file; only the requested tensors are read."""

    def __init__(self, path: str) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = path
        try:
            # mapped pages would count as the process' memory, one more copy of the file; `pread` maps none
            self._file = safe_open(path, framework="numpy", backend="pread")
        except SafetensorError as error:
            raise _damaged(path, "a safetensors file") from error
        self.shapes = {name: tuple(self._file.get_slice(name).get_shape()) for name in self._file.keys()}
        self.metadata = self._file.metadata() or {}
        self.grid = grid_of(self.metadata)

    def read(self, name: str) -> np.ndarray:
        return self._file.get_tensor(name)

    def __exit__(self, *_: object) -> None:
        del self._file


class TorchFile(TensorFile):
    """A file of `torch.save`, read by PyTorch's unpickler for weights, which runs no code.

    The file is mapped into memory. Mapped pages that were read count as the process' memory, so the file is mapped
    anew from time to time.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._torch = import_torch(path)
        self._load()
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self._tensors.items()}

    def read(self, name: str) -> np.ndarray:
        if self._is_mapped and self._bytes_read > _MOST_MAPPED_BYTES:
            self._load()
        tensor = self._tensors[name].detach().contiguous()
        self._bytes_read += tensor.nbytes
        if tensor.dtype == self._torch.bfloat16:  # NumPy has it through ml_dtypes only
            return tensor.view(self._torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return tensor.numpy()

    def _load(self) -> None:
        try:
            self._is_mapped = zipfile.is_zipfile(self.path)  # files older than PyTorch 1.6 cannot be
            # training scripts store their command line too, as argparse's namespace; it holds values only
            with self._torch.serialization.safe_globals([argparse.Namespace]):
                content = self._torch.load(self.path, map_location="cpu", weights_only=True, mmap=self._is_mapped)
        except pickle.UnpicklingError as error:
            raise _refused(self.path, error) from error
        except Exception as error:  # unpickling other bytes may raise anything
            raise _damaged(self.path, "a file of torch.save") from error
        self._tensors, self._bytes_read = _state_dict(content, self.path), 0
        said = [_compat.note_of(each) for _, each in _dicts(content)]
        self.metadata = next((each for each in said if grid_of(each)), {})
        self.grid = grid_of(self.metadata)
        licences = [_compat.note_of(each).get(LICENCE_KEY) for _, each in _dicts(content)]
        self.licence = next((licence for licence in licences if isinstance(licence, str)), None)


def import_torch(path: str) -> ModuleType:
    """Imports PyTorch to read or write `path`; raises a ValueError if it is not installed, or too old to be safe."""
    remedy = "pip install 'keras-mae[torch]'; files that end in .safetensors need no PyTorch"
    try:
        import torch
    except ImportError as error:
        raise ValueError(f"PyTorch is needed to read or write {path}: {remedy}") from error
    if tuple(map(int, torch.__version__.split(".")[:2])) < _TORCH_VERSION:
        raise ValueError(
            f"PyTorch {'.'.join(map(str, _TORCH_VERSION))} or newer is needed to read or write {path}: the installed "
            f"{torch.__version__} could be made to run code in it; {remedy}"
        )
    return torch


class KerasFile(TensorFile):
    """A model of this package saved by Keras, `model`; its tensors have our names, and PyTorch's layout."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.model = self._load(path)
        self._slots = {slot.name: slot for slot in slots_of(self.model, with_target=False)}
        self.grid = getattr(self.model, "encoder", self.model).grid
        self.shapes = {name: slot.file_shape() for name, slot in self._slots.items()}

    def read(self, name: str) -> np.ndarray:
        slot = self._slots[name]
        return slot.layout.to_file(slot.value)

    def _load(self, path: str) -> Any:
        return load_model_file(path)


class KerasHubFile(KerasFile):
    """The weights of KerasHub's preset in their folder, as the encoder that they become, `model`."""

    def _load(self, path: str) -> Any:
        return from_keras_hub(os.path.dirname(os.path.abspath(path)))


def _dicts(content: Any, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """A dict and all dicts in it, by the keys on the way, each with a dot; without those that have keys of numbers."""
    if isinstance(content, dict) and all(isinstance(key, str) for key in content):
        yield prefix, content
        for name, value in content.items():
            yield from _dicts(value, f"{prefix}{name}.")


def _state_dict(content: Any, path: str) -> dict[str, Any]:
    """The tensors by name, without other content such as the lists of an optimizer."""
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds no tensors by name but a {type(content).__name__}; save model.state_dict()")
    tensors = {
        prefix + name: value
        for prefix, each in _dicts(content)
        for name, value in each.items()
        if hasattr(value, "detach")
    }
    if not tensors:
        raise ValueError(
            f"{path} should hold tensors by name, alone or in dicts by name; these are no tensors: "
            f"{listed(map(str, content))}; save model.state_dict()"
        )
    return tensors


def _refused(path: str, error: Exception) -> ValueError:
    """The error for content that PyTorch's unpickler refuses; its own message advises to switch the safety off."""
    named = re.search(r"\bGLOBAL (\S+)", str(error))
    with open(path, "rb") as file:
        is_pickle = file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    if named is None and not is_pickle:
        return _damaged(path, "a file of torch.save")
    what = named[1] if named else "an operation that tensors do not need"
    return ValueError(
        f"{path} holds more than tensors ({what}), and reading it could run code: it was refused, and nothing was "
        "executed. If you trust its author, open it in PyTorch and save model.state_dict() alone"
    )


def _damaged(path: str, kind: str) -> ValueError:
    return ValueError(
        f"{path} ({os.path.getsize(path):,} bytes) is not {kind}, or is truncated: get it again, and compare its size "
        "with the original's"
    )
