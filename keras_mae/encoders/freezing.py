"""What of a model is trained: the layers that it selects, less what was frozen by `trainable = False`.

Keras keeps `trainable` on the layers, which several models may share. A selection belongs to the one model that trains
(see `GlobalBatchModel.fixed_variables`); what a user froze belongs to the layer, and every model keeps to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_mae.layers import PositionEmbedding


def outside_of_last_blocks(encoder, count: float | None) -> list[keras.Variable]:
    """The variables of a `ViTEncoder` that lie outside of its last `count` blocks and its final norm.

    Args:
        encoder: a `ViTEncoder`, which is left as it is.
        count: None leaves nothing outside; 0.5 means the MLP of the last block; 0 leaves everything outside.

    Raises:
        ValueError: if the encoder has fewer blocks, or `count` is no multiple of one half.
    """
    if count is None:
        return []
    if not 0 <= count <= encoder.num_layers or 2 * count != int(2 * count):
        raise ValueError(
            f"the number of trainable layers is None, or a multiple of 0.5 up to {encoder.num_layers}; got {count!r}"
        )
    first = encoder.num_layers - int(count)
    inside = [encoder.norm, *encoder.blocks[first:]] if count else []
    if encoder.relative_position_bias == "per_block":
        inside += encoder.relative_positions[first:]
    if count != int(count):
        half = encoder.blocks[first - 1]
        inside += [half.norm2, half.mlp_hidden, half.mlp_output, half.mlp_scale]
    selected = {id(variable) for layer in inside for variable in layer.weights}
    return [variable for variable in encoder.weights if id(variable) not in selected]


def freeze_inside(layer: keras.layers.Layer) -> None:
    """Lets a constructor's `trainable=False` reach the layers inside, for the models around this one; Keras does not.

    Args:
        layer: a built layer or model.
    """
    if not layer.trainable:
        layer.trainable = True  # Keras passes over a value that is there already
        layer.trainable = False


def frozen_parts(model: keras.layers.Layer, skip: tuple[keras.layers.Layer, ...] = ()) -> dict[str, Any]:
    """For a config: `{"frozen": ...}`, which says what was frozen inside of a model, or nothing.

    Keras' configs hold `trainable` of the model alone.

    Args:
        model: a built model.
        skip: layers in it that are looked after elsewhere, as they have configs of their own.
    """
    layers, variables = {}, {}
    parents = {"": model.trainable}
    for name, layer in _parts(model, skip):
        if name:
            parents[name] = layer.trainable
            if layer.trainable != parents[name.rpartition("/")[0]]:
                layers[name] = layer.trainable
        for variable in _own_variables(layer):
            if variable.trainable != layer.trainable:
                variables[variable.path] = variable.trainable
    return {"frozen": {"layers": layers, "variables": variables}} if layers or variables else {}


def freeze_parts(model: keras.layers.Layer, frozen: Mapping[str, Any] | None, skip=()) -> None:
    """Freezes what `frozen_parts` found frozen in another model of this form.

    Args:
        model: a built model.
        frozen: the value of the config's key, None if it has none.
        skip: as in `frozen_parts`.
    """
    if frozen is None:
        return
    parts = list(_parts(model, skip))
    for name, layer in parts:  # from the outside in, as setting it reaches what lies inside
        if name in frozen["layers"]:
            layer.trainable = frozen["layers"][name]
    for variable in (variable for _, layer in parts for variable in _own_variables(layer)):
        if variable.path in frozen["variables"]:
            variable.trainable = frozen["variables"][variable.path]


def _parts(layer: keras.layers.Layer, skip=(), name: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """The layer and all in it, each after the one that holds it, by the path of attributes, `blocks.0/norm1`."""
    yield name, layer
    for attribute, value in _attributes(layer):
        if not any(value is other for other in skip):
            yield from _parts(value, skip, f"{name}/{attribute}" if name else attribute)


def _attributes(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    for attribute, value in vars(layer).items():
        if attribute.startswith("_"):
            continue
        if isinstance(value, keras.layers.Layer):
            yield attribute, value
        elif isinstance(value, (list, tuple)):
            yield from (
                (f"{attribute}.{index}", item)
                for index, item in enumerate(value)
                if isinstance(item, keras.layers.Layer)
            )


def _own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Those of the layer itself that training may change: no fixed table, no statistics."""
    if isinstance(layer, keras.layers.BatchNormalization) or getattr(layer, "lora_enabled", False):
        return []  # adapters freeze what they are added to; a file holds the sum, of which all may be trained
    if isinstance(layer, PositionEmbedding) and layer.kind != "learned":
        return []
    inside = {id(variable) for _, part in _attributes(layer) for variable in part.weights}
    return [variable for variable in layer.weights if id(variable) not in inside]
