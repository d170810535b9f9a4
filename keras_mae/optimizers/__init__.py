"""Optimizers and learning-rate schedules."""

from keras_mae import _backend  # noqa: F401
from keras_mae.optimizers.adamw import adamw
from keras_mae.optimizers.schedules import WarmupCosine

__all__ = ["WarmupCosine", "adamw"]
