"""The functions of an exported model, with named inputs and outputs."""

from __future__ import annotations

import tensorflow as tf

from keras_mae.data.preprocessing import decode_image, evaluation_transform
from keras_mae.models import ViTEncoder

POOLINGS = ("mean", "cls")


class ServedEncoder(tf.Module):
    """An encoder with its preprocessing, as plain TensorFlow functions and variables.

    Args:
        encoder: what is served.
        pooling: what an embedding is: the `"mean"` of the patch tokens, or the `"cls"` token.
        crop_ratio: of the evaluation transform that image files go through.
    """

    def __init__(self, encoder: ViTEncoder, pooling: str = "mean", crop_ratio: float = 0.875) -> None:
        super().__init__(name="encoder")
        if pooling not in POOLINGS:
            raise ValueError(f"pooling is one of {', '.join(POOLINGS)}; got {pooling!r}")
        # TensorFlow's own variables: what is saved knows nothing of Keras. (In a list, as the loader needs them
        # tracked; the encoder itself hides in a closure, or its objects would be saved along.)
        self.encoder_variables = [variable.value for variable in encoder.variables]
        image_shape, call = encoder.image_shape, encoder.__call__

        def features(images):
            outputs = call(images, training=False)
            return {name: tf.cast(tokens, tf.float32) for name, tokens in outputs.items()}

        def embed(images):
            outputs = features(images)
            pooled = outputs["cls_token"] if pooling == "cls" else tf.reduce_mean(outputs["patch_tokens"], axis=1)
            return {"embedding": pooled}

        def preprocess(contents):
            image = decode_image(contents, image_shape[-1])
            return evaluation_transform(image, image_shape, crop_ratio)

        def embed_files(image_bytes):
            return embed(tf.map_fn(preprocess, image_bytes, fn_output_signature=tf.TensorSpec(image_shape, tf.uint8)))

        images = tf.TensorSpec((None, *image_shape), tf.uint8, name="images")
        files = tf.TensorSpec((None,), tf.string, name="image_bytes")
        self.features = tf.function(features, input_signature=[images])
        self.embed = tf.function(embed, input_signature=[images])
        self.embed_files = tf.function(embed_files, input_signature=[files])

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """By name: `serving_default` (image files), `embed` and `features` (uint8 images)."""
        functions = {"serving_default": self.embed_files, "embed": self.embed, "features": self.features}
        return {name: function.get_concrete_function() for name, function in functions.items()}
