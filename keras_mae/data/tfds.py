"""Images of TensorFlow Datasets (TFDS)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from keras_mae.data.folder_source import FolderSource
from keras_mae.data.record_index import RecordIndex
from keras_mae.data.record_source import RecordSource
from keras_mae.data.source import Source

IMAGE_FOLDER = "ImageFolder"


def tfds_builder(name: str, data_dir: str | None = None) -> Any:
    """Returns the builder of a TFDS data set, which it downloads and prepares if necessary.

    Args:
        name: such as `cifar10` or `imagenette/320px-v2:1.0.0`; or `ImageFolder`, for images in
            `data_dir/SPLIT/CLASS/`.
        data_dir: the folder of prepared data sets; TFDS's own default if None.

    Raises:
        ValueError: if there is no such data set, or it cannot be prepared.
    """
    import tensorflow_datasets as tfds

    if name == IMAGE_FOLDER:
        if data_dir is None:
            raise ValueError("tfds:ImageFolder needs its folder, as in tfds:ImageFolder:train@/data/images")
        return tfds.ImageFolder(data_dir)
    try:
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
        if not builder.info.splits:
            builder.download_and_prepare(file_format="tfrecord")
    except Exception as error:  # of any kind: network, file system, TFDS's own
        text = " ".join(str(error).split()).partition(" Available datasets")[0][:300]
        raise ValueError(
            f"tfds:{name}: is not prepared in {data_dir or 'the default folder of TFDS'}, and cannot be: "
            f"{type(error).__name__}: {text}"
        ) from error
    return builder


def tfds_source(builder: Any, split: str) -> Source:
    """Returns the images of one split of a TFDS data set, undecoded.

    Args:
        builder: a prepared `tfds.core.DatasetBuilder`, or a `tfds.ImageFolder`.
        split: such as `train`, `train[:10%]` or `train+test`; a plain name for an `ImageFolder`.

    Raises:
        ValueError: if there is no such split, it holds no images, or it lies in files that are not TFRecords.
    """
    name = f"tfds:{builder.name}:{split}"
    info = builder.info
    no_split = f"{name}: there is no such split; there are: {', '.join(sorted(info.splits))}"
    images, labels = (
        [key for key, feature in info.features.items() if type(feature).__name__ == kind]
        for kind in ("Image", "ClassLabel")
    )
    classes = list(info.features[labels[0]].names or []) if labels else []
    if type(builder).__name__ == IMAGE_FOLDER:
        if split not in info.splits:
            raise ValueError(no_split)
        return FolderSource(os.path.join(builder.data_dir, split), classes)
    if not images:
        raise ValueError(f"{name}: has no image, but {', '.join(info.features)}")
    dtype = np.dtype(info.features[images[0]].np_dtype).name
    if dtype not in ("uint8", "uint16"):
        raise ValueError(f"{name}: pixels are uint8 or uint16, these are {dtype}")
    try:
        instructions = info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        raise ValueError(no_split) from error
    if info.file_format.value != "tfrecord":
        raise ValueError(f"{name}: lies in {info.file_format.value} files; prepare it with file_format='tfrecord'")
    paths = sorted({os.fspath(one.filename) for one in instructions})
    everything = RecordIndex.of(paths)
    begins = np.searchsorted(everything.file, np.arange(len(paths)))
    firsts = [begins[paths.index(os.fspath(one.filename))] + one.skip for one in instructions]
    chosen = [first + np.arange(one.take) for first, one in zip(firsts, instructions)]
    index, label_key = everything[np.concatenate(chosen)], labels[0] if labels else None
    named = {key: list(feature.names or []) for key, feature in info.features.items() if hasattr(feature, "names")}
    return RecordSource(paths, index, name, images[0], label_key, class_names=classes, dtype=dtype, names_of=named)
