"""The signature of an exported masked autoencoder."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mae.export.signatures import ServedModel
from keras_mae.models.masked_image_model import MaskedImageModel


class ServedAutoencoder(ServedModel):
    """A masked autoencoder that reconstructs the patches masked by the caller.

    Args:
        autoencoder: to serve.
        pixel_dtype: see `ServedModel`.

    Raises:
        ValueError: if it predicts something that has no pixels, such as tokens.
    """

    def __init__(self, autoencoder: MaskedImageModel, pixel_dtype: str = "auto") -> None:
        if not autoencoder.target.has_pixels:
            raise ValueError(
                f"an exported {type(autoencoder).__name__} gives reconstructions, and this one's "
                f"{type(autoencoder.target).__name__} has no pixels to give: export its encoder (--model=encoder)"
            )
        # images come in the model's size
        super().__init__(autoencoder, autoencoder.encoder, crop_ratio=1.0, pixel_dtype=pixel_dtype)
        call = autoencoder.reconstruct
        mask = tf.TensorSpec((None, autoencoder.encoder.num_patches), tf.float32, name="mask")

        @tf.function(input_signature=[self.images_spec(), mask])
        def reconstruct(images, mask):
            outputs = call(images, mask=mask)
            return {name: outputs[name] for name in ("reconstruction", "masked_images")}

        self.reconstruct = reconstruct

    @property
    def signature_names(self) -> tuple[str, ...]:
        """`reconstruct`: of images and masks `(B, L)`, 1 = masked, equal counts in every row."""
        return ("reconstruct",)

    def signature(self, name: str) -> tf.types.experimental.ConcreteFunction:
        return getattr(self, name).get_concrete_function()

    def example_inputs(self, images: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        autoencoder, encoder = self._live()
        masked = encoder.num_patches - autoencoder.masking.num_visible(encoder.num_patches)
        draw = np.random.RandomState(0)
        rows = [draw.permutation(encoder.num_patches) < masked for _ in images]
        return {"reconstruct": {"images": images, "mask": np.array(rows, "float32")}}
