"""Writes models as SavedModels in the folder layout of TF Serving, or as files of other formats in the same layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_mae.data.decoding import Decoding
from keras_mae.encoders import Encoder
from keras_mae.export import exchange_formats
from keras_mae.export.computing import model_in_dtype
from keras_mae.export.int8 import HELD_OUT, int8_copy
from keras_mae.export.saved_model_files import write_saved_model
from keras_mae.export.served_autoencoder import ServedAutoencoder
from keras_mae.export.served_classifier import ServedClassifier
from keras_mae.export.served_head import ServedHead
from keras_mae.export.served_segmenter import ServedSegmenter
from keras_mae.export.signatures import ServedEncoder, ServedModel
from keras_mae.export.verify import calibration_of, verify_export
from keras_mae.export.versions import version_aside
from keras_mae.layers import AttentivePooling
from keras_mae.layers.kernels import use_kernels
from keras_mae.layers.serving_kernels import INT8_KERNELS, SERVING_KERNELS
from keras_mae.models import ImageClassifier, ImageHead, ImageSegmenter
from keras_mae.models.masked_image_model import MaskedImageModel

FORMATS = ("savedmodel", *exchange_formats.FORMATS)


def export_encoder(
    encoder: Encoder,
    directory: str,
    version: int = 1,
    pooling: str | AttentivePooling = "mean",
    crop_ratio: float = 0.875,
    images: np.ndarray | None = None,
    normalize: bool = False,
    dtype: str = "float32",
    format: str = "savedmodel",
    pixel_dtype: str = "auto",
    decoding: Decoding = Decoding(),
    licence: str | None = None,
    layer: int | None = None,
) -> str:
    """Writes `<directory>/<version>/`, a SavedModel for TF Serving and for fine-tuning in other programs.

    Its signatures, all with a dynamic batch size and float32 outputs:

    - `serving_default`: `image_bytes` string `(B,)`, JPEG, PNG, GIF, BMP, WebP or TIFF files -> `embedding` `(B, D)`
    - `embed`: `images` uint8 `(B, H, W, C)` -> `embedding` `(B, D)`
    - `features`: `images` -> `cls_token` `(B, D)`, `patch_tokens` `(B, L, D)`

    A model that was trained on 16 bits takes `images` as uint16, see `pixel_dtype`. A model of other than 1 or 3
    channels has no `serving_default`: image files with so many channels have no common format.

    `tf.saved_model.load` gives an object with `__call__(images, training=False)`, `variables`, `trainable_variables`
    and `regularization_losses`, and with the endpoints `embed` and `embed_training` for `keras.layers.TFSMLayer` (see
    `keras_mae.export.mend_names`); these take float32 images too.

    It is written to a hidden folder, checked in a fresh process against the live encoder, and renamed, so that it
    appears whole or not at all; an export that is killed leaves the hidden folder, which TF Serving passes over.

    Args:
        encoder: to export.
        directory: the model's folder; its name is the model's name in TF Serving.
        version: a positive integer; TF Serving takes the highest.
        pooling: of the tokens to an embedding: the `"mean"` of the patch tokens, the `"cls"` token, or `"both"`, the
            class token followed by the mean, `(B, 2 D)`; or the `.attentive` of a trained `ImageClassifier` of this
            encoder, an `AttentivePooling`, whose weights are written along.
        crop_ratio: of the evaluation transform that image files go through, see
            `keras_mae.data.evaluation_transform`.
        images: uint8 or uint16 `(N, H, W, C)` for the check; None for synthetic ones. With `dtype="int8"` all but the
            first 8 calibrate, and must be like those that are served: 16 are needed, and 100 are better.
        normalize: whether embeddings are scaled to length 1.
        dtype: of the computation and of the weights, `"float32"` or `"bfloat16"`, whatever the model was trained in;
            outputs are float32. Or `"int8"`, for serving on processors alone: weights and inputs of the transformer
            blocks' linear layers are rounded to 8 bits, and the cosine of each output to the live one's is at least
            0.999. A model in bfloat16 or int8 takes less room and cannot be trained: it has no `trainable_variables`
            and no `embed_training`.
        format: `"savedmodel"`; or `"onnx"`, `"litert"` or `"openvino"`, a file `model.onnx`, `model.tflite` or
            `model.xml` (with `model.bin`) in the same place, with the signature `embed` alone, in float32.
        pixel_dtype: the `dtype` of the source that the model was trained on, `"uint8"` or `"uint16"`: image files are
            decoded to it, and it is the dtype of `images`. `"auto"`: a file of 16 bits a channel is decoded and
            resized in 16 bits, another in 8, and `images` are uint8.
        decoding: of image files, as in the source: their largest size, and the background of transparent pixels.
        licence: of the weights, for `metadata.json`; None if they are your own.
        layer: whose tokens an embedding is made of, counted from 1, see `Encoder.features`; None for the encoder's
            output. `features` gives that output either way.

    Returns:
        The path `<directory>/<version>`.

    Raises:
        ValueError: if the version is there already, an argument is bad, the pooling is untrained, or a format needs a
            package that is missing.
        VerificationError: if the outputs of the written model differ from the live one's; it is removed then.
    """

    def make(model: Encoder) -> ServedModel:
        return ServedEncoder(model, pooling, crop_ratio, normalize, pixel_dtype, decoding, layer)

    return _export(encoder, make, directory, version, images, dtype, format, licence)


def export_classifier(
    classifier: ImageClassifier,
    directory: str,
    version: int = 1,
    labels: Sequence[str] | None = None,
    crop_ratio: float = 0.875,
    images: np.ndarray | None = None,
    dtype: str = "float32",
    format: str = "savedmodel",
    pixel_dtype: str = "auto",
    decoding: Decoding = Decoding(),
    licence: str | None = None,
) -> str:
    """Writes `<directory>/<version>/`, as `export_encoder` does.

    Signatures:

    - `serving_default`: `image_bytes` string `(B,)` -> `probabilities` `(B, K)`, `class_id` int64 `(B,)`, `label`
      string `(B,)`
    - `classify`: `images` uint8 `(B, H, W, C)` -> the same and `logits` `(B, K)`

    A classifier of several labels at once gives no `class_id` and no `label`.

    Args:
        classifier: to export.
        directory, version, crop_ratio, images, dtype, pixel_dtype, decoding, licence: as for `export_encoder`.
        labels: the names of the classes in order, also written to `assets/labels.txt`; None for `"0"`, `"1"`, ...
        format: as for `export_encoder`; files of other formats give `logits` and
            `probabilities`.

    Returns:
        The path `<directory>/<version>`.

    Raises:
        ValueError, VerificationError: as for `export_encoder`.
    """

    def make(model: ImageClassifier) -> ServedModel:
        return ServedClassifier(model, labels, crop_ratio, pixel_dtype, decoding)

    return _export(classifier, make, directory, version, images, dtype, format, licence)


def export_head(
    head: ImageHead,
    directory: str,
    version: int = 1,
    labels: Sequence[str] | None = None,
    crop_ratio: float = 0.875,
    images: np.ndarray | None = None,
    dtype: str = "float32",
    format: str = "savedmodel",
    pixel_dtype: str = "auto",
    decoding: Decoding = Decoding(),
    licence: str | None = None,
) -> str:
    """Writes `<directory>/<version>/`, as `export_encoder` does, for an `ImageRegressor` or a head of your own.

    Signatures, with the outputs of a call in float32: a regressor's are called `values`, `(B, T)`, those of another
    head `outputs`, or as in the dict that it returns.

    - `serving_default`: `image_bytes` string `(B,)` -> outputs
    - `predict`: `images` uint8 `(B, H, W, C)` -> outputs

    Args:
        head: to export.
        directory, version, crop_ratio, images, dtype, format, pixel_dtype, decoding, licence: as for `export_encoder`.
        labels: names of the T numbers, also written to `assets/labels.txt`; None for none.

    Returns:
        The path `<directory>/<version>`.

    Raises:
        ValueError, VerificationError: as for `export_encoder`.
    """

    def make(model: ImageHead) -> ServedModel:
        return ServedHead(model, labels, crop_ratio, pixel_dtype, decoding)

    return _export(head, make, directory, version, images, dtype, format, licence)


def export_autoencoder(
    autoencoder: MaskedImageModel,
    directory: str,
    version: int = 1,
    images: np.ndarray | None = None,
    dtype: str = "float32",
    pixel_dtype: str = "auto",
    licence: str | None = None,
) -> str:
    """Writes `<directory>/<version>/`, as `export_encoder` does, for reconstructions.

    Signature: `reconstruct`: `images` uint8 `(B, H, W, C)`, `mask` float32 `(B, L)`, 1 = masked, with as many ones in
    every row -> `reconstruction` and `masked_images`, both `(B, H, W, C)` in [0, 255].

    Args:
        autoencoder: to export, a `MaskedAutoencoder` or a `SimMIM`.
        directory, version, images, dtype, pixel_dtype, licence: as for `export_encoder`.

    Returns:
        The path `<directory>/<version>`.

    Raises:
        ValueError, VerificationError: as for `export_encoder`.
    """
    if dtype == "int8":
        raise ValueError("dtype 'int8' is for encoders and heads; an autoencoder is written in float32 or bfloat16")

    def make(model: MaskedImageModel) -> ServedModel:
        return ServedAutoencoder(model, pixel_dtype)

    return _export(autoencoder, make, directory, version, images, dtype, "savedmodel", licence)


def export_segmenter(
    segmenter: ImageSegmenter,
    directory: str,
    version: int = 1,
    labels: Sequence[str] | None = None,
    images: np.ndarray | None = None,
    dtype: str = "float32",
    pixel_dtype: str = "auto",
    decoding: Decoding = Decoding(),
    licence: str | None = None,
) -> str:
    """Writes `<directory>/<version>/`, as `export_encoder` does, for the classes of pixels.

    Signatures:

    - `serving_default`: `image_bytes` string `(B,)` -> `class_map` uint8 `(B, H, W)`, of whole images in the model's
      size, and `png` string `(B,)`, the same as gray PNG files; beyond 256 classes int32, and files of 16 bits
    - `segment`: `images` uint8 `(B, H, W, C)` -> `class_map`, and `probabilities` `(B, H, W, K)`

    Args:
        segmenter: to export.
        labels: as for `export_classifier`.
        directory, version, images, dtype, pixel_dtype, decoding, licence: as for `export_encoder`.

    Returns:
        The path `<directory>/<version>`.

    Raises:
        ValueError, VerificationError: as for `export_encoder`.
    """

    def make(model: ImageSegmenter) -> ServedModel:
        return ServedSegmenter(model, labels, pixel_dtype, decoding)

    return _export(segmenter, make, directory, version, images, dtype, "savedmodel", licence)


def _export(
    model: Any,
    make: Callable[[Any], ServedModel],
    directory: str,
    version: int,
    images: np.ndarray | None,
    dtype: str,
    format: str,
    licence: str | None,
) -> str:
    if format not in FORMATS:
        raise ValueError(f"a format is one of {', '.join(FORMATS)}; got {format!r}")
    with version_aside(directory, version) as (aside, final):
        if format != "savedmodel":
            exchange_formats.check(format, dtype)
        live, is_int8 = make(model), dtype == "int8"
        converted = int8_copy(model, images, format != "savedmodel") if is_int8 else model_in_dtype(model, dtype)
        kernels = None if format != "savedmodel" else INT8_KERNELS if is_int8 else SERVING_KERNELS
        with use_kernels(kernels):
            served = live if converted is model and kernels is None else make(converted)
            served.licence = licence
            if is_int8 and images is not None:
                images, calibrated_on = images[:HELD_OUT], len(images) - HELD_OUT
                served.calibration = calibration_of(live, served, images, calibrated_on)
            if format == "savedmodel":
                write_saved_model(served, aside, os.path.basename(os.path.abspath(directory)))
        if format == "savedmodel":
            verify_export(live, aside, images, served.compute_dtype)
        else:
            exchange_formats.write(served, aside, format)
            exchange_formats.verify(live, aside, format, images, served.compute_dtype)
    return final
