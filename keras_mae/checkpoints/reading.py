"""The files that tensors come in: `.safetensors`, PyTorch's `.pth` and `.bin`, and our own `.keras`."""

from __future__ import annotations

import abc
import argparse
import os
import pickle
import re
import zipfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from keras_mae import _compat
from keras_mae.checkpoints.checkpoint_format import slots_of
from keras_mae.models.saved_files import load_model_file

SAFETENSORS = (".safetensors",)
TORCH = (".pth", ".pt", ".bin")
KERAS = (".keras",)
# What our files have in addition: in the metadata of safetensors, and in those of PyTorch's state dicts, `_metadata`
GRID_KEY = "keras_mae.grid"
_TORCH_VERSION = (2, 6)  # before, a pickle could run code in spite of weights_only=True: CVE-2025-32434
_MOST_MAPPED_BYTES = 2**28


class TensorFile(abc.ABC):
    """Named tensors in a file, read one at a time. A context manager.

    Attributes:
        path: the file.
        shapes: the shape of each tensor.
        grid: the (rows, columns) of patches that its position embeddings are for, if the file says so.
    """

    path: str
    shapes: dict[str, tuple[int, ...]]
    grid: tuple[int, int] | None = None

    @abc.abstractmethod
    def read(self, name: str) -> np.ndarray:
        """The tensor, in the layout and dtype that it is stored in."""

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is to be closed, unless a subclass says so."""


def open_tensors(path: str) -> TensorFile:
    """Opens a file of tensors; what kind it is, its ending says.

    Args:
        path: a `.safetensors`, `.pth`, `.pt`, `.bin` or `.keras` file.

    Raises:
        ValueError: if there is no such file, it is damaged or holds something else, or holds Python code.
    """
    opener = _by_ending(path, {SAFETENSORS: SafetensorsFile, TORCH: TorchFile, KERAS: KerasFile})
    if not os.path.isfile(path):
        raise ValueError(f"there is no checkpoint file {path}; expected a file ending in {_endings()}")
    return opener(path)


def _by_ending(path: str, kinds: dict[tuple[str, ...], Any]) -> Any:
    """What `kinds` holds for the ending of `path`."""
    for endings, kind in kinds.items():
        if path.lower().endswith(endings):
            return kind
    raise ValueError(f"a checkpoint's name ends in {_endings()}, got {path}; rename or convert the file")


def _endings() -> str:
    return ", ".join((*SAFETENSORS, *TORCH, *KERAS))


class SafetensorsFile(TensorFile):
    """A `.safetensors` file, of which only the tensors that are asked for are read."""

    def __init__(self, path: str) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = path
        try:
            # `pread`, as mapped pages would count as the process' memory: one more copy of the file
            self._file = safe_open(path, framework="numpy", backend="pread")
        except SafetensorError as error:
            raise _damaged(path, "a safetensors file") from error
        self.shapes = {name: tuple(self._file.get_slice(name).get_shape()) for name in self._file.keys()}
        self.grid = _grid((self._file.metadata() or {}).get(GRID_KEY))

    def read(self, name: str) -> np.ndarray:
        return self._file.get_tensor(name)

    def __exit__(self, *_: object) -> None:
        del self._file


class TorchFile(TensorFile):
    """A file of `torch.save`, read by PyTorch's unpickler for weights, which runs no code.

    The file is mapped into memory. Pages that were read count as the process' own for as long as they are mapped, so
    it is mapped anew now and then.
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
        if tensor.dtype == self._torch.bfloat16:  # which NumPy knows through ml_dtypes only
            return tensor.view(self._torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return tensor.numpy()

    def _load(self) -> None:
        try:
            self._is_mapped = zipfile.is_zipfile(self.path)  # files older than PyTorch 1.6 cannot be
            # training scripts store their command line along, as argparse's namespace; it holds values only
            with self._torch.serialization.safe_globals([argparse.Namespace]):
                content = self._torch.load(self.path, map_location="cpu", weights_only=True, mmap=self._is_mapped)
        except pickle.UnpicklingError as error:
            raise _refused(self.path, error) from error
        except Exception as error:  # whatever unpickling comes upon in bytes that are none of its own
            raise _damaged(self.path, "a file of torch.save") from error
        self._tensors, self._bytes_read = _state_dict(content, self.path), 0
        said = [_compat.note_of(each).get(GRID_KEY) for each in _dicts(content)]
        self.grid = next((grid for grid in map(_grid, said) if grid), None)


def import_torch(path: str) -> ModuleType:
    """PyTorch, which reading or writing the file `path` needs.

    Raises:
        ValueError: if it is not installed, or too old to be safe.
    """
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
    """A model of this package saved by Keras; its tensors have our names, and PyTorch's layout like all others.

    Attributes:
        model: the model.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.model = load_model_file(path)
        self._slots = {slot.name: slot for slot in slots_of(self.model)}
        self.grid = getattr(self.model, "encoder", self.model).grid
        self.shapes = {name: slot.file_shape for name, slot in self._slots.items()}

    def read(self, name: str) -> np.ndarray:
        slot = self._slots[name]
        return slot.layout.to_file(slot.value)


def _dicts(content: Any) -> Iterator[dict[str, Any]]:
    """A dict, and those in it, if their keys are names; an optimizer's are numbers."""
    if isinstance(content, dict) and all(isinstance(key, str) for key in content):
        yield content
        for value in content.values():
            yield from _dicts(value)


def _named_tensors(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors in a dict of dicts, by the keys on the way to them, joined by dots."""
    if isinstance(content, dict) and all(isinstance(key, str) for key in content):
        for name, value in content.items():
            yield from _named_tensors(value, f"{prefix}.{name}" if prefix else name)
    elif hasattr(content, "detach") and prefix:
        yield prefix, content


def _state_dict(content: Any, path: str) -> dict[str, Any]:
    """The tensors by name; what a training script puts beside them, such as its optimizer's lists, is left out."""
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds no tensors by name but a {type(content).__name__}; save model.state_dict()")
    tensors = dict(_named_tensors(content))
    if not tensors:
        raise ValueError(
            f"{path} should hold tensors by name, alone or in dicts by name; these are no tensors: "
            f"{', '.join(map(str, list(content)[:8]))}; save model.state_dict()"
        )
    return tensors


def _grid(text: Any) -> tuple[int, int] | None:
    """The grid in a text such as 14x14; None for anything else."""
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2])) if match else None


def _refused(path: str, error: Exception) -> ValueError:
    """What PyTorch's unpickler for weights could not read; its own message advises to switch the safety off."""
    named = re.search(r"\bGLOBAL (\S+)", str(error))
    with open(path, "rb") as file:
        is_pickle = file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    if named is None and not is_pickle:
        return _damaged(path, "a file of torch.save")
    what = named[1] if named else "an operation that tensors do not need"
    return ValueError(
        f"{path} holds more than tensors ({what}), and reading that could run code; it was refused, and nothing was "
        "executed. If you trust its author, open it in PyTorch and save model.state_dict() alone"
    )


def _damaged(path: str, kind: str) -> ValueError:
    return ValueError(
        f"{path} ({os.path.getsize(path):,} bytes) is not {kind}, or is truncated: get it again, and compare its size "
        "with the original's"
    )
