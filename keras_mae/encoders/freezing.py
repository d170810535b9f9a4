"""Freezing: the layers that a model does not select for training, and those that a user has frozen.

Keras keeps `trainable` on the layers, which several models may share. A selection belongs to one model (see
`SelectiveModel.fixed_variables`); `trainable = False`, set by a user, belongs to the layer and holds for all models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import keras

from keras_mae.layers import PositionEmbedding

AnyModel = TypeVar("AnyModel", bound=keras.Model)


def outside_of_last_blocks(encoder, count: float | None) -> list[keras.Variable]:
    """The variables of a `ViTEncoder` outside of its last `count` blocks and its final norm.

    Args:
        encoder: a `ViTEncoder`.
        count: None for no variables, 0 for all; a half counts the MLP of a further block.

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
    """Applies a constructor's `trainable=False` to the layers inside of a built layer or model; Keras does not."""
    if not layer.trainable:
        layer.trainable = True  # Keras ignores a value that does not change
        layer.trainable = False


def frozen_parts(model: keras.layers.Layer, skip: Iterable[str] = ()) -> dict[str, Any]:
    """The key `"frozen"` of a config, for layers and variables frozen inside of a built model; {} if there are none.

    Keras' configs hold `trainable` of the model alone. `skip` are attributes, layers that have configs of their own.
    """
    layers, variables, parents = {}, {}, {"": model.trainable}
    for name, layer in layers_in(model, [getattr(model, part) for part in skip]):
        if name:
            parents[name] = layer.trainable
            if layer.trainable != parents[name.rpartition("/")[0]]:
                layers[name] = layer.trainable
        for variable in _own_variables(layer):
            if variable.trainable != layer.trainable:
                variables[variable.path] = variable.trainable
    return {"frozen": {"layers": layers, "variables": variables}} if layers or variables else {}


def model_from_config(
    kind: type[AnyModel], config: dict[str, Any], objects: Iterable[str] = (), skip: Iterable[str] = ()
) -> AnyModel:
    """The model of a config, frozen by its key `"frozen"`, if it has one.

    Args:
        kind: the model's class.
        config: the constructor's arguments, and what `frozen_parts` returns.
        objects: the keys of serialized objects.
        skip: as in `frozen_parts`.
    """
    arguments = {**config, **{key: keras.saving.deserialize_keras_object(config[key]) for key in objects}}
    frozen = arguments.pop("frozen", None)
    model = kind(**arguments)
    if frozen is None:
        return model
    parts = list(layers_in(model, [getattr(model, part) for part in skip]))
    for name, layer in parts:  # from the outside in, as setting it also sets the layers inside
        if name in frozen["layers"]:
            layer.trainable = frozen["layers"][name]
    for variable in (variable for _, layer in parts for variable in _own_variables(layer)):
        if variable.path in frozen["variables"]:
            variable.trainable = frozen["variables"][variable.path]
    return model


def layers_in(layer: keras.layers.Layer, skip=(), name: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """The layer and all layers in it, outer ones first, by the path of attributes, `blocks.0/norm1`."""
    yield name, layer
    for attribute, value in _attributes(layer):
        if not any(value is other for other in skip):
            yield from layers_in(value, skip, f"{name}/{attribute}" if name else attribute)


def _attributes(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    for attribute, value in vars(layer).items():
        is_list = isinstance(value, (list, tuple))
        for index, item in enumerate(value if is_list else [value]):
            if isinstance(item, keras.layers.Layer) and not attribute.startswith("_"):
                yield f"{attribute}.{index}" if is_list else attribute, item


def _own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The variables of the layer itself that training may change: no fixed table, no statistics."""
    if isinstance(layer, keras.layers.BatchNormalization) or getattr(layer, "lora_enabled", False):
        return []  # adapters freeze their kernel; a file holds the sum, which may be trained
    if isinstance(layer, PositionEmbedding) and layer.kind != "learned":
        return []
    inside = {id(variable) for _, part in _attributes(layer) for variable in part.weights}
    return [variable for variable in layer.weights if id(variable) not in inside]
