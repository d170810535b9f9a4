"""The base of heads with one vector an image: a pooling and a linear layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_mae.encoders import POOLINGS, Encoder, Tokens
from keras_mae.encoders.pooling import ATTENTIVE, OF_HEADS, patch_tokens
from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import AttentivePooling
from keras_mae.layers.slots import Linear, Slot, dense_slots
from keras_mae.models.image_head import ImageHead
from keras_mae.registry import check_name


class PooledHead(ImageHead):
    """An encoder, a pooling and a linear layer.

    Fine-tuning pools before the last LayerNorm (`mean`: average of the patch tokens, LayerNorm, linear), with a head
    that starts close to zero. With `num_trainable_layers=0` it is a linear probe: the encoder is frozen and in
    inference mode, and a BatchNorm without affine parameters comes before the linear layer.

    With attentive pooling, learned queries pool the patch tokens (after the final norm, or of `layer`), and are trained
    with the head, in a probe too: that is efficient probing. As in its code, the linear layer of such a probe starts
    from a uniform distribution within `1/sqrt(D)`, with a bias of zero. Pooling, BatchNorm and linear layer compute in
    float32 under any policy.

    Args:
        encoder, num_trainable_layers, seed: see `ImageHead`.
        num_outputs: width of the linear layer.
        pooling: `"mean"` of the patch tokens, `"cls"`, the class token, or `"both"`; or `"attentive"`, see
            `AttentivePooling`.
        layer: None, or the layer, counted from 1, whose tokens a probe takes, see `Encoder.features`.
        num_queries: of attentive pooling; must divide the encoder's width.

    Attributes:
        attentive: the `AttentivePooling`, if that is the pooling; else None.

    Reference: arXiv 2111.06377, appendix A.1 (fine-tuning, linear probing), Figure 9 (partial fine-tuning); arXiv
    2506.10178 and `probe_heads.py` of its code (attentive pooling).
    """

    def __init__(
        self,
        encoder: Encoder,
        num_outputs: int,
        pooling: str,
        num_trainable_layers: float | None,
        seed: int,
        layer: int | None,
        num_queries: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, num_trainable_layers, seed, **kwargs)
        check_name("pooling", pooling, OF_HEADS)
        width, self.attentive, self.num_queries = encoder.hidden_dim, None, num_queries
        if pooling == ATTENTIVE:
            self.attentive = AttentivePooling(num_queries, name="attentive")
        else:
            tokens = Tokens(*(tf.zeros((1, n, width)) for n in (encoder.num_prefix_tokens, 1)))
            width = POOLINGS[pooling](tokens).shape[-1]
        self._pooled_dim, self.pooling, self.layer = width, pooling, layer
        if layer is not None and not (self.is_probe and 1 <= layer <= encoder.num_layers):
            raise ValueError(
                f"layer is one of the encoder's {encoder.num_layers} layers, counted from 1, for a linear probe "
                f"(num_trainable_layers=0); got layer={layer} and num_trainable_layers={num_trainable_layers}"
            )
        if self.is_probe:
            no_affine = {"center": False, "scale": False, "dtype": "float32"}
            self.batch_norm = keras.layers.BatchNormalization(
                momentum=0.9, epsilon=1e-6, synchronized=True, name="batch_norm", **no_affine
            )  # PyTorch's momentum is 1 minus this one
        initial = keras.initializers.RandomNormal(stddev=0.01 if self.is_probe else 2e-5)
        if self.is_probe and self.attentive is not None:
            initial = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.head = keras.layers.Dense(num_outputs, kernel_initializer=initial, dtype="float32", name="head")
        self.build((None, *encoder.image_shape))

    def build(self, input_shape=None) -> None:
        if self.built:
            return
        self.built = True
        pooled = (None, self._pooled_dim)
        if self.attentive is not None:
            self.attentive.build((None, None, self._pooled_dim))
        if self.is_probe:
            self.batch_norm.build(pooled)
        self.head.build(pooled)

    def compute_output_shape(self, input_shape) -> tuple:
        return (input_shape[0], self.head.units)

    def call(self, inputs, training=False, seed: ExampleSeed | None = None):
        x = tf.convert_to_tensor(inputs)
        if x.shape.rank is None or not x.shape[1:].is_compatible_with(self.example_shapes()[-1]):
            x = self.features(x, training, seed)
        x = tf.cast(x, tf.float32)  # (B, D), or (B, L, D) to be pooled
        if self.attentive is not None:
            x = self.attentive(x)  # (B, D)
        if self.is_probe:
            x = self.batch_norm(x, training=training)
        return self.head(x)  # (B, K)

    def features(self, inputs, training=False, seed: ExampleSeed | None = None) -> tf.Tensor:
        """What the head takes from the encoder: pooled tokens, `(B, D)`; the patches' `(B, L, D)` if it pools them."""
        training = training and not self.is_probe
        if self.attentive is not None:
            return self.encoder.features(inputs, patch_tokens, self.layer, training, seed)
        if self.pooling == "mean" and not self.is_probe:
            return self.encoder.features_for_fine_tuning(inputs, training, seed)
        return self.encoder.features(inputs, self.pooling, self.layer, training, seed)

    def example_shapes(self) -> list[tuple[int, ...]]:
        """Images, or features of them."""
        dim = self._pooled_dim
        return [*self.encoder.example_shapes(), (dim,) if self.attentive is None else (self.encoder.num_patches, dim)]

    def no_weight_decay(self) -> list[keras.Variable]:
        """The trainable variables without weight decay: biases, norms, tokens, queries, position embeddings."""
        queries = [] if self.attentive is None else [self.attentive.queries]
        return self.trained_of([*self.encoder.no_weight_decay(), *queries, self.head.bias])

    def slots(self) -> Iterator[Slot]:
        """Every weight with its name and layout in checkpoints of PyTorch."""
        yield from self.encoder.slots()
        if self.attentive is not None:
            yield Slot("attentive.queries", "", self.attentive.queries)
            yield Slot("attentive.values", "kernel", self.attentive.values, Linear())
        if self.is_probe:
            yield Slot("batch_norm", "mean", self.batch_norm.moving_mean)
            yield Slot("batch_norm", "variance", self.batch_norm.moving_variance)
        yield from dense_slots("head", self.head)

    def get_config(self) -> dict[str, Any]:
        own = ("pooling", "layer", "num_queries")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
