"""Folders of exported models, without TensorFlow."""

from __future__ import annotations

import json
import os
from typing import Any

METADATA = os.path.join("assets", "metadata.json")  # in the folder of a version
_SAVED_MODEL = "saved_model.pb"


def exported_version(path: str) -> str:
    """The folder of an exported model's version: `path` itself, or the newest version below it.

    Raises:
        ValueError: if there is no SavedModel.
    """
    if os.path.isfile(os.path.join(path, _SAVED_MODEL)):
        return path
    below = os.listdir(path) if os.path.isdir(path) else []
    numbers = [int(name) for name in below if name.isdigit()]
    versions = [number for number in sorted(numbers) if os.path.isfile(os.path.join(path, str(number), _SAVED_MODEL))]
    if not versions:
        raise ValueError(
            f"{path} is no exported model: neither it nor a version below it holds a {_SAVED_MODEL}; write one with "
            "keras-mae export, or name a run with --run"
        )
    return os.path.join(path, str(versions[-1]))


def exported_metadata(version: str) -> dict[str, Any]:
    """What the export of an encoder says of itself; a `ValueError` if it is another model's."""
    path = os.path.join(version, METADATA)
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if "pooling" not in found:
            raise ValueError(f"{version} is an exported {found['model']}, and gives no embeddings: export its encoder")
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{version} is no encoder that keras-mae export has written: it has no {METADATA} that says so"
        ) from error
    return found
