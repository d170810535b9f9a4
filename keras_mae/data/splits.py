"""A fixed split into training and validation images, for sets that come without one."""

from __future__ import annotations

import zlib

import numpy as np

from keras_mae.data.folder_source import FolderSource
from keras_mae.data.source import Source
from keras_mae.data.subset import Subset

_OF_TEN_THOUSAND = 1000  # 10 % validation
_SEED = 0


def split_source(source: Source, split: str) -> Subset:
    """The training or the validation images of a source: nine tenths and one tenth, the same always and everywhere.

    The files of a folder are told apart by a checksum of their path in the folder, so that one which is added moves
    no other; the images of other sources by a random choice of exactly a tenth of the numbers.

    Args:
        source: all images.
        split: `"train"` or `"validation"`.

    Raises:
        ValueError: if nothing is left.
    """
    if isinstance(source, FolderSource):
        sums = np.array([zlib.crc32(source.relative_name(n).encode()) % 10_000 for n in range(source.num_images)])
        is_validation = sums < _OF_TEN_THOUSAND
    else:
        order = np.random.RandomState(_SEED).permutation(source.num_images)
        is_validation = np.zeros(source.num_images, bool)
        is_validation[order[: source.num_images * _OF_TEN_THOUSAND // 10_000]] = True
    chosen = np.flatnonzero(is_validation == (split == "validation"))
    if not len(chosen):
        raise ValueError(
            f"{source.num_images} images are too few to set a tenth of them aside for validation; give two folders, "
            "train and val"
        )
    return Subset(source, chosen)
