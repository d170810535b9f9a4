"""Features of a whole data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mae.data import CorruptImages, Source, evaluation_dataset
from keras_mae.data.patient_reading import storage_errors
from keras_mae.encoders import Encoder, Tokens
from keras_mae.encoders.finite import check_finite

ENCODED = 256  # images that are encoded together
_TOKENS = 260  # of an image, up to which so many fit beside a model that trains


class Features:
    """Computes the feature vectors of images that come in batches, with the encoder's present weights.

    Args:
        encoder: without drop path, on all patches.
        pooling: `"mean"` of the patch tokens, or `"cls"`, the class token; or a function of `Tokens`.
        layer: whose tokens are pooled, counted from 1; None for the encoder's output.

    Call arguments:
        batches: of images, or `(images, labels)`.

    Returns:
        Features, float32 `(N, D)`, or what the function gives for an image; and labels, or None without.
    """

    def __init__(
        self, encoder: Encoder, pooling: str | Callable[[Tokens], tf.Tensor] = "mean", layer: int | None = None
    ) -> None:
        def embed(images):
            return tf.cast(encoder.features(images, pooling, layer), tf.float32)

        self._embed = embed
        self._graphs: dict[tf.TensorSpec, Callable[[tf.Tensor], tf.Tensor]] = {}  # one for all sets of such images

    def __call__(self, batches: tf.data.Dataset) -> tuple[np.ndarray, Any]:
        spec, with_labels = batches.element_spec, isinstance(batches.element_spec, tuple)
        of_images = spec[0] if with_labels else spec
        if of_images not in self._graphs:  # the last batch is smaller, and traces nothing new
            self._graphs[of_images] = tf.function(self._embed, input_signature=[of_images]).get_concrete_function()
        graph, features, labels = self._graphs[of_images], [], []
        with storage_errors():
            for batch in batches:
                features.append(graph(batch[0] if with_labels else batch).numpy())
                if with_labels:
                    labels.append(batch[1].numpy())
        found = np.concatenate(features) if features else np.zeros((0, 1), "float32")
        return found, np.concatenate(labels) if labels else None


def encoded_beside_training(encoder: Encoder) -> int:
    """The number of images to encode together while a model trains: fewer of many tokens, whose attention is large."""
    tokens = encoder.num_patches + encoder.num_prefix_tokens
    return max(1, int(ENCODED * min(1.0, _TOKENS / tokens) ** 2))


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
        encoder, pooling, layer: as for `Features`.
        source: labelled images; those that cannot be decoded are left out.
        crop_ratio: of the evaluation transform.
        batch_size: images that are encoded together.

    Returns:
        Features, float32 `(N, D)`, or what the function gives for an image, and labels, int64 `(N,)`, or float32
        `(N, T)`.

    Raises:
        ValueError: for an unknown pooling, too many corrupt images, or features that are not finite.
    """
    corrupt = CorruptImages(source)
    batches = labelled_batches(encoder, source, crop_ratio, corrupt, batch_size)
    found, labels = Features(encoder, pooling, layer)(batches)
    corrupt.check()
    check_finite(found, encoder.dtype_policy.name)
    return found, np.zeros(0, "int64") if labels is None else labels


def labelled_batches(
    encoder: Encoder, source: Source, crop_ratio: float, corrupt: CorruptImages, batch_size: int = ENCODED
) -> tf.data.Dataset:
    """Images and labels for `Features`, each image once and in order; arguments as for `features_of`."""
    together = min(batch_size, source.num_images)
    return evaluation_dataset(source, encoder.image_shape, together, crop_ratio, corrupt, with_labels=True)
