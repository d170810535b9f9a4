"""The formats of files for other programs, and the check of a file against the live model."""

from __future__ import annotations

import json
import os

import numpy as np

from keras_mae.export.exchange_format import ExchangeFormat, NumbersOnly
from keras_mae.export.litert_file import LitertFile
from keras_mae.export.onnx_file import OnnxFile
from keras_mae.export.openvino_file import OpenvinoFile
from keras_mae.export.signatures import ServedModel
from keras_mae.export.verify import compare, example_cases, live_outputs

FORMATS: dict[str, ExchangeFormat] = {each.name: each for each in (OnnxFile(), LitertFile(), OpenvinoFile())}


def check(format: str, dtype: str) -> None:
    """Raises a ValueError if a format's packages are missing, or its files do not compute in `dtype`."""
    each = FORMATS[format]
    each.runtime()
    if dtype not in each.dtypes:
        formats = ["savedmodel", *(name for name, other in FORMATS.items() if dtype in other.dtypes)]
        raise ValueError(
            f"format {format!r} is written in {' or '.join(each.dtypes)}: pass dtype={each.dtypes[0]!r}, or for "
            f"{dtype} format={' or '.join(map(repr, formats))}"
        )


def write(served: ServedModel, path: str, format: str) -> None:
    """Writes the files of a format, and `metadata.json`, into the folder `path`.

    They take `images`, uint8 or uint16 `(B, H, W, C)` with a dynamic batch size, and give the numbers, but not the
    strings, of the signature `embed` or `classify`.

    Args:
        served: to export; it computes in one of the format's dtypes.
        path: an existing folder.
        format: a key of `FORMATS`.
    """
    each, metadata = FORMATS[format], served.metadata()
    each.write(NumbersOnly(served), os.path.join(path, each.files[0]), metadata.get("licence"))
    with open(os.path.join(path, "metadata.json"), "w", encoding="utf-8") as record:
        json.dump(metadata, record, indent=2)


def verify(
    served: ServedModel, path: str, format: str, images: np.ndarray | None = None, compute_dtype: str = "float32"
) -> dict[str, float]:
    """Runs the file in its own runtime, and compares it with the live model.

    Args:
        served: the live model.
        path: the folder of the file.
        format: a key of `FORMATS`.
        images: as for `verify_export`.
        compute_dtype: of the file.

    Returns:
        The largest absolute difference by `signature/input/output`.

    Raises:
        VerificationError: if one is larger than 1e-5 of the largest value; of a file in 8 bits, see `compare`.
    """
    signature = served.of_images[0]
    cases = {signature: example_cases(served, images)[signature]}
    expected = live_outputs(served, cases)
    each = FORMATS[format]
    found = {signature: each.run(os.path.join(path, each.files[0]), cases[signature]["images"])}
    numbers = {signature: {name: expected[signature][name] for name in found[signature]}}
    return compare(cases, numbers, found, {served.compute_dtype, compute_dtype})
