"""The signatures of exported models, functions with named inputs and outputs, and those of an encoder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.data.decoding import Decoding
from keras_mae.encoders import Encoder, Tokens
from keras_mae.encoders.pooling import ATTENTIVE, pooling_of
from keras_mae.export.image_files import files_decoder, png_files
from keras_mae.export.int8 import int8_products, saved_variables
from keras_mae.layers import AttentivePooling


class ServedModel(tf.Module):
    """A model as plain TensorFlow functions and variables, for `tf.saved_model.save`.

    A SavedModel without Keras holds TensorFlow's own variables, each once. The model itself is kept in closures, as
    the objects in attributes would be saved along. A signature is traced when it is asked for, with the kernels that
    are used there.

    Args:
        model: to serve.
        encoder: of the model.
        crop_ratio: of the evaluation transform that image files go through; None to resize them whole.
        pixel_dtype: `"uint8"` or `"uint16"`, as the model was trained: the dtype of `images`, to which image files are
            decoded, too; or `"auto"`: `images` are uint8, and files keep their depth.
        decoding: of image files.

    Attributes:
        trains: whether the weights are float32; a model with others can only be served.
        variables, trainable_variables: lists of `tf.Variable`. A layer that was frozen for a linear probe is trainable
            here: a TensorFlow variable keeps the flag that it was made with.
        regularization_losses: empty.
        licence: of the weights, for the metadata; None if it is not known.
        calibration: of a model in 8 bits, for the metadata: the number of images, and the cosine to the live model.
        of_files: the function of image files, once it was asked for.
    """

    licence: str | None = None
    calibration: dict[str, Any] | None = None
    of_images: tuple[str, ...] = ()  # names of the functions of images alone; ONNX has the first
    of_files: tf.types.experimental.ConcreteFunction | None = None

    # These replace tf.Module's properties, which a SavedModel does not keep
    variables: list[tf.Variable] = None  # type: ignore[assignment]
    trainable_variables: list[tf.Variable] = None  # type: ignore[assignment]

    def __init__(
        self,
        model: keras.Model,
        encoder: Encoder,
        crop_ratio: float | None,
        pixel_dtype: str = "auto",
        decoding: Decoding = Decoding(),
    ) -> None:
        super().__init__(name=type(self).__name__)
        if pixel_dtype not in ("auto", "uint8", "uint16"):
            raise ValueError(f"pixel_dtype is one of auto, uint8, uint16; got {pixel_dtype!r}")
        self.variables = saved_variables(model, encoder)
        # small steps are lost in the roundings of bfloat16, and what multiplies in 8 bits has no gradient
        self.trains = encoder.variable_dtype == "float32" and not int8_products(encoder)
        self.trainable_variables = self._trainable()
        self.regularization_losses: list[tf.Tensor] = []
        self._live = lambda: (model, encoder)
        self._crop_ratio, self._pixel_dtype, self._decoding = crop_ratio, pixel_dtype, lambda: decoding

    def outputs_of_files(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """What `serving_default` gives for image files, of the images that they are decoded to."""
        raise NotImplementedError

    @property
    def signature_names(self) -> tuple[str, ...]:
        """What a server offers: `serving_default` if files have the model's channels, and the functions of images."""
        return ("serving_default",) * (self.image_shape[-1] in (1, 3)) + self.of_images

    def signature(self, name: str) -> tf.types.experimental.ConcreteFunction:
        """The function of one of `signature_names`."""
        if name != "serving_default":
            return getattr(self, name).get_concrete_function(self.images_spec())
        if self.of_files is None:
            decode = self._files_decoder()

            def of_files(image_bytes):
                return self.outputs_of_files(decode(image_bytes))

            signature = [tf.TensorSpec((None,), tf.string, name="image_bytes")]
            self.of_files = tf.function(of_files, input_signature=signature).get_concrete_function()
        return self.of_files

    def live_function(self, name: str) -> Callable[..., dict[str, tf.Tensor]]:
        """The function of one of `signature_names` that is called here: what decodes files starts once a process."""
        return self.signature(name) if name != "serving_default" else self.after_decoding(self.outputs_of_files)

    def after_decoding(self, function: Callable) -> Callable:
        """`function` of images as one of `image_bytes`, in two graphs."""
        decode = self._files_decoder().get_concrete_function()
        answer = tf.function(function).get_concrete_function(decode.structured_outputs)
        return lambda image_bytes: answer(decode(image_bytes))

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The functions that a server offers, by name."""
        return {name: self.signature(name) for name in self.signature_names}

    def trace_callables(self) -> None:
        """Traces what a SavedModel offers in Python besides its signatures: nothing here."""

    def example_inputs(self, images: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """For each signature its inputs by name, made of images `(B, H, W, C)` of `images_dtype`."""
        return {
            name: {"images": images}
            if name in self.of_images
            else {"image_bytes": png_files(images, self._pixel_dtype)}
            for name in self.signature_names
        }

    def live_probabilities(self, signature: str, inputs: dict[str, tf.Tensor]) -> np.ndarray | None:
        """The probabilities behind classes that a signature gives without them, for the check of an export; or None."""
        return None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)`."""
        return self._live()[1].image_shape

    @property
    def images_dtype(self) -> str:
        """The dtype of `images`, `"uint8"` or `"uint16"`."""
        return "uint16" if self._pixel_dtype == "uint16" else "uint8"

    @property
    def compute_dtype(self) -> str:
        """The dtype of the computation: `"float32"`, `"bfloat16"`, or `"int8"` of most products."""
        encoder = self._live()[1]
        return "int8" if int8_products(encoder) else encoder.compute_dtype

    def metadata(self) -> dict[str, Any]:
        """A description of the export, for a JSON file."""
        model, encoder = self._live()
        return {
            "model": type(model).__name__,
            "image_shape": list(encoder.image_shape),
            "crop_ratio": self._crop_ratio,
            "pixel_dtype": self._pixel_dtype,
            "decoding": dataclasses.asdict(self._decoding()),
            "compute_dtype": self.compute_dtype,
            **({} if self.calibration is None else {"calibration": dict(self.calibration)}),
            "parameters": model.count_params(),
            **({} if self.licence is None else {"licence": self.licence}),
            "encoder": {key: value for key, value in encoder.get_config().items() if key not in ("name", "dtype")},
        }

    def _trainable(self) -> list[tf.Variable]:
        return [variable for variable in self.variables if self.trains and variable.trainable]

    def images_spec(self, dtype: str | None = None) -> tf.TensorSpec:
        """The spec of `images`, in `images_dtype` or in another dtype."""
        return tf.TensorSpec((None, *self.image_shape), dtype or self.images_dtype, name="images")

    def _files_decoder(self) -> tf.types.experimental.PolymorphicFunction:
        return files_decoder(self.image_shape, self._crop_ratio, self._pixel_dtype, self._decoding())


