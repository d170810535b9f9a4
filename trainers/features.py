"""Features of a whole data set."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mae.data import CorruptImages, Source, evaluation_dataset
from keras_mae.data.patient_reading import storage_errors
from keras_mae.encoders import Encoder

ENCODED = 256  # images that are encoded together


def features_of(
    encoder: Encoder,
    source: Source,
    pooling: str,
    crop_ratio: float,
    batch_size: int = 256,
    layer: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One vector an image, as a served encoder would give it, and the labels.

    Args:
        encoder: sees every patch, and drops nothing.
        source: labelled images; those that cannot be decoded are left out.
        pooling: `"mean"` of the patch tokens, or `"cls"`, the class token.
        crop_ratio: of the evaluation transform.
        batch_size: images that are encoded together.
        layer: None for the encoder's output, or the layer, counted from 1, whose tokens are taken.

    Returns:
        Features, float32 `(N, D)`, and labels, int64 `(N,)`.

    Raises:
        ValueError: for another pooling, too many images that cannot be decoded, or features that are not finite.
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
    broken = np.count_nonzero(~np.isfinite(found).all(axis=1))
    if broken:
        raise ValueError(
            f"the encoder's features of {broken} of {len(found)} images are not finite: its weights hold NaN, or its "
            f"dtype policy, {encoder.dtype_policy.name}, does not hold its activations"
        )
    return found, np.concatenate(labels)
