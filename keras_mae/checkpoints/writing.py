"""Writes tensors to `.safetensors`, or to PyTorch's `.pth` and `.bin`."""

from __future__ import annotations

import os

import ml_dtypes
import numpy as np

from keras_mae.checkpoints.reading import SAFETENSORS, TORCH


def write_tensors(path: str, tensors: dict[str, np.ndarray], wrapper: str | None = None) -> None:
    """Writes named tensors; the file appears whole or not at all.

    Args:
        path: the file; its ending chooses the kind.
        tensors: arrays by name.
        wrapper: in PyTorch's files, the key that the tensors are put under.

    Raises:
        ValueError: for another ending, or if PyTorch is needed and not installed.
    """
    if not path.lower().endswith((*SAFETENSORS, *TORCH)):
        raise ValueError(f"this format is written to {', '.join((*SAFETENSORS, *TORCH))} files, got {path}")
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    unfinished = os.path.join(folder, f".{os.path.basename(path)}.{os.getpid()}.unfinished")
    try:
        if path.lower().endswith(SAFETENSORS):
            from safetensors.numpy import save_file

            # "format" tells Hugging Face and timm that the tensors are in PyTorch's layout
            contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
            save_file(contiguous, unfinished, metadata={"format": "pt"})
        else:
            _save_torch(unfinished, tensors, wrapper)
        os.replace(unfinished, path)
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)


def _save_torch(path: str, tensors: dict[str, np.ndarray], wrapper: str | None) -> None:
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            "PyTorch is needed to write .pth, .pt and .bin files: pip install 'keras-mae[torch]', or write a "
            ".safetensors file, which needs none"
        ) from error

    def tensor(array: np.ndarray) -> torch.Tensor:
        array = np.array(array, order="C")  # PyTorch wants memory that it may write to
        if array.dtype == ml_dtypes.bfloat16:
            return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
        return torch.from_numpy(array)

    content = {name: tensor(array) for name, array in tensors.items()}
    torch.save({wrapper: content} if wrapper else content, path)
