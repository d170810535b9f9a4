"""The base of all reconstruction targets."""

from __future__ import annotations

import keras
import tensorflow as tf

from keras_mae.layers.geometry import AttachedLayer, Geometry


class Target(AttachedLayer):
    """Turns images into the values to predict for each patch.

    Subclasses set `dim` in `attach`, override `call`, and `to_pixels` if a prediction can be drawn.

    Attributes:
        dim: width of the prediction for one patch; set by `attach`.
        gives_tokens: whether it is one integer a patch, of which the prediction is the logits.
        needs_fit: whether `fit` must see a sample of the images before training.
        has_pixels: whether a prediction can be drawn, by `to_pixels`.
        uses_hidden_pixels: whether `to_pixels` needs more than the prediction of the hidden patches; then
            `to_pixels_from_visible` does without.
    """

    kind = "target"
    sizes = ("image_shape", "grid", "mean", "std")
    dim: int
    gives_tokens: bool = False
    needs_fit: bool = False
    has_pixels: bool = True
    uses_hidden_pixels: bool = False

    compute_output_spec = keras.Operation.compute_output_spec  # traces `call`, so that the dtype is right

    def __init__(self, **kwargs) -> None:
        super().__init__(autocast=False, **kwargs)

    def __repr__(self) -> str:
        config = self.get_config()
        own = (f"{key}={value!r}" for key, value in config.items() if key not in ("name", "trainable", "dtype"))
        return f"{type(self).__name__}({', '.join(own)})"

    def attach(self, geometry: Geometry) -> None:
        """Sets the sizes of the model, and `dim`.

        Raises:
            ValueError: if the target is attached to other sizes already.
        """
        super().attach(geometry)
        self.dim = geometry.values_per_patch

    def get_build_config(self) -> None:
        """Nothing to save: `attach` builds a target."""

    def compute_output_shape(self, input_shape) -> tuple:
        return (input_shape[0], self.geometry.num_patches, self.dim)

    def fit(self, images) -> None:
        """Fits the attached target to a sample of images `(N, H, W, C)`; most targets need none."""

    def check_fitted(self) -> None:
        """Raises a ValueError if `fit` has to be called first."""

    def call(self, images):
        """From images `(B, H, W, C)` in [0, 255] to float32 `(B, L, dim)`, or one integer a patch, `(B, L)`."""
        raise NotImplementedError

    def for_step(self, images, mask, tokens):
        """The values to predict in a step: here `self(images)`; a target with a teacher may use the rest.

        Args:
            images: `(B, H, W, C)` in [0, 255].
            mask: the step's `Mask`.
            tokens: the encoder's `Tokens` in this step; a list of them if the decoder takes those of several layers.
        """
        return self(images)

    def to_pixels(self, prediction, images) -> tf.Tensor:
        """Predictions `(B, L, dim)` as patches of pixels in [0, 255], float32 `(B, L, ph * pw * C)`.

        Args:
            prediction: the decoder's output, `(B, L, dim)`.
            images: the images of the prediction, `(B, H, W, C)` in [0, 255].
        """
        raise NotImplementedError

    def to_pixels_from_visible(self, prediction, images, mask) -> tf.Tensor:
        """As `to_pixels`, without the pixels of the patches that `mask`, `(B, L)`, 1 = hidden, hides."""
        return self.to_pixels(prediction, images)
