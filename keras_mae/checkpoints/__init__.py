"""Weights in and out: the official MAE checkpoints, timm's, Hugging Face's and our own."""

from keras_mae import _backend  # noqa: F401
from keras_mae.checkpoints.convert import convert_checkpoint
from keras_mae.checkpoints.description import Description, describe_checkpoint, load_encoder
from keras_mae.checkpoints.formats import FORMATS
from keras_mae.checkpoints.keras_hub import from_keras_hub, to_keras_hub
from keras_mae.checkpoints.known_files import KNOWN_FILES, KnownFile
from keras_mae.checkpoints.load import load_checkpoint
from keras_mae.checkpoints.report import CheckpointReport
from keras_mae.checkpoints.save import save_checkpoint

__all__ = [
    "FORMATS",
    "KNOWN_FILES",
    "CheckpointReport",
    "Description",
    "KnownFile",
    "convert_checkpoint",
    "describe_checkpoint",
    "from_keras_hub",
    "load_checkpoint",
    "load_encoder",
    "save_checkpoint",
    "to_keras_hub",
]
