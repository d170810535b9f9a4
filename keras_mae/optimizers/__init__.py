"""Optimizers and learning-rate schedules."""

from keras_mae import _backend  # noqa: F401
from keras_mae.optimizers.adam import AdamW, adamw
from keras_mae.optimizers.lars import LARS
from keras_mae.optimizers.parameter_groups import layer_decay_scales
from keras_mae.optimizers.schedules import WarmupCosine, WarmupMultiStep

__all__ = ["LARS", "AdamW", "WarmupCosine", "WarmupMultiStep", "adamw", "layer_decay_scales"]
