"""Operators that torchvision's import asks for, on a build of PyTorch that torchvision was not compiled for.

timm and transformers import torchvision where it is installed; nothing here calls its operators.
"""

import importlib.util

import torch

_SIGNATURES = [
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
]

try:
    if importlib.util.find_spec("torchvision") is not None:
        import torchvision  # noqa: F401
except RuntimeError:  # operator torchvision::nms does not exist
    LIBRARY = torch.library.Library("torchvision", "DEF")  # the definitions live as long as this object
    for signature in _SIGNATURES:
        LIBRARY.define(signature)
