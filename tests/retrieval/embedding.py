"""Images and an embedder that cost nothing, for what embedding does around them."""

import functools
import os

import numpy as np
import tensorflow as tf

from keras_mae.data import ArraySource, CorruptImages, Decoding
from keras_mae.data.corrupt_images import Fault
from keras_mae.data.source import Source
from keras_mae.retrieval import embedding, open_vectors
from keras_mae.retrieval.embedder import Embedder

SHAPE = (4, 5, 3)
HEADER = {"weights": {"kind": "run", "source": "encoder.keras", "digest": "ab"}, "data": "npz:images.npz"}


def images_of(count):
    return np.random.default_rng(count).integers(0, 256, (count, *SHAPE), dtype="uint8")


def expected_of(images):
    """What `embedder` gives."""
    levels = images.astype("float32")
    return np.concatenate([levels.mean(axis=(1, 2)), levels.max(axis=(1, 2))], axis=-1)


@functools.cache
def embedder(function=None):
    @tf.function
    def embed(images):
        levels = tf.cast(images, tf.float32)
        found = tf.concat([tf.reduce_mean(levels, axis=[1, 2]), tf.reduce_max(levels, axis=[1, 2])], axis=-1)
        return found if function is None else function(found)

    return Embedder(embed, SHAPE, 1.0, Decoding(), "auto", "mean", None, False, "float32")


class FileSource(Source):
    """Images in files of raw bytes, of which some are corrupt."""

    encoded = True

    def __init__(self, images, labels=None, corrupt=()):
        self.images, self.num_images, self.corrupt = images, len(images), set(corrupt)
        self._labels = labels
        files = [b"?" if number in self.corrupt else image.tobytes() for number, image in enumerate(images)]
        self._files = tf.constant(files)

    def read(self, index):
        return {"image": tf.gather(self._files, index), "label": self.label_at(index)}

    def pixels(self, image, channels):
        return tf.reshape(tf.io.decode_raw(image, tf.uint8), SHAPE)

    def name_of(self, index):
        return f"/files/{index}.raw"

    def name_inside(self, index):
        return f"{index}.raw"


def batches_at(source, image_shape, batch_size, crop_ratio, index_at, count):
    """What the pipeline of this name yields of images of `SHAPE`; its graphs take seconds."""
    for first in range(0, count, batch_size):
        positions = tf.range(first, min(first + batch_size, count), dtype=tf.int64)
        indices = np.array([int(index_at(position)) for position in positions])
        bad = np.isin(indices, list(getattr(source, "corrupt", ())))
        images = np.where(bad[:, None, None, None], 0, source.images[indices]).astype("uint8")
        yield {
            "image": tf.constant(images),
            "label": source.label_at(tf.constant(indices)),
            "fault": tf.constant(np.where(bad, CorruptImages.code(indices, Fault.UNDECODABLE), -1)),
        }


def array_source(count, labels=True):
    return ArraySource(images_of(count), np.arange(count) % 3 if labels else None, "images", ["a", "b", "c"])


def embed(source, output, batch_size=4, size=8, **more):
    """Embeds with shards of about `size` images."""
    before = embedding._IN_A_SHARD
    embedding._IN_A_SHARD = size
    try:
        header = {**HEADER, "dtype": more.pop("dtype", "float32"), **more.pop("header", {})}
        made_by = more.pop("made_by", None) or embedder()
        return embedding.embed_source(made_by, source, str(output), header, batch_size, **more)
    finally:
        embedding._IN_A_SHARD = before


def contents(output):
    """The bytes of a file, or of all files in a folder."""
    output = str(output)
    files = [os.path.join(output, name) for name in sorted(os.listdir(output))] if os.path.isdir(output) else [output]
    return [(os.path.basename(name), open(name, "rb").read()) for name in files]


def check(output, source, corrupt=()):
    """The output has the vector of every good image once, in order."""
    vectors = open_vectors(str(output))
    good = np.array([number for number in range(source.num_images) if number not in set(corrupt)], "int64")
    np.testing.assert_array_equal(vectors.index, good)
    np.testing.assert_allclose(vectors.array(), expected_of(source.images)[good], rtol=1e-6)
    assert vectors.names == [source.name_inside(number) for number in good]
    np.testing.assert_array_equal(vectors.labels, source.labels[good])
    return vectors
