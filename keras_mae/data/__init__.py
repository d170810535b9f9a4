"""Images from folders, records, TFDS and arrays to batches, as a function of (seed, step)."""

from keras_mae.data.array_source import ArraySource
from keras_mae.data.augmentation import Augmentation, random_flip, random_resized_crop
from keras_mae.data.corrupt_images import CorruptImages
from keras_mae.data.data_service import DataService
from keras_mae.data.decoding import Decoding, decode_image
from keras_mae.data.fine_tuning import FineTuningAugmentation
from keras_mae.data.folder_source import FolderSource
from keras_mae.data.joint_augmentation import JointAugmentation
from keras_mae.data.masks import IGNORED, Masks
from keras_mae.data.memory_source import MemorySource
from keras_mae.data.mixing import Mixing, mix_batch
from keras_mae.data.pairs_source import PairsSource
from keras_mae.data.pipeline import TrainingData, evaluation_dataset
from keras_mae.data.preprocessing import evaluation_transform
from keras_mae.data.rand_augment import RandAugment
from keras_mae.data.record_source import RecordSource
from keras_mae.data.record_writer import write_records
from keras_mae.data.samples import drawn_images, first_images, sample_images
from keras_mae.data.source import Source
from keras_mae.data.sources import open_source
from keras_mae.data.stats import measure_stats
from keras_mae.data.subset import Subset
from keras_mae.data.tfds import tfds_builder, tfds_source

__all__ = [
    "IGNORED",
    "ArraySource",
    "Augmentation",
    "CorruptImages",
    "DataService",
    "Decoding",
    "FineTuningAugmentation",
    "FolderSource",
    "JointAugmentation",
    "Masks",
    "MemorySource",
    "Mixing",
    "PairsSource",
    "RandAugment",
    "RecordSource",
    "Source",
    "Subset",
    "TrainingData",
    "decode_image",
    "drawn_images",
    "evaluation_dataset",
    "evaluation_transform",
    "first_images",
    "measure_stats",
    "mix_batch",
    "open_source",
    "random_flip",
    "random_resized_crop",
    "sample_images",
    "tfds_builder",
    "tfds_source",
    "write_records",
]
