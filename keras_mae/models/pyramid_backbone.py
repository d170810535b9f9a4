"""An encoder as a backbone of KerasHub's detectors. Importing this module imports keras-hub."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_mae.encoders import Encoder
from keras_mae.layers import FeaturePyramid
from keras_mae.layers.feature_pyramid import SCALES

try:
    import keras_hub
except ImportError as error:
    raise ImportError("a PyramidBackbone is a model of KerasHub: pip install 'keras-mae[keras-hub]'") from error


@keras.saving.register_keras_serializable(package="keras_mae")
class PyramidBackbone(keras_hub.models.FeaturePyramidBackbone):
    """An encoder with a `FeaturePyramid` on its patch tokens, as a `FeaturePyramidBackbone` of KerasHub.

    KerasHub's detectors train on it, encoder included: `RetinaNetObjectDetector` takes it as it is, or in a
    `RetinaNetBackbone`, which puts a top-down feature pyramid network on top and makes further, coarser levels; that
    adds neighbouring levels, so that the image's sides must be multiples of the coarsest stride of the backbone.
    Level `n` has the stride of `2^n` pixels and is called `"Pn"`. The patch tokens are those after the encoder's final
    norm, so that every weight of the encoder is trained.

    It takes pixels in [0, 255], as the encoder does, which normalises them: a detector's preprocessor must not. 16-bit
    images are to be divided by 257 before, as KerasHub's models take every image for float32.

    Detectors on it are saved and loaded in Keras' and KerasHub's own ways (`save`, `save_to_preset`), loaded once this
    class is imported. KerasHub's detectors come back compiled with its defaults: compile them again to train on.

    Args:
        encoder: an `Encoder` with square patches whose side is a power of two, such as 8 or 16 pixels.
        min_level, max_level: the levels, of those that the patches allow: with patches of 16 pixels 2 to 6, with 8
            pixels 1 to 5. None for the finest of them, and for the coarsest but one (5 with 16 pixels); the coarsest
            of all is every other row and column of the level before.
        dim: channels of each map.
        **kwargs: of `keras.Model`.

    Returns:
        When called with images `(B, H, W, C)`: a dict from `"Pn"` to `(B, H / 2^n, W / 2^n, dim)`, rounded up, in the
        compute dtype.

    Raises:
        ImportError: when it is imported without keras-hub.
        ValueError: for patches or levels that do not fit.

    Example:

    >>> backbone = PyramidBackbone(encoder, min_level=3)
    >>> retinanet = keras_hub.models.RetinaNetBackbone(
    ...     backbone, min_level=3, max_level=7, use_p5=False, image_shape=encoder.image_shape
    ... )
    >>> detector = keras_hub.models.RetinaNetObjectDetector(retinanet, num_classes=3, bounding_box_format="xyxy")

    Reference: arXiv 2203.16527 (ViTDet), section 3.
    """

    def __init__(
        self,
        encoder: Encoder,
        min_level: int | None = None,
        max_level: int | None = None,
        dim: int = 256,
        **kwargs: Any,
    ) -> None:
        middle = _level_of(encoder)
        first, last = max(middle - 2, 0), middle + 2
        min_level, max_level = (
            default if level is None else level for level, default in ((min_level, first), (max_level, last - 1))
        )
        if not first <= min_level <= max_level <= last:
            raise ValueError(
                f"patches of {2**middle} pixels give a pyramid of the levels {first} to {last}; got {min_level} to "
                f"{max_level}"
            )
        levels = range(min_level, max_level + 1)
        scales = [scale for scale in SCALES if middle - math.log2(scale) in levels]
        if not scales:
            raise ValueError(f"the coarsest level, {last}, is made of the one before: set min_level={last - 1}")
        pyramid = FeaturePyramid(dim, scales, last in levels, dtype=encoder.dtype_policy, name="feature_pyramid")
        images = keras.Input(encoder.image_shape, name="images")
        tokens = encoder(images)["patch_tokens"]
        features = keras.layers.Reshape((*encoder.grid, encoder.hidden_dim), dtype=encoder.dtype_policy)(tokens)
        outputs = {f"P{level}": one for level, one in zip(levels, pyramid(features), strict=True)}
        super().__init__(images, outputs, **{"dtype": encoder.dtype_policy, **kwargs})
        self.encoder, self.feature_pyramid = encoder, pyramid
        self.min_level, self.max_level, self.dim = min_level, max_level, dim
        self.image_shape, self.pyramid_outputs = encoder.image_shape, outputs

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("min_level", "max_level", "dim")}
        return {**super().get_config(), "encoder": keras.saving.serialize_keras_object(self.encoder), **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PyramidBackbone:
        return super().from_config({**config, "encoder": keras.saving.deserialize_keras_object(config["encoder"])})


def _level_of(encoder: Encoder) -> int:
    """The level of the encoder's own map, log2 of the side of a patch."""
    height, width = encoder.patch_size
    if height != width or height & (height - 1):
        raise ValueError(
            f"a detector's levels have strides of 2, 4, 8 ... pixels, and patches of {height} x {width} pixels none of "
            "these; layers.FeaturePyramid makes maps of any patches"
        )
    return height.bit_length() - 1
