"""Writes image files into fewer, larger TFRecord files, which network disks and object stores read faster."""

from __future__ import annotations

import io
import logging
import os
import uuid
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from keras_mae.data.corrupt_images import CorruptImages, without_faults
from keras_mae.data.guarded import RowMaker, guarded_reads, guarded_rows, untuned
from keras_mae.data.patient_reading import is_there, storage_errors
from keras_mae.data.record_index import RecordIndex
from keras_mae.data.record_source import INDEX
from keras_mae.data.shrinking import Shrinking, in_one_chunk
from keras_mae.data.source import CLASSES, NO_LABEL, Source
from keras_mae.one_writer import lock_folder

_log = logging.getLogger("keras_mae")
_PER_FILE, _THREADS, _TOGETHER = 1024, 16, 16


def write_records(
    source: Source,
    directory: str,
    num_files: int | None = None,
    alone: bool = False,
    shrinking: Shrinking | None = None,
) -> list[str]:
    """Writes the files of a source, undecoded, and their labels into TFRecord files, and an index beside them.

    Image i goes into file `i % num_files`, so that every file is a fair sample. A file gets its name when it is
    complete: an interrupted run continues with those that are missing.

    Args:
        source: encoded images, such as a folder.
        directory: to write to; it is made if it is missing.
        num_files: by default one for 1,024 images.
        alone: whether to refuse if another process with `alone` writes there. The workers of a cluster may fill a
            cache together.
        shrinking: makes the images smaller, which then are no longer the files' bytes.

    Returns:
        The paths of the files.

    Raises:
        ValueError: if the images are not encoded, their labels are no classes, the directory holds TFRecord files of
            another set, or another process writes to it.
    """
    if source.task != CLASSES:
        raise ValueError(
            f"TFRecord files are written with classes, and these images have {source.task}; write the images alone, "
            "and give their table with --labels"
        )
    if not source.encoded:
        raise ValueError(f"TFRecord files are written from image files, and {source.name_of(0)} is in memory")
    num_files = max(1, -(-source.num_images // _PER_FILE)) if num_files is None else num_files
    if not 1 <= num_files <= source.num_images:
        raise ValueError(f"{source.num_images} images go into 1 to {source.num_images} files, got {num_files}")
    tf.io.gfile.makedirs(directory)
    if alone:
        lock_folder(directory)
    names = [f"images-{number:05}-of-{num_files:05}.tfrecord" for number in range(num_files)]
    paths = [tf.io.gfile.join(directory, name) for name in names]
    others = set(tf.io.gfile.glob(tf.io.gfile.join(directory, "*.tfrecord"))) - set(paths)
    if others:
        raise ValueError(f"{directory} holds TFRecord files of another set, such as {min(others)}; name another folder")
    corrupt = CorruptImages(source)
    parts = {path: np.arange(number, source.num_images, num_files) for number, path in enumerate(paths)}
    missing: list[str] = []
    for path, indices in parts.items():
        if is_there(path) and len(RecordIndex.of([path]).file) == len(indices):
            _log.info("%s is there", path)
        else:
            missing.append(path)
    if missing:
        rows = _read(source, np.concatenate([parts[path] for path in missing]), corrupt, shrinking)
        for path in missing:
            _write(source, parts[path], path, rows, corrupt)
            _log.info("wrote %s: %d images, %d of %d files", path, len(parts[path]), paths.index(path) + 1, num_files)
    _write_index(source, paths, tf.io.gfile.join(directory, INDEX))
    if corrupt.names:
        _log.warning(corrupt.summary())
    return paths


def _read(source: Source, indices: np.ndarray, corrupt: CorruptImages, shrinking: Shrinking | None) -> Iterator[dict]:
    """Yields the fields of some examples; the bytes of an image that cannot be read, or made smaller, are empty."""

    def index_at(position):
        return tf.gather(indices, position)

    def smaller(position, example):
        return {**example, "image": shrinking(example["image"], source.dtype)}

    if shrinking is None:
        reads = guarded_reads(source, index_at, 0, len(indices), _TOGETHER)
    else:
        reads = guarded_rows(RowMaker(source, index_at, smaller), 0, len(indices), _TOGETHER, replace=False)
    options = tf.data.Options()
    options.threading.private_threadpool_size = _THREADS  # a network disk answers many requests at once
    rows = reads.map(lambda batch: without_faults(batch, corrupt)).unbatch()
    for row in untuned(rows).with_options(options).as_numpy_iterator():
        yield row if shrinking is None or not row["image"] else {**row, "image": in_one_chunk(row["image"])}


def _write(source: Source, indices: np.ndarray, path: str, rows: Iterator, corrupt: CorruptImages) -> None:
    aside = f"{path}.{uuid.uuid4().hex[:8]}"
    try:
        with tf.io.TFRecordWriter(aside) as writer, storage_errors():
            for index, row in zip(indices.tolist(), rows):
                # an image that cannot be read keeps its place, and is skipped like one that cannot be decoded
                features = {"image": _bytes(row["image"]), "name": _bytes(source.name_of(index).encode())}
                if source.masked:
                    features["mask"] = _bytes(row["mask"])
                if source.labelled:
                    label = row["label"] if row["image"] else NO_LABEL
                    features["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
        corrupt.check()
        tf.io.gfile.rename(aside, path, overwrite=True)
    finally:
        if tf.io.gfile.exists(aside):
            tf.io.gfile.remove(aside)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _write_index(source: Source, paths: list[str], path: str) -> None:
    index = RecordIndex.of(paths)  # file by file; image i is record i // n of file i % n
    place_in_file = np.arange(len(index.file)) - np.searchsorted(index.file, index.file)
    order = np.lexsort((index.file, place_in_file))
    table = {
        "files": np.array([os.path.basename(one) for one in paths]),
        "sizes": np.array([tf.io.gfile.stat(one).length for one in paths]),
        "file_number": index.file[order],
        "offset": index.offset[order],
        "length": index.length[order],
        "dtype": np.array(source.dtype),
    }
    if source.labelled:
        table["labels"] = source.required_labels()
        table["class_names"] = np.array(source.class_names, dtype=str)
    contents = io.BytesIO()
    np.savez(contents, allow_pickle=False, **table)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(contents.getvalue())
