"""Folders side by side that are the splits of a set."""

from __future__ import annotations

import os

import tensorflow as tf

from keras_mae.data.folder_source import is_folder
from keras_mae.data.patient_reading import patiently

# Of folders side by side, and of TFDS splits
TRAIN_NAMES = ("train", "training")
VALIDATION_NAMES = ("val", "valid", "validation", "dev", "test", "testing")


def split_folders(path: str) -> tuple[str, str] | None:
    """Returns the folders to train and to test on that lie side by side in a folder; None without both."""
    if not is_folder(path):
        return None
    list_names = tf.io.gfile.listdir if "://" in path else os.listdir  # which lists names that are no UTF-8
    below = {name.rstrip("/").lower(): name.rstrip("/") for name in patiently(lambda: list_names(path), path)}
    training, validation = (
        next((below[name] for name in names if name in below), None) for names in (TRAIN_NAMES, VALIDATION_NAMES)
    )
    if not training or not validation:
        return None
    return tf.io.gfile.join(path, training), tf.io.gfile.join(path, validation)
