"""Copies of image files in TFRecord files on a local disk, as they are or made smaller."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil

import numpy as np
import tensorflow as tf

from keras_mae.data.patient_reading import is_there, patiently
from keras_mae.data.record_source import INDEX, open_records
from keras_mae.data.record_writer import write_records
from keras_mae.data.seen import Seen, changes_between
from keras_mae.data.shrinking import Shrinking
from keras_mae.data.source import Source

_NOTE = "cached.json"  # the summary of the images that a cache holds, beside its files
_SAMPLED = 16


def cached(source: Source, cache: str, part: str, specification: str, shrinking: Shrinking | None = None) -> Source:
    """Returns the images of a source from a cache, which is written if it is not there, and continued if it is begun.

    Args:
        source: encoded images.
        cache: the cache's folder, for messages and for the files.
        part: the folder in it.
        specification: of the source, for messages.
        shrinking: makes the images smaller; None keeps the files as they are.

    Raises:
        ValueError: if the cache holds other images, or images of another size, or the disk is too small.
    """
    if shrinking is not None and source.masked:
        raise ValueError(
            f"disk:{cache}: shrink takes images without masks, and {specification} has masks; leave "
            f"shrink={shrinking.side}: out"
        )
    folder = tf.io.gfile.join(cache, part)
    note, now = tf.io.gfile.join(folder, _NOTE), Seen(source).summary
    if shrinking is not None:
        now["shrunken"] = shrinking.note()
    if not is_there(tf.io.gfile.join(folder, INDEX)):  # which is written last
        change = _changed(note, now) if is_there(note) else ""
        if change:
            raise ValueError(f"disk:{cache}: was begun with other images: {change}; remove the cache")
        _look_at_space(source, folder, f"disk:{cache}", shrinking)
        tf.io.gfile.makedirs(folder)
        with tf.io.gfile.GFile(note, "w") as file:
            file.write(json.dumps(now))
        write_records(source, folder, shrinking=shrinking)
    kept = open_records(tf.io.gfile.join(folder, "*.tfrecord"))
    change = _changed(note, now) if is_there(note) else _of_other_size({}, now)
    if not change and kept.num_images != source.num_images:
        change = f"it holds {kept.num_images} images, and there are {source.num_images}"
    if change:
        wrong = f"disk:{cache}: does not hold what {specification} has: {change}"
        raise ValueError(f"{wrong}; remove the cache, and it is written anew")
    kept.validation_apart = source.validation_apart
    return kept


def _changed(note: str, now: dict) -> str:
    before = json.loads(patiently(lambda: tf.io.read_file(note).numpy(), note))
    return changes_between(before, now) or _of_other_size(before, now)


def _of_other_size(before: dict, now: dict) -> str:
    there, asked = (_as_text(one.get("shrunken")) for one in (before, now))
    return "" if there == asked else f"its images are {there}, and asked for are images {asked}"


def _as_text(shrunken: dict[str, int] | None) -> str:
    if shrunken is None:
        return "as in their files"
    return ", ".join(f"{name} {value}" for name, value in shrunken.items())


def _look_at_space(source: Source, folder: str, name: str, shrinking: Shrinking | None) -> None:
    """Refuses a local disk with less space than the images take, by some of them."""
    if "://" in folder:
        return
    sizes = []
    for index in np.unique(np.linspace(0, source.num_images - 1, _SAMPLED).astype(int)):
        try:
            contents = source.read(tf.constant(index, tf.int64))["image"]
            contents = contents if shrinking is None else shrinking(contents, source.dtype)
            sizes.append(len(contents.numpy()))
        except tf.errors.OpError:  # `write_records` says which images cannot be used
            continue
    there = os.path.abspath(folder)
    written = 0
    for path in glob.glob(os.path.join(glob.escape(there), "*.tfrecord")):
        with contextlib.suppress(FileNotFoundError):  # another process may write here, too
            written += os.path.getsize(path)
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    needed = (np.mean(sizes) if sizes else 0) * source.num_images - written
    free = shutil.disk_usage(there).free
    if needed > free:
        raise ValueError(
            f"{name}: {source.num_images} images take about {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free; "
            "name a folder on a larger disk, or make the images smaller: disk:CACHE:shrink=PIXELS:SPECIFICATION"
        )
