"""Targets: the values that the decoder predicts."""

from keras_mae import _backend  # noqa: F401
from keras_mae.targets.pca import PCATarget
from keras_mae.targets.pixels import PixelTarget
from keras_mae.targets.target import Target
from keras_mae.targets.tokens import TokenTarget

__all__ = ["PCATarget", "PixelTarget", "Target", "TokenTarget"]
