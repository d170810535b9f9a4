"""The simple feature pyramid of ViTDet: maps of several scales from the one map of a plain backbone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_mae.layers.layer_norm import LayerNorm

SCALES = (4.0, 2.0, 1.0, 0.5)


@keras.saving.register_keras_serializable(package="keras_mae")
class FeaturePyramid(keras.layers.Layer):
    """Maps of several scales, each made of the same map, for detectors and segmenters.

    A scale of 4 is two 2 x 2 deconvolutions of stride 2, with LayerNorm and GELU between them, 2 is one deconvolution,
    1 the map itself, and 1/2 is 2 x 2 max pooling of stride 2. Each deconvolution halves the width. Then, at each
    scale, a 1 x 1 and a 3 x 3 convolution, both followed by LayerNorm and without bias, give `dim` channels. With
    patches of 16 pixels the strides are 4, 8, 16 and 32; in general `patch / scale`. "There is no top-down connection."

    Where the map has an odd number of rows or columns, the last one is pooled alone; the published code leaves it out.

    Args:
        dim: channels of each map.
        scales: some of 4, 2, 1 and 0.5, in falling order.
        extra_level: whether a last, coarser map of half the size follows, every other row and column of the one before.
        layer_norm_epsilon: epsilon of every LayerNorm.

    Call arguments:
        features: the map of one scale, `(B, rows, columns, D)`, such as one of `encoder.intermediates`.

    Returns:
        A list of maps, from the finest to the coarsest, `(B, scale * rows, scale * columns, dim)` in the compute dtype.
        The size is rounded up.

    Raises:
        ValueError: for other scales or sizes, features of another rank, or a width that cannot be halved.

    Example:

    >>> pyramid = FeaturePyramid()
    >>> [tuple(one.shape) for one in pyramid(encoder.intermediates(images, [12])[0])]
    [(2, 56, 56, 256), (2, 28, 28, 256), (2, 14, 14, 256), (2, 7, 7, 256)]

    Reference: arXiv 2203.16527 (ViTDet), section 3 and appendix A.2; `SimpleFeaturePyramid` of its code (Apache-2.0)
    for the widths, which the paper leaves open.
    """

    def __init__(
        self,
        dim: int = 256,
        scales: Sequence[float] = SCALES,
        extra_level: bool = False,
        layer_norm_epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(dim, (int, np.integer)) or dim < 1:
            raise ValueError(f"the channels of a pyramid's maps are a whole number from 1, got dim={dim!r}")
        chosen = tuple(map(float, scales))
        if not chosen or chosen != tuple(scale for scale in SCALES if scale in chosen):
            raise ValueError(f"the scales of a pyramid are some of {SCALES}, in this order; got {tuple(scales)}")
        self.dim, self.scales, self.extra_level = int(dim), chosen, extra_level
        self.layer_norm_epsilon = layer_norm_epsilon

    def build(self, input_shape) -> None:
        if self.built:
            return
        if len(input_shape) != 4 or not input_shape[-1]:
            raise ValueError(
                f"a pyramid is made of a map (batch, rows, columns, width), got the shape {tuple(input_shape)}: "
                "encoder.intermediates returns such maps"
            )
        width, halved = input_shape[-1], math.ceil(max(self.scales))
        if width % halved:
            raise ValueError(
                f"the width of the features is halved by each deconvolution: scale {max(self.scales):g} needs a "
                f"multiple of {halved}, got {width}"
            )
        self.levels = [self._level(scale, width) for scale in self.scales]
        for level in self.levels:
            level.build((None, None, None, width))  # of any size
        self.subsample = self._pool(1, "subsample") if self.extra_level else None

    def _level(self, scale: float, width: int) -> keras.Sequential:
        """The layers of one scale."""
        layers: list[keras.layers.Layer] = []
        for step in range(1, {4.0: 3, 2.0: 2}.get(scale, 1)):  # two deconvolutions, one, or none
            layers += [self._norm("deconv_norm"), self._gelu()] if layers else []
            layers += [keras.layers.Conv2DTranspose(width // 2**step, 2, 2, name=f"deconv_{step}", **self._of_maps())]
        layers += [self._pool(2, "pool")] if scale == 0.5 else []
        for name, size in (("lateral", 1), ("output", 3)):
            layers += [keras.layers.Conv2D(self.dim, size, use_bias=False, name=name, **self._of_maps())]
            layers += [self._norm(f"{name}_norm")]
        return keras.Sequential(layers, name=f"scale_{scale:g}".replace(".", "_"))

    def _of_maps(self) -> dict[str, Any]:
        return {"padding": "same", "data_format": "channels_last", "dtype": self.dtype_policy}

    def _norm(self, name: str) -> keras.layers.Layer:
        return LayerNorm(epsilon=self.layer_norm_epsilon, name=name, dtype=self.dtype_policy)

    def _gelu(self) -> keras.layers.Layer:
        return keras.layers.Activation("gelu", name="gelu", dtype=self.dtype_policy)

    def _pool(self, size: int, name: str) -> keras.layers.Layer:
        return keras.layers.MaxPooling2D(size, 2, name=name, **self._of_maps())

    def call(self, features):
        maps = [level(features) for level in self.levels]
        return maps if self.subsample is None else [*maps, self.subsample(maps[-1])]

    def compute_output_shape(self, input_shape) -> list[tuple]:
        scales = [*self.scales, self.scales[-1] / 2] if self.extra_level else self.scales
        sizes = [[side and math.ceil(scale * side) for side in input_shape[1:3]] for scale in scales]
        return [(input_shape[0], *size, self.dim) for size in sizes]

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("dim", "scales", "extra_level", "layer_norm_epsilon")}
        return {**super().get_config(), **own}
