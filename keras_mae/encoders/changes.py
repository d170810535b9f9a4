"""Methods of `ViTEncoder`: a copy for another image size, or with another kind of relative positions."""

from __future__ import annotations

from typing import Any, TypeVar

import keras

from keras_mae.layers import resize_position_embedding, resize_relative_position_bias

AnyEncoder = TypeVar("AnyEncoder", bound=keras.Model)


def with_image_shape(encoder: AnyEncoder, image_shape: tuple[int, int, int]) -> AnyEncoder:
    """A new `ViTEncoder` for images of another size, with these weights, frozen like these.

    Learned position embeddings and tables of relative positions are resized (bicubic); a sin-cos table is computed
    anew.

    Args:
        encoder: a `ViTEncoder`, which does not change.
        image_shape: `(H, W, C)`; `C` must be the same.
    """
    if image_shape[-1] != encoder.image_shape[-1]:
        raise ValueError(f"the encoder has {encoder.image_shape[-1]} channels, cannot take {image_shape[-1]}")
    other = _changed(encoder, image_shape=tuple(image_shape))
    if encoder.position_embedding == "learned":
        table = keras.ops.convert_to_numpy(encoder.positions.table)
        other.positions.table.assign(
            resize_position_embedding(table, encoder.grid, other.grid, encoder.num_prefix_positions)
        )
    for target, source in zip(other.relative_positions, encoder.relative_positions, strict=True):
        table = keras.ops.convert_to_numpy(source.table)
        target.table.assign(resize_relative_position_bias(table, encoder.grid, other.grid))
    return other


def with_relative_position_bias(encoder: AnyEncoder, kind: str) -> AnyEncoder:
    """A new `ViTEncoder` with another kind of relative-position bias that computes the same.

    SimMIM pretrains one table for all blocks, and fine-tunes one for each, which starts as a copy of it.

    Args:
        encoder: a `ViTEncoder`, which does not change.
        kind: `"per_block"`, from a bias that is shared (or from none: the tables are then zeros).

    Raises:
        ValueError: for another kind.
    """
    if kind != "per_block":
        raise ValueError(
            f"a relative-position bias can be turned into one 'per_block', and no other kind; got {kind!r}"
        )
    other = _changed(encoder, relative_position_bias=kind)
    for target, source in zip(other.positions.weights, encoder.positions.weights, strict=True):
        target.assign(source)
    for index, layer in enumerate(other.relative_positions):
        if encoder.relative_positions:
            source = encoder.relative_positions[index % len(encoder.relative_positions)]
            layer.table.assign(source.table)
            layer.trainable, layer.table.trainable = source.trainable, source.table.trainable
    return other


def _changed(encoder: AnyEncoder, **arguments: Any) -> AnyEncoder:
    """A new encoder with other arguments, frozen like `encoder`, and all weights but those of positions."""
    other = type(encoder).from_config({**encoder.get_config(), **arguments})
    for target, source in zip(_placeless_weights(other), _placeless_weights(encoder), strict=True):
        target.assign(source)
    return other


def _placeless_weights(encoder: keras.Model) -> list[keras.Variable]:
    layers = (encoder.positions, *encoder.relative_positions)
    tables = {id(weight) for layer in layers for weight in layer.weights}
    return [weight for weight in encoder.weights if id(weight) not in tables]
