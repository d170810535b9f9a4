"""The dtype in which an exported model computes."""

from __future__ import annotations

from typing import Any

import keras

_POLICIES = {"float32": "float32", "bfloat16": "bfloat16"}


def model_in_dtype(model: keras.Model, dtype: str) -> Any:
    """`model` itself, or a copy that computes in `dtype`, and has its weights in it.

    So a server has no weights to cast for each request, and half of them to read. Heads stay in float32.
    """
    if dtype not in _POLICIES:
        raise ValueError(f"dtype is one of {', '.join(_POLICIES)}, int8; got {dtype!r}")
    return model if model.dtype_policy.name == _POLICIES[dtype] else copy_in_dtype(model, dtype)


def copy_in_dtype(model: keras.Model, dtype: str) -> Any:
    """A copy of `model` that computes in `dtype`, and has its weights in it."""
    config = {**model.get_config(), "dtype": _POLICIES[dtype]}
    for part in ("encoder", "decoder"):
        if part in config:
            config[part]["config"]["dtype"] = _POLICIES[dtype]
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    return copy
