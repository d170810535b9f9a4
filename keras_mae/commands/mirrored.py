"""The vectors of mirror images."""

from __future__ import annotations

import dataclasses
import os
import tempfile

import numpy as np
import tensorflow as tf

from keras_mae.commands.embedding import embedder_of_header
from keras_mae.retrieval import Vectors, open_vectors
from keras_mae.retrieval.embedding import embed_source
from keras_mae.retrieval.thumbnails import source_of


def mirrored_vectors(vectors: Vectors) -> np.ndarray:
    """Embeds the mirror images of all images with the weights that the header names: float32 `(N, D)`, in their order.

    Raises:
        ValueError: if the weights or the images are not there any more, or are others.
    """
    header = vectors.header
    embedder, source = embedder_of_header(header), source_of(header)
    mirrored = tf.function(lambda images: embedder.function(images[:, :, ::-1]))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "mirrored")
        of_these = {"weights": header["weights"], "data": header["data"], "dtype": "float32"}
        embed_source(dataclasses.replace(embedder, function=mirrored), source, path, of_these)
        found = open_vectors(path)
        if not np.array_equal(found.index, vectors.index):
            raise ValueError(
                f"of the images of {vectors.source} others can be read now: embed them anew with keras-mae embed"
            )
        return found.array()
