"""What an exported model offers: functions with named inputs and outputs, and the encoder's."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.data.decoding import Decoding
from keras_mae.encoders import POOLINGS, Encoder, Tokens
from keras_mae.export.image_files import PIXEL_DTYPES, images_of, png_files


class ServedModel(tf.Module, abc.ABC):
    """A model as plain TensorFlow functions and variables: what `tf.saved_model.save` writes.

    What is saved knows nothing of Keras: it holds TensorFlow's own variables, each once, and the model itself hides
    in closures, or its objects would be saved along.

    Args:
        model: what is served.
        encoder: the encoder in it.
        crop_ratio: of the evaluation transform that image files go through.
        pixel_dtype: what the model was trained on, `"uint8"` or `"uint16"`, which is then the dtype of `images` and
            what image files are decoded to; or `"auto"`: `images` are uint8, and files keep the depth that they have.
        decoding: of image files.

    Attributes:
        variables, trainable_variables: lists of `tf.Variable`. What was frozen for a linear probe is trainable here:
            a TensorFlow variable knows only what its layer was made for.
        regularization_losses: none.
    """

    # In place of tf.Module's properties, which a SavedModel does not keep
    variables: list[tf.Variable] = None  # type: ignore[assignment]
    trainable_variables: list[tf.Variable] = None  # type: ignore[assignment]

    def __init__(
        self,
        model: keras.Model,
        encoder: Encoder,
        crop_ratio: float,
        pixel_dtype: str = "auto",
        decoding: Decoding = Decoding(),
    ) -> None:
        super().__init__(name=type(self).__name__)
        if pixel_dtype not in PIXEL_DTYPES:
            raise ValueError(f"pixel_dtype is one of {', '.join(PIXEL_DTYPES)}; got {pixel_dtype!r}")
        self.variables = [variable.value for variable in model.weights]
        self.trainable_variables = [variable for variable in self.variables if variable.trainable]
        self.regularization_losses: list[tf.Tensor] = []
        self._live = lambda: (model, encoder)
        self._crop_ratio, self._pixel_dtype, self._decoding = crop_ratio, pixel_dtype, lambda: decoding

    @abc.abstractmethod
    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The functions that a server offers, by name."""

    @abc.abstractmethod
    def example_inputs(self, images: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """For each signature its inputs by name, made of images `(B, H, W, C)` of `images_dtype`."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)`."""
        return self._live()[1].image_shape

    @property
    def images_dtype(self) -> str:
        """The dtype of `images`, `"uint8"` or `"uint16"`."""
        return "uint16" if self._pixel_dtype == "uint16" else "uint8"

    @property
    def takes_files(self) -> bool:
        """Whether there is a signature of image files: those of other than 1 or 3 channels are too many formats."""
        return self.image_shape[-1] in (1, 3)

    @property
    def compute_dtype(self) -> str:
        """What it computes in: `"float32"` or `"bfloat16"`."""
        return self._live()[1].compute_dtype

    def metadata(self) -> dict[str, Any]:
        """What was exported, as JSON can hold it."""
        model, encoder = self._live()
        return {
            "model": type(model).__name__,
            "image_shape": list(encoder.image_shape),
            "crop_ratio": self._crop_ratio,
            "pixel_dtype": self._pixel_dtype,
            "decoding": dataclasses.asdict(self._decoding()),
            "compute_dtype": self.compute_dtype,
            "parameters": model.count_params(),
            "encoder": {key: value for key, value in encoder.get_config().items() if key not in ("name", "dtype")},
        }

    def images_spec(self, dtype: str | None = None) -> tf.TensorSpec:
        """Of `images`, in another dtype if one is given."""
        return tf.TensorSpec((None, *self.image_shape), dtype or self.images_dtype, name="images")

    def _file_signature(self, of_files) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """`serving_default`, if the model takes files."""
        return {"serving_default": of_files} if self.takes_files else {}

    def _file_inputs(self, images: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """The example of `serving_default`, if there is that signature."""
        return {"serving_default": {"image_bytes": png_files(images, self._pixel_dtype)}} if self.takes_files else {}

    def _of_files(self, function):
        """`function` of images as a function of image files; None if the model takes none."""
        if not self.takes_files:
            return None
        how = (self.image_shape, self._crop_ratio, self._pixel_dtype, self._decoding())

        def of_files(image_bytes):
            return function(images_of(image_bytes, *how))

        signature = [tf.TensorSpec((None,), tf.string, name="image_bytes")]
        # traced here and now, as a function with a signature would be traced a second time when it is saved
        return tf.function(of_files, input_signature=signature).get_concrete_function()


class ServedEncoder(ServedModel):
    """An encoder that gives embeddings, for serving and for fine-tuning in other people's programs.

    Args:
        encoder: what is served.
        pooling: what an embedding is: the `"mean"` of the patch tokens `(B, D)`, the `"cls"` token `(B, D)`, or
            `"both"`, the class token followed by the mean `(B, 2 D)`.
        crop_ratio: of the evaluation transform that image files go through.
        normalize: whether embeddings are scaled to length 1.
        pixel_dtype, decoding: see `ServedModel`.

    Call arguments:
        images: `(B, H, W, C)`, uint8 or float32 in [0, 255]; or, if `pixel_dtype` says so, uint16 in [0, 65535].
        training: whether drop path is active.

    Returns:
        The embeddings, float32.
    """

    def __init__(
        self,
        encoder: Encoder,
        pooling: str = "mean",
        crop_ratio: float = 0.875,
        normalize: bool = False,
        pixel_dtype: str = "auto",
        decoding: Decoding = Decoding(),
    ) -> None:
        pool = POOLINGS[pooling]
        super().__init__(encoder, encoder, crop_ratio, pixel_dtype, decoding)
        self._pooling, self._normalize = pooling, normalize
        call = encoder.__call__

        # Everything below calls one of these two, so that their graphs are in the file only once.
        @tf.function
        def features(images):
            return {name: tf.cast(tokens, tf.float32) for name, tokens in call(images, training=False).items()}

        @tf.function
        def features_training(images):
            return {name: tf.cast(tokens, tf.float32) for name, tokens in call(images, training=True).items()}

        def pooled(outputs):
            embedding = pool(Tokens(outputs["cls_token"][:, None], outputs["patch_tokens"]))
            return {"embedding": tf.math.l2_normalize(embedding, axis=-1) if normalize else embedding}

        self.features = features
        self.embed = tf.function(lambda images: pooled(features(images)))
        self.embed_training = tf.function(lambda images: pooled(features_training(images)))
        self.embed_files = self._of_files(lambda images: pooled(features(images)))
        for dtype in dict.fromkeys(("uint8", "float32", self.images_dtype)):  # float32 is what augmentation gives
            images = self.images_spec(dtype)
            self.embed.get_concrete_function(images)
            self.embed_training.get_concrete_function(images)
            for training in (False, True):
                self.__call__.get_concrete_function(images, training=training)

    @tf.function
    def __call__(self, images, training=False):
        return (self.embed_training if training else self.embed)(images)["embedding"]

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """By name: `serving_default` (image files, if the model takes them), `embed` and `features` (images)."""
        images = self.images_spec()
        return {
            **self._file_signature(self.embed_files),
            "embed": self.embed.get_concrete_function(images),
            "features": self.features.get_concrete_function(images),
        }

    def example_inputs(self, images: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        return {**self._file_inputs(images), "embed": {"images": images}, "features": {"images": images}}

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "pooling": self._pooling, "normalize": self._normalize}
