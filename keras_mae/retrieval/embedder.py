"""What turns a batch of images into vectors: an encoder, or an exported one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_mae.data.decoding import Decoding
from keras_mae.encoders import Encoder, Tokens
from keras_mae.layers import pixel_levels
from keras_mae.retrieval.exported import exported_metadata, exported_version


@dataclasses.dataclass(frozen=True)
class Embedder:
    """A function from images to vectors, and how images are read for it.

    Attributes:
        function: from images `(B, H, W, C)`, uint8 or uint16, to vectors `(B, D)`, float32; a `tf.function`.
        image_shape: `(H, W, C)` of the images.
        crop_ratio: of the evaluation transform.
        decoding: of image files.
        pixel_dtype: that the images were trained on, `"uint8"` or `"uint16"`, to which files are decoded; `"auto"` for
            that of the data.
        pooling: the name of the pooling of the tokens to a vector.
        layer: whose tokens are pooled, counted from 1; None for the encoder's output.
        normalize: whether vectors have length 1.
        compute_dtype: of the encoder.
    """

    function: Callable[[tf.Tensor], tf.Tensor]
    image_shape: tuple[int, int, int]
    crop_ratio: float
    decoding: Decoding
    pixel_dtype: str
    pooling: str
    layer: int | None
    normalize: bool
    compute_dtype: str

    def described(self) -> dict[str, Any]:
        """What the header of vectors says of it."""
        return {
            "pooling": self.pooling,
            "layer": self.layer,
            "normalize": self.normalize,
            "image_shape": list(self.image_shape),
            "crop_ratio": self.crop_ratio,
            "compute_dtype": self.compute_dtype,
        }

    def dim(self, dtype: str) -> int:
        """The length of a vector, for images of a dtype."""
        spec = tf.TensorSpec((None, *self.image_shape), dtype)
        return int(self.function.get_concrete_function(spec).structured_outputs.shape[-1])  # type: ignore[attr-defined]


def embedder_of(
    encoder: Encoder,
    pooling: str | Callable[[Tokens], tf.Tensor] = "mean",
    layer: int | None = None,
    normalize: bool = False,
    crop_ratio: float = 0.875,
    decoding: Decoding = Decoding(),
    pixel_dtype: str = "auto",
    pooling_name: str | None = None,
) -> Embedder:
    """The embeddings of an encoder, which are those of its export up to round-off.

    Args:
        encoder: without drop path, on all patches.
        pooling: a name, see `Encoder.features`, or a function from `Tokens`, float32, to `(B, D)`.
        layer, normalize, crop_ratio, decoding, pixel_dtype: see `Embedder`.
        pooling_name: what the header says of a function; its own name if None.

    Raises:
        ValueError: for an unknown pooling or layer.
    """
    if layer is not None and not 1 <= layer <= encoder.num_layers:
        raise ValueError(f"layers are counted from 1 to {encoder.num_layers}, got {layer}")
    if layer is not None and pooling in ("cls", "both"):
        raise ValueError(f"of a layer the patch tokens alone are at hand: take pooling=mean, got {pooling}")

    @tf.function
    def embed(images):
        tokens = encoder.encode(images) if layer is None else encoder.tokens_of_layer(images, layer)
        vectors = encoder.pool(Tokens(*(tf.cast(one, tf.float32) for one in tokens)), pooling)
        vectors = tf.cast(vectors, tf.float32)  # a pooling may have a dtype of its own
        return tf.math.l2_normalize(vectors, axis=-1) if normalize else vectors

    name = pooling if isinstance(pooling, str) else pooling_name or type(pooling).__name__
    return Embedder(
        embed, encoder.image_shape, crop_ratio, decoding, pixel_dtype, name, layer, normalize, encoder.compute_dtype
    )


def exported_embedder(path: str) -> Embedder:
    """The embeddings of an exported encoder, by its signature `embed`.

    Args:
        path: the folder of a version, or of all versions, of which the newest is taken.

    Raises:
        ValueError: if there is no exported encoder.
    """
    version = exported_version(path)
    said = exported_metadata(version)
    try:
        loaded = tf.saved_model.load(version)
        signature = loaded.signatures["embed"]
    except (OSError, KeyError, tf.errors.OpError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{version} cannot be loaded: {reason}; export it once more") from error
    own_dtype = signature.structured_input_signature[1]["images"].dtype

    @tf.function
    def embed(images):
        if images.dtype == own_dtype:
            return signature(images=images)["embedding"]
        return loaded(pixel_levels(images), training=False)  # 8 bits for 16, or the other way: in [0, 255]

    embed.keep = loaded  # its variables live as long as it does
    height, width, channels = said["image_shape"]
    return Embedder(
        embed,
        (height, width, channels),
        said["crop_ratio"],
        Decoding(**said.get("decoding", {})),
        said.get("pixel_dtype", "auto"),
        said["pooling"],
        said.get("layer"),
        said.get("normalize", False),
        said.get("compute_dtype", "float32"),
    )


def on_replicas(strategy: tf.distribute.Strategy, function: Callable) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function, each replica on its share of a batch; zeros fill what the shares lack."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return function

    @tf.function
    def run(shares):
        return strategy.run(function, args=(shares,))

    def embed(images):
        count = images.shape[0]
        parts = tf.split(tf.pad(images, [[0, -count % replicas], [0, 0], [0, 0], [0, 0]]), replicas)
        shares = strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group]
        )
        return tf.concat(strategy.experimental_local_results(run(shares)), axis=0)[:count]

    return embed
