"""Features of a whole data set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_mae.data import CorruptImages, Source, evaluation_dataset
from keras_mae.data.patient_reading import storage_errors
from keras_mae.encoders import Encoder, Tokens
from keras_mae.encoders.finite import check_finite

ENCODED = 256  # images that are encoded together


def features_of(
    encoder: Encoder,
    source: Source,
    pooling: str | Callable[[Tokens], tf.Tensor],
    crop_ratio: float,
    batch_size: int = ENCODED,
    layer: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The feature vectors of images, as a served encoder computes them, and the labels.

    Args:
        encoder: without drop path, on all patches.
        source: labelled images; those that cannot be decoded are left out.
        pooling: `"mean"` of the patch tokens, or `"cls"`, the class token; or a function of `Tokens`.
        crop_ratio: of the evaluation transform.
        batch_size: images that are encoded together.
        layer: whose tokens are pooled, counted from 1; None for the encoder's output.

    Returns:
        Features, float32 `(N, D)`, or what the function gives for an image, and labels, int64 `(N,)`, or float32
        `(N, T)`.

    Raises:
        ValueError: for an unknown pooling, too many corrupt images, or features that are not finite.
    """
    corrupt = CorruptImages(source)
    dataset = evaluation_dataset(
        source, encoder.image_shape, min(batch_size, source.num_images), crop_ratio, corrupt, with_labels=True
    )

    @tf.function(input_signature=[dataset.element_spec[0]])  # the last batch is smaller, and traces nothing new
    def embed(images):
        return tf.cast(encoder.features(images, pooling, layer), tf.float32)

    with storage_errors():
        features, labels = zip(*((embed(images).numpy(), batch.numpy()) for images, batch in dataset), strict=True)
    corrupt.check()
    found = np.concatenate(features)
    check_finite(found, encoder.dtype_policy.name)
    return found, np.concatenate(labels)
