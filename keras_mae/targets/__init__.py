"""What the decoder has to predict."""

from keras_mae import _backend  # noqa: F401
from keras_mae.targets.pixels import PixelTarget
from keras_mae.targets.target import PatchGeometry, Target

__all__ = ["PatchGeometry", "PixelTarget", "Target"]
