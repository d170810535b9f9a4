"""Discrete tokens as the target."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mae.layers import pixel_levels
from keras_mae.layers.geometry import Geometry
from keras_mae.targets.saved_tokenizer import open_tokenizer
from keras_mae.targets.target import Target


@keras.saving.register_keras_serializable(package="keras_mae")
class TokenTarget(Target):
    """A tokenizer's token of each patch, which the network predicts by cross-entropy, as BEiT does.

    The tokenizer, such as a discrete VAE's encoder, is the caller's. It takes images float32 `(B, H, W, C)` in
    [0, 255], and returns integers (the tokens, `(B, L)` or `(B, rows, columns)`) or floats (logits, of which the
    largest counts, `(B, L, vocabulary_size)` or `(B, rows, columns, vocabulary_size)`), alone or as the one value of a
    dict. It is not trained. The model's file holds a Keras tokenizer whole, and the path of a SavedModel.

    Args:
        tokenizer: a Keras layer or model; or the folder of a SavedModel, whose signature `serving_default` is used.
        vocabulary_size: number of tokens, which are 0 to `vocabulary_size - 1`.

    Call arguments:
        images: `(B, H, W, C)`, uint8 or float in [0, 255], or uint16 in [0, 65535].

    Returns:
        int32 `(B, L)`; the prediction for a patch is `dim = vocabulary_size` logits.

    Raises:
        ValueError: when it is attached to a model, if the tokenizer returns something else.

    Reference: arXiv 2111.06377, Table 1d, "dVAE token"; arXiv 2106.08254.
    """

    gives_tokens, has_pixels = True, False

    def __init__(self, tokenizer: keras.layers.Layer | str, vocabulary_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tokenizer, self.vocabulary_size = tokenizer, vocabulary_size
        self._tokenize = open_tokenizer(tokenizer) if isinstance(tokenizer, str) else tokenizer

    @property
    def trainable(self) -> bool:
        """False: nothing of a target is trained."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        """Does nothing: freezing a model must not change the caller's tokenizer."""

    def attach(self, geometry: Geometry) -> None:
        super().attach(geometry)
        self.dim = self.vocabulary_size
        tokens = self(tf.zeros((1, *geometry.image_shape)))
        if tokens.shape[1] != geometry.num_patches:
            raise ValueError(
                f"the tokenizer gives {tokens.shape[1]} tokens an image, and the encoder has {geometry.num_patches} "
                "patches: choose a patch size, or image size, that makes them equal"
            )

    def call(self, images):
        output = self._tokenize(pixel_levels(images), training=False)
        if isinstance(output, dict):
            if len(output) != 1:
                raise ValueError(f"a tokenizer has one output, this one has {', '.join(output)}")
            (output,) = output.values()
        if output.dtype.is_floating:
            if output.shape[-1] != self.vocabulary_size:
                raise ValueError(
                    f"the tokenizer's logits are {output.shape[-1]} for each token, vocabulary_size is "
                    f"{self.vocabulary_size}"
                )
            output = tf.argmax(output, axis=-1)
        if output.shape.rank not in (2, 3):
            raise ValueError(
                "a tokenizer returns integers of shape (B, L) or (B, rows, columns), or floats with the vocabulary as "
                f"one more axis; got {output.dtype.name} {tuple(output.shape)}"
            )
        return tf.reshape(tf.cast(output, tf.int32), [-1, output.shape[1:].num_elements()])

    def compute_output_shape(self, input_shape) -> tuple:
        return super().compute_output_shape(input_shape)[:2]

    def to_pixels(self, prediction, images) -> tf.Tensor:
        """Raises a ValueError: a tokenizer has no pixels for a token."""
        raise ValueError("tokens cannot be drawn: the tokenizer has no pixels for them")

    def __repr__(self) -> str:
        return f"TokenTarget(tokenizer={self.tokenizer!r}, vocabulary_size={self.vocabulary_size})"

    def get_config(self) -> dict[str, Any]:
        tokenizer = self.tokenizer
        if not isinstance(tokenizer, str):
            tokenizer = keras.saving.serialize_keras_object(tokenizer)
        return {**super().get_config(), "tokenizer": tokenizer, "vocabulary_size": self.vocabulary_size}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TokenTarget:
        tokenizer = config["tokenizer"]
        if not isinstance(tokenizer, str):
            tokenizer = keras.saving.deserialize_keras_object(tokenizer)
        return cls(**{**config, "tokenizer": tokenizer})
