"""Images from folders and arrays to batches, as a function of (seed, step)."""

from keras_mae.data.augmentation import random_flip, random_resized_crop
from keras_mae.data.corrupt_images import CorruptImages
from keras_mae.data.pipeline import Augmentation, first_images, training_dataset
from keras_mae.data.preprocessing import decode_image, evaluation_transform
from keras_mae.data.sources import ArraySource, FolderSource, Source, open_source

__all__ = [
    "ArraySource",
    "Augmentation",
    "CorruptImages",
    "FolderSource",
    "Source",
    "decode_image",
    "evaluation_transform",
    "first_images",
    "open_source",
    "random_flip",
    "random_resized_crop",
    "training_dataset",
]
