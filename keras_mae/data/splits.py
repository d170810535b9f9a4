"""A fixed split into training and validation images, for sets that come without one."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from keras_mae.data.folder_source import FolderSource
from keras_mae.data.source import Source
from keras_mae.data.subset import Subset

_SHARE = 10  # one image of so many is for validation
_SEED = 0


def split_source(source: Source, split: str) -> Subset:
    """Returns the training or the validation images of a source: nine tenths or one tenth, always the same.

    The split is stratified: a tenth of every class is for validation, rounded, but at least one image and never all.
    A class of one image is for training. Images without labels are one class, as are images with a label each.

    The choice within a class is a function of the paths in the folder, so that a new file moves at most one other; in
    other sources of the images' numbers.

    Args:
        source: all images.
        split: `"train"` or `"validation"`.

    Raises:
        ValueError: if nothing is left.
    """
    rank = _rank(source)
    classes, sizes = _classes(source)
    order = np.lexsort((rank, classes))  # class by class
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # in the class
    is_validation = np.zeros(source.num_images, bool)
    is_validation[order] = place < np.repeat(_for_validation(sizes), sizes)
    chosen = np.flatnonzero(is_validation == (split == "validation"))
    if not len(chosen):
        few = f"{source.num_images} images are too few to set a tenth of them aside for validation"
        raise ValueError(f"{few}; give two folders, train and val")
    return Subset(source, chosen)


def _classes(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Returns the number of each image's class, and the sizes of the classes."""
    if source.labels is not None:
        _, classes, sizes = np.unique(source.labels, return_inverse=True, return_counts=True)
        if sizes.max() > 1:
            return classes, sizes
    return np.zeros(source.num_images, int), np.array([source.num_images])


def _for_validation(sizes: np.ndarray) -> np.ndarray:
    """Returns the number of images of each class for validation."""
    tenth = (sizes + _SHARE // 2) // _SHARE
    return tenth if len(sizes) == 1 else np.clip(tenth, np.minimum(1, sizes - 1), sizes - 1)


def _rank(source: Source) -> np.ndarray:
    """Returns a number for each image; within a class the smallest are for validation."""
    if not isinstance(source, FolderSource):
        return np.random.RandomState(_SEED).permutation(source.num_images)
    names = (os.fsencode(source.relative_name(number)) for number in range(source.num_images))
    digests = (hashlib.blake2b(name, digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), ">u8")
