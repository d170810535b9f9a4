"""Writes SavedModels in the folder layout of TF Serving."""

from __future__ import annotations

import os
import shutil
import uuid

import numpy as np
import tensorflow as tf

from keras_mae.export.signatures import ServedEncoder
from keras_mae.export.verify import verify_encoder
from keras_mae.models import ViTEncoder


def export_encoder(
    encoder: ViTEncoder,
    directory: str,
    version: int = 1,
    pooling: str = "mean",
    crop_ratio: float = 0.875,
    images: np.ndarray | None = None,
) -> str:
    """Writes `<directory>/<version>/`, a SavedModel that TF Serving picks up.

    Its signatures, all with a dynamic batch size and float32 outputs:

    - `serving_default`: `image_bytes` string `(B,)`, JPEG, PNG, BMP or GIF files -> `embedding` `(B, D)`
    - `embed`: `images` uint8 `(B, H, W, C)` -> `embedding` `(B, D)`
    - `features`: `images` -> `cls_token` `(B, D)`, `patch_tokens` `(B, L, D)`

    It is written aside, checked in a fresh process against the live encoder, and renamed: it appears whole or not
    at all.

    Args:
        encoder: what is exported.
        directory: the model's folder; its name is the model's name in TF Serving.
        version: a positive integer; TF Serving takes the highest.
        pooling: what an embedding is: the `"mean"` of the patch tokens, or the `"cls"` token.
        crop_ratio: of the evaluation transform that image files go through, see
            `keras_mae.data.evaluation_transform`.
        images: uint8 `(N, H, W, C)` for the check; None draws some.

    Returns:
        The path `<directory>/<version>`.

    Raises:
        ValueError: if the version is there already, or an argument is bad.
        RuntimeError: if the written model does not give what the live one gives; nothing is left behind then.
    """
    if version < 1 or version != int(version):
        raise ValueError(f"a version is a positive integer, got {version!r}")
    final = os.path.join(directory, str(version))
    if os.path.exists(final):
        raise ValueError(f"{final} is there already, and a served version never changes: export a higher version")
    served = ServedEncoder(encoder, pooling, crop_ratio)
    aside = os.path.join(directory, f".{version}.{uuid.uuid4().hex[:8]}")  # TF Serving looks at numbers only
    try:
        tf.saved_model.save(served, aside, signatures=served.signatures())
        verify_encoder(served, aside, encoder.image_shape, images)
        os.rename(aside, final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final
