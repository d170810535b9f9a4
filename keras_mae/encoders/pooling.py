"""How the tokens of an image become one vector.

TensorFlow is imported when tokens are pooled: settings take the names of the poolings from here, without it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from keras_mae.registry import Registry

if TYPE_CHECKING:
    import tensorflow as tf

    from keras_mae.encoders.encoder import Tokens

POOLINGS: Registry[Callable[[Tokens], tf.Tensor]] = Registry("pooling")
ATTENTIVE = "attentive"  # a head's pooling with weights of its own, see `keras_mae.layers.AttentivePooling`
OF_HEADS: Mapping[str, Any] = ChainMap({ATTENTIVE: None}, cast(Any, POOLINGS))  # what a head that is trained may name


def pooling_of(pooling: str | Callable[[Tokens], tf.Tensor]) -> Callable[[Tokens], tf.Tensor]:
    """The pooling of a name, or the given function of `Tokens`, such as an `AttentivePooling`.

    Raises:
        ValueError: for an unknown name, or one that stands for weights that have to be trained.
    """
    if pooling == ATTENTIVE:
        raise ValueError(
            "attentive pooling has weights, which a probe or fine-tuning trains: take ImageClassifier(encoder, ..., "
            "pooling='attentive'), and its .attentive, an AttentivePooling, in place of the name"
        )
    return pooling if callable(pooling) else POOLINGS[pooling]


def patch_tokens(tokens: Tokens) -> tf.Tensor:
    """The patch tokens themselves, `(B, N, D)`, for a pooling that follows."""
    return tokens.patches


@POOLINGS.register("mean")
def mean_of_patches(tokens: Tokens) -> tf.Tensor:
    """The mean of the patch tokens, `(B, D)`."""
    import tensorflow as tf

    return tf.reduce_mean(tokens.patches, axis=1)


@POOLINGS.register("cls")
def class_token(tokens: Tokens) -> tf.Tensor:
    """The class token, `(B, D)`: the mean if there are several, or without any the mean of the patch tokens.

    The prefix holds class tokens alone, see `Encoder.pool`.
    """
    import tensorflow as tf

    count = tokens.prefix.shape[1]
    if count == 0:
        return mean_of_patches(tokens)
    return tokens.prefix[:, 0] if count == 1 else tf.reduce_mean(tokens.prefix, axis=1)


@POOLINGS.register("both")
def class_token_and_mean(tokens: Tokens) -> tf.Tensor:
    """The class token followed by the mean of the patch tokens, `(B, 2 D)`."""
    import tensorflow as tf

    return tf.concat([class_token(tokens), mean_of_patches(tokens)], axis=-1)
