"""The train step for every distribution strategy, and the models that have it."""

from keras_mae import _backend  # noqa: F401
from keras_mae.training.checked_model import DataFault
from keras_mae.training.image_model import ImageModel
from keras_mae.training.skipped_steps import StopOnSkippedSteps
from keras_mae.training.train_step import GlobalBatchModel

__all__ = ["DataFault", "GlobalBatchModel", "ImageModel", "StopOnSkippedSteps"]
