"""The base of all reconstruction targets."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_mae.layers.geometry import Geometry

_SIZES = ("image_shape", "grid", "mean", "std")


class Target(keras.layers.Layer):
    """Turns images into what is to be predicted for each patch.

    A model attaches its target once: that tells it the patches and the pixel normalisation of the encoder.
    Subclasses set `dim` in `attach`, override `call`, and `to_pixels` if a prediction can be drawn.

    Attributes:
        dim: width of the prediction for one patch; known once attached.
        gives_tokens: whether it is one integer a patch, of which the prediction is the logits.
        needs_fit: whether `fit` must see a sample of the images before training.
        has_pixels: whether a prediction can be drawn, by `to_pixels`.
        uses_hidden_pixels: whether `to_pixels` needs more of the hidden patches than was predicted; there is
            `to_pixels_from_visible` then.
    """

    dim: int
    gives_tokens: bool = False
    needs_fit: bool = False
    has_pixels: bool = True
    uses_hidden_pixels: bool = False

    compute_output_spec = keras.Operation.compute_output_spec  # of what `call` returns, its dtype included

    def __init__(self, **kwargs) -> None:
        super().__init__(autocast=False, **kwargs)
        self._geometry: Geometry | None = None

    def __repr__(self) -> str:
        config = self.get_config()
        own = (f"{key}={value!r}" for key, value in config.items() if key not in ("name", "trainable", "dtype"))
        return f"{type(self).__name__}({', '.join(own)})"

    @property
    def geometry(self) -> Geometry:
        """The encoder's patches.

        Raises:
            ValueError: if the target was not attached to a model yet.
        """
        if self._geometry is None:
            raise ValueError("a target needs to know the encoder's patches: pass it to a model, or call attach")
        return self._geometry

    def attach(self, geometry: Geometry) -> None:
        """Learns the encoder's patches; `dim` is known from here on.

        Raises:
            ValueError: if the target was attached to an encoder with another geometry before.
        """
        geometry.check_same(self._geometry, "target", _SIZES)
        self._geometry = geometry
        self.dim = geometry.values_per_patch

    def get_build_config(self) -> None:
        """Nothing to save: `attach` is what builds a target."""

    def compute_output_shape(self, input_shape) -> tuple:
        return (input_shape[0], self.geometry.num_patches, self.dim)

    def fit(self, images) -> None:
        """Learns what the target needs to know of a sample of images `(N, H, W, C)`, once attached; mostly nothing."""

    def check_fitted(self) -> None:
        """Raises a ValueError if `fit` has to be called first."""

    def call(self, images):
        """Images `(B, H, W, C)` in [0, 255] to targets: float32 `(B, L, dim)`, or one integer a patch `(B, L)`."""
        raise NotImplementedError

    def for_step(self, images, mask, tokens):
        """What is to be predicted in a step: here `self(images)`.

        A target with a teacher may look at what the network sees, too.

        Args:
            images: `(B, H, W, C)` in [0, 255].
            mask: the step's `Mask`.
            tokens: the encoder's `Tokens` in this step.
        """
        return self(images)

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
