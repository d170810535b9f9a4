"""Splits into training and validation images, for sets that come without one: a share, folds, or by a column."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

import numpy as np

from keras_mae.data.folder_source import FolderSource
from keras_mae.data.group_split import assign_groups
from keras_mae.data.memory_source import MemorySource
from keras_mae.data.source import Source
from keras_mae.data.split_folders import TRAIN_NAMES, VALIDATION_NAMES
from keras_mae.data.strata import strata_of
from keras_mae.data.subset import Subset
from keras_mae.registry import did_you_mean, listed

SHARE = 0.1  # of the images that are for validation


def split_source(
    source: Source, split: str, share: float = SHARE, seed: int = 0, groups: np.ndarray | None = None
) -> Subset:
    """Returns the training or the validation images of a source: a random share of them, always the same.

    The split is stratified: the share of every class is for validation, rounded, but at least one image and never all.
    A class of one image is for training. Images without labels are one class, as are images with a label each. See
    `strata_of` for labels that are no classes.

    The choice within a class is a function of the paths in the folder, so that a new file moves at most one other; in
    other sources of the images' numbers. With groups, whole groups are chosen, see `assign_groups`.

    Args:
        source: all images.
        split: `"train"` or `"validation"`.
        share: of the images for validation, in (0, 1).
        seed: of the choice.
        groups: None, or the number of each image's group, int64 `(N,)`, which stays on one side.

    Raises:
        ValueError: if nothing is left, or all images are of one group.
    """
    chosen = np.flatnonzero(_is_validation(source, share, seed, groups) == (split == "validation"))
    if not len(chosen):
        part = "a tenth" if share == SHARE else f"{share:g}"
        few = f"{source.num_images} images are too few to set {part} of them aside for validation"
        raise ValueError(f"{few}; give two folders, train and val")
    return Subset(source, chosen)


def _is_validation(source: Source, share: float, seed: int, groups: np.ndarray | None) -> np.ndarray:
    rank, (strata, sizes) = _rank(source, seed), strata_of(source, round(1 / share))
    if groups is not None:
        return assign_groups(groups, strata, (share, 1 - share), rank) == 0
    order = np.lexsort((rank, strata))  # stratum by stratum
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # in the stratum
    is_validation = np.zeros(source.num_images, bool)
    is_validation[order] = place < np.repeat(_for_validation(sizes, share), sizes)
    return is_validation


def fold_numbers(source: Source, folds: int, seed: int = 0, groups: np.ndarray | None = None) -> np.ndarray:
    """The number of the fold of each image, int64 `(N,)`, for cross-validation.

    The folds have equally many images, up to one, and equally many of every class, up to one; with groups, about so.

    Args:
        source, seed, groups: as for `split_source`.
        folds: how many.

    Raises:
        ValueError: if there are fewer images, or groups, than folds.
    """
    if source.num_images < folds:
        raise ValueError(f"{source.num_images} images make no {folds} folds; set fewer")
    rank, (strata, _) = _rank(source, seed), strata_of(source, folds)
    if groups is not None:
        return assign_groups(groups, strata, (1 / folds,) * folds, rank)
    numbers = np.empty(source.num_images, "int64")
    numbers[np.lexsort((rank, strata))] = np.arange(source.num_images) % folds
    return numbers


def split_by_values(texts: Sequence[str], validation: Sequence[str] | None, column: str) -> tuple[np.ndarray, ...]:
    """The images to train on and those to test on, by a value of each.

    Args:
        texts: the values.
        validation: values of the images to test on; all others are trained on. None understands names of parts in any
            case, such as `train`, `val` and `test`: with both `val` and `test`, images of `test` are for neither.
        column: name of the values, for messages.

    Returns:
        Indices of images to train on and to test on, int64 `(n,)` each.

    Raises:
        ValueError: if a value is not known, or one of the two is empty.
    """
    values = np.array(texts, dtype=object)
    there = sorted(set(texts))
    if validation is not None:
        for value in validation:
            if value not in there:
                raise ValueError(f"no image has {column}={value}{did_you_mean(value, there)} {listed(there)}")
        tested = np.isin(values, list(validation))
        trained = ~tested
    else:
        lowered = np.array([text.lower() for text in texts], dtype=object)
        strange = [value for value in there if value.lower() not in (*TRAIN_NAMES, *VALIDATION_NAMES)]
        if strange:
            raise ValueError(
                f"column {column!r} says {listed(map(repr, strange))}, and not only train, val or test: name the "
                f"values of the images to test on, --set validation_values={strange[0]}"
            )
        name = next((one for one in VALIDATION_NAMES if one in lowered), None)
        trained, tested = np.isin(lowered, TRAIN_NAMES), lowered == name
    for some, purpose in ((trained, "train"), (tested, "test")):
        if not some.any():
            raise ValueError(f"no image is to {purpose} on: column {column!r} says {listed(map(repr, there))}")
    return np.flatnonzero(trained), np.flatnonzero(tested)


def _for_validation(sizes: np.ndarray, share: float) -> np.ndarray:
    """Returns the number of images of each stratum for validation."""
    rounded = np.floor(sizes * share + 0.5).astype(int)
    return rounded if len(sizes) == 1 else np.clip(rounded, np.minimum(1, sizes - 1), sizes - 1)


def _rank(source: Source, seed: int) -> np.ndarray:
    """Returns a number for each image; within a stratum the smallest are for validation."""
    names = _paths(source)
    if names is None:
        return np.random.RandomState(seed).permutation(source.num_images)
    salt = seed.to_bytes(8, "little")  # zeros are no salt
    digests = (hashlib.blake2b(name, digest_size=8, salt=salt).digest() for name in names)
    return np.frombuffer(b"".join(digests), ">u8")


def _paths(source: Source) -> list[bytes] | None:
    """Returns the paths below the folder, or None if the images lie in none."""
    if isinstance(source, Subset):
        names = _paths(source.source)
        return None if names is None else [names[index] for index in source.indices.tolist()]
    if isinstance(source, MemorySource):
        return _paths(source.source)
    if isinstance(source, FolderSource):
        return [os.fsencode(source.relative_name(number)) for number in range(source.num_images)]
    return None