class ServedEncoder(ServedModel):
    """An encoder that gives embeddings, for serving and for fine-tuning in other programs.

    Args:
        encoder: to serve.
        pooling, crop_ratio, normalize, pixel_dtype, decoding, layer: see `export_encoder`.

    Call arguments:
        images: `(B, H, W, C)`, uint8 or float32 in [0, 255]; or, if `pixel_dtype` says so, uint16 in [0, 65535].
        training: whether drop path is active.

    Returns:
        The embeddings, float32.
    """

    of_images = ("embed", "features")

    def __init__(
        self,
        encoder: Encoder,
        pooling: str | AttentivePooling = "mean",
        crop_ratio: float = 0.875,
        normalize: bool = False,
        pixel_dtype: str = "auto",
        decoding: Decoding = Decoding(),
        layer: int | None = None,
    ) -> None:
        pool = pooling_of(pooling)
        super().__init__(encoder, encoder, crop_ratio, pixel_dtype, decoding)
        said = {"pooling": pooling, "normalize": normalize, **({} if layer is None else {"layer": layer})}
        self._embedding = lambda: said  # in a closure, as a layer in an attribute would be saved along
        if isinstance(pooling, AttentivePooling):
            self._add_weights(pooling)
        call = encoder.__call__

        # All functions below call one of these two, or with a layer, of the two below them, so that the file holds
        # their graphs only once.
        @tf.function
        def features(images):
            return {name: tf.cast(tokens, tf.float32) for name, tokens in call(images, training=False).items()}

        @tf.function
        def features_training(images):
            return {name: tf.cast(tokens, tf.float32) for name, tokens in call(images, training=True).items()}

        def pooled_of_layer(images, training):
            tokens = encoder.tokens_of_layer(images, layer or 1, training)
            return encoder.pool(Tokens(*(tf.cast(part, tf.float32) for part in tokens)), pool)

        of_layer = [tf.function(functools.partial(pooled_of_layer, training=training)) for training in (False, True)]

        def embed(images, training=False):
            if layer is not None:
                embedding = of_layer[training](images)
            else:
                outputs = (features_training if training else features)(images)
                embedding = pool(Tokens(outputs["cls_token"][:, None], outputs["patch_tokens"]))
            return {"embedding": tf.math.l2_normalize(embedding, axis=-1) if normalize else embedding}

        self.features = features
        self.embed = tf.function(lambda images: embed(images))
        if self.trains:
            self.embed_training = tf.function(lambda images: embed(images, training=True))

    def outputs_of_files(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.embed(images)

    def trace_callables(self) -> None:
        """Traces the embeddings of images, which can be fine-tuned if the model trains."""
        for dtype in dict.fromkeys(("uint8", "float32", self.images_dtype)):  # augmentation gives float32
            images = self.images_spec(dtype)
            self.embed.get_concrete_function(images)
            if self.trains:
                self.embed_training.get_concrete_function(images)
            for training in (False, True)[: 1 + self.trains]:
                self.__call__.get_concrete_function(images, training=training)

    @tf.function
    def __call__(self, images, training=False):
        return (self.embed_training if training else self.embed)(images)["embedding"]

    def metadata(self) -> dict[str, Any]:
        said, embedding = super().metadata(), self._embedding()
        pooling = embedding["pooling"]
        if not isinstance(pooling, AttentivePooling):
            return {**said, **embedding}
        own = {"pooling": ATTENTIVE, "num_queries": pooling.num_queries}
        return {**said, "parameters": said["parameters"] + pooling.count_params(), **embedding, **own}

    def _add_weights(self, pooling: AttentivePooling) -> None:
        """Takes the variables of a pooling, which belong to no encoder, into those that are saved."""
        width = self._live()[1].hidden_dim
        if not pooling.built or pooling.queries.shape[-1] != width:
            has = f"is for a width of {pooling.queries.shape[-1]}" if pooling.built else "has no weights yet"
            raise ValueError(
                f"the pooling of an encoder with a width of {width} {has}: take .attentive of a trained "
                "ImageClassifier(..., pooling='attentive') of this encoder"
            )
        own = [variable.value for variable in pooling.weights]
        self.variables = [*self.variables, *own]
        self.trainable_variables = self._trainable()
