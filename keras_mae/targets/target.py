"""The base of all reconstruction targets."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf

from keras_mae.layers import Patchify, PixelNormalization


@dataclasses.dataclass(frozen=True)
class PatchGeometry:
    """What a target needs to know of the encoder: the images' shape, and its two first layers."""

    image_shape: tuple[int, int, int]
    patchify: Patchify
    normalize_pixels: PixelNormalization

    @property
    def sizes(self) -> tuple:
        """All the numbers in it: two geometries with the same are the same."""
        pixels = self.normalize_pixels
        return self.image_shape, self.patchify.patch_size, pixels.mean, pixels.std

    @property
    def values_per_patch(self) -> int:
        """`ph * pw * C`."""
        height, width = self.patchify.patch_size
        return height * width * self.image_shape[-1]

    def normalized_patches(self, images) -> tf.Tensor:
        """Images `(B, H, W, C)` to the patches that the network sees, float32 `(B, L, ph * pw * C)`."""
        return self.normalize_pixels(self.patchify(images))


class Target(keras.layers.Layer):
    """Turns images into what is to be predicted for each patch, and measures the error.

    A model attaches its target once: that tells it the patches and the pixel normalisation of the encoder.
    Subclasses set `dim` in `attach` and override `call`, and `loss` and `to_pixels` where theirs differ.

    Attributes:
        dim: width of the prediction for one patch; known once attached.
        needs_fit: whether `fit` must see a sample of the images before training.
        has_pixels: whether a prediction can be drawn, by `to_pixels`.
        uses_hidden_pixels: whether `to_pixels` needs more of the hidden patches than was predicted; there is
            `to_pixels_from_visible` then.
    """

    dim: int
    needs_fit: bool = False
    has_pixels: bool = True
    uses_hidden_pixels: bool = False

    compute_output_spec = keras.Operation.compute_output_spec  # of what `call` returns, its dtype included

    def __init__(self, **kwargs) -> None:
        super().__init__(autocast=False, **kwargs)
        self._geometry: PatchGeometry | None = None

    def __repr__(self) -> str:
        config = self.get_config()
        own = (f"{key}={value!r}" for key, value in config.items() if key not in ("name", "trainable", "dtype"))
        return f"{type(self).__name__}({', '.join(own)})"

    @property
    def geometry(self) -> PatchGeometry:
        """The encoder's patches.

        Raises:
            ValueError: if the target was not attached to a model yet.
        """
        if self._geometry is None:
            raise ValueError("a target needs to know the encoder's patches: pass it to a model, or call attach")
        return self._geometry

    def attach(self, geometry: PatchGeometry) -> None:
        """Learns the encoder's patches; `dim` is known from here on.

        Raises:
            ValueError: if the target was attached to an encoder with another geometry before.
        """
        if self._geometry is not None and self._geometry.sizes != geometry.sizes:
            raise ValueError(
                "this target belongs to an encoder with (image shape, patch size, mean, std) = "
                f"{self._geometry.sizes}, and cannot serve one with {geometry.sizes}; make another target"
            )
        self._geometry = geometry
        self.dim = geometry.values_per_patch

    def get_build_config(self) -> None:
        """Nothing to save: `attach` is what builds a target."""

    def compute_output_shape(self, input_shape) -> tuple:
        height, width = self.geometry.patchify.patch_size
        return (input_shape[0], (input_shape[1] // height) * (input_shape[2] // width), self.dim)

    def fit(self, images) -> None:
        """Learns what the target needs to know of a sample of images `(N, H, W, C)`, once attached; mostly nothing."""

    def check_fitted(self) -> None:
        """Raises a ValueError if `fit` has to be called first."""

    def call(self, images):
        """Images `(B, H, W, C)` in [0, 255] to targets: float32 `(B, L, dim)`, or one integer a patch `(B, L)`."""
        raise NotImplementedError

    def loss(self, target, prediction) -> tf.Tensor:
        """The error of each patch, float32 `(B, N)`, of targets as `call` returns them and predictions `(B, N, dim)`.

        Here the mean squared error.
        """
        return tf.reduce_mean(tf.square(tf.cast(prediction, tf.float32) - target), axis=-1)

    def to_pixels(self, prediction, images) -> tf.Tensor:
        """Predictions `(B, L, dim)` as patches of pixels in [0, 255], float32 `(B, L, ph * pw * C)`.

        Args:
            prediction: what the decoder returned, `(B, L, dim)`.
            images: the images that it was made from, `(B, H, W, C)` in [0, 255].
        """
        raise NotImplementedError

    def to_pixels_from_visible(self, prediction, images, mask) -> tf.Tensor:
        """As `to_pixels`, without anything of the patches that `mask`, `(B, L)`, 1 = hidden, hides from the network."""
        return self.to_pixels(prediction, images)
