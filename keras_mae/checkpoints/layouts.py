"""The weights of a model as a list, and how PyTorch lays each of them out."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator

import keras
import numpy as np

from keras_mae.layers import PositionEmbedding, RelativePositionBias
from keras_mae.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, SimMIM, ViTEncoder

_CACHE_LINE = 64


class Layout(abc.ABC):
    """A change of layout between a file's tensor and a variable; exact to the bit, both ways."""

    @abc.abstractmethod
    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape in the file of a variable of this shape."""

    @abc.abstractmethod
    def from_file(self, array: np.ndarray) -> np.ndarray:
        """The file's array in our layout."""

    @abc.abstractmethod
    def to_file(self, array: np.ndarray) -> np.ndarray:
        """Our array in the file's layout."""


class Same(Layout):
    """Biases, gains and tokens: nothing changes."""

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def from_file(self, array: np.ndarray) -> np.ndarray:
        return array

    def to_file(self, array: np.ndarray) -> np.ndarray:
        return array


class Linear(Layout):
    """A matrix: `(inputs, outputs)` here, `(outputs, inputs)` in PyTorch."""

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape[::-1]

    def from_file(self, array: np.ndarray) -> np.ndarray:
        return _transposed(array)

    def to_file(self, array: np.ndarray) -> np.ndarray:
        return _transposed(array)


@dataclasses.dataclass(frozen=True)
class PatchKernel(Layout):
    """The patch projection: a matrix `(ph * pw * C, D)` here, a convolution's kernel `(D, C, ph, pw)` in PyTorch."""

    patch_size: tuple[int, int]
    channels: int

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[1], self.channels, *self.patch_size)

    def from_file(self, array: np.ndarray) -> np.ndarray:
        return array.transpose(2, 3, 1, 0).reshape(-1, array.shape[0])

    def to_file(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(*self.patch_size, self.channels, -1).transpose(3, 2, 0, 1)


@dataclasses.dataclass(frozen=True)
class PixelShuffled(Layout):
    """A linear layer `(D, ph * pw * C)` here, a convolution `(C * ph * pw, D, 1, 1)` before a PixelShuffle in PyTorch.

    Its bias likewise.
    """

    patch_size: tuple[int, int]
    channels: int

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if len(shape) == 1 else (*shape[::-1], 1, 1)

    def from_file(self, array: np.ndarray) -> np.ndarray:
        values = np.moveaxis(array.reshape(self.channels, *self.patch_size, -1), (3, 0), (0, 3))  # (D, ph, pw, C)
        return values.reshape(-1) if array.ndim == 1 else values.reshape(array.shape[1], -1)

    def to_file(self, array: np.ndarray) -> np.ndarray:
        values = np.moveaxis(array.reshape(-1, *self.patch_size, self.channels), (0, 3), (3, 0))  # (C, ph, pw, D)
        return values.reshape(-1) if array.ndim == 1 else values.reshape(-1, array.shape[0], 1, 1)


@dataclasses.dataclass(frozen=True)
class Table(Layout):
    """Position embeddings: `(P + L, D)` here, `(1, P + L, D)` in PyTorch. Knows its layer, for another grid."""

    layer: PositionEmbedding

    def file_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1, *shape)

    def from_file(self, array: np.ndarray) -> np.ndarray:
        return array[0]

    def to_file(self, array: np.ndarray) -> np.ndarray:
        return array[None]


@dataclasses.dataclass(frozen=True)
class Offsets(Same):
    """A table of relative positions: nothing changes. Knows its layer, for another grid."""

    layer: RelativePositionBias


@dataclasses.dataclass(frozen=True)
class Slot:
    """One variable of a model.

    Attributes:
        owner: what it belongs to, by our attributes: `encoder.blocks.0.norm1`, `decoder.mask_token`.
        leaf: `kernel`, `bias`, `gamma`, `beta`, `mean`, `variance`, or "" if the owner is the variable itself.
        variable: the variable.
        layout: how PyTorch lays it out.
    """

    owner: str
    leaf: str
    variable: keras.Variable
    layout: Layout

    @property
    def name(self) -> str:
        """Our name of it, such as `encoder.blocks.0.norm1.gamma`."""
        return f"{self.owner}.{self.leaf}" if self.leaf else self.owner

    @property
    def part(self) -> str:
        """`encoder`, `decoder`, `head` or `batch_norm`."""
        return self.owner.partition(".")[0]

    @property
    def file_shape(self) -> tuple[int, ...]:
        """Its shape in a file that holds it in one piece."""
        return self.layout.file_shape(tuple(self.variable.shape))


def slots(model: keras.Model) -> list[Slot]:
    """Every weight of a model, exactly once.

    Args:
        model: a `ViTEncoder`, `MaskedAutoencoder`, `SimMIM` or `ImageClassifier`.

    Raises:
        ValueError: for another kind of model, or one with weights that no published format has.
    """
    if isinstance(model, ViTEncoder):
        found = list(_encoder(model))
    elif isinstance(model, MaskedAutoencoder) and isinstance(model.decoder, MAEDecoder):
        found = [*_encoder(model.encoder), *_decoder(model.decoder)]
    elif isinstance(model, SimMIM):
        found = [*_encoder(model.encoder), *_simmim(model)]
    elif isinstance(model, ImageClassifier):
        found = [*_encoder(model.encoder), *_classifier(model)]
    else:
        raise ValueError(
            "checkpoints are of a ViTEncoder, a MaskedAutoencoder with an MAEDecoder, a SimMIM or an ImageClassifier; "
            f"got a {type(model).__name__}: pass its encoder, or save it with model.save(...)"
        )
    known = {id(slot.variable) for slot in found}
    unknown = [variable.path for variable in model.weights if id(variable) not in known]
    if unknown or len(known) != len(found):
        raise ValueError(f"no published format has a place for these weights of the model: {', '.join(unknown)}")
    return found


def value_of(slot: Slot) -> np.ndarray:
    """The variable's value, in our layout."""
    return np.asarray(keras.ops.convert_to_numpy(slot.variable))


def _dense(owner: str, layer: keras.layers.Dense) -> Iterator[Slot]:
    yield Slot(owner, "kernel", layer.kernel, Linear())
    yield Slot(owner, "bias", layer.bias, Same())


def _norm(owner: str, layer: keras.layers.LayerNormalization) -> Iterator[Slot]:
    yield Slot(owner, "gamma", layer.gamma, Same())
    yield Slot(owner, "beta", layer.beta, Same())


def _blocks(owner: str, blocks: list) -> Iterator[Slot]:
    for index, block in enumerate(blocks):
        path = f"{owner}.{index}"
        yield from _norm(f"{path}.norm1", block.norm1)
        yield from _dense(f"{path}.attention.qkv", block.attention.qkv)
        yield from _dense(f"{path}.attention.projection", block.attention.projection)
        yield from _norm(f"{path}.norm2", block.norm2)
        yield from _dense(f"{path}.mlp_hidden", block.mlp_hidden)
        yield from _dense(f"{path}.mlp_output", block.mlp_output)
        for name in ("attention_scale", "mlp_scale") if block.layer_scale is not None else ():
            yield Slot(f"{path}.{name}.gamma", "", getattr(block, name).gamma, Same())


def _encoder(encoder: ViTEncoder) -> Iterator[Slot]:
    if encoder.use_cls_token:
        yield Slot("encoder.cls_token", "", encoder.cls_token, Same())
    if encoder.position_embedding is not None:
        yield Slot("encoder.positions.table", "", encoder.positions.table, Table(encoder.positions))
    for index, layer in enumerate(encoder.relative_positions):
        yield Slot(f"encoder.relative_positions.{index}.table", "", layer.table, Offsets(layer))
    kernel, bias = _dense("encoder.patch_projection", encoder.patch_projection)
    yield dataclasses.replace(kernel, layout=PatchKernel(encoder.patch_size, encoder.image_shape[-1]))
    yield bias
    yield from _blocks("encoder.blocks", encoder.blocks)
    yield from _norm("encoder.norm", encoder.norm)


def _decoder(decoder: MAEDecoder) -> Iterator[Slot]:
    yield Slot("decoder.mask_token", "", decoder.mask_token, Same())
    yield Slot("decoder.positions.table", "", decoder.positions.table, Table(decoder.positions))
    yield from _dense("decoder.embedding", decoder.embedding)
    yield from _blocks("decoder.blocks", decoder.blocks)
    yield from _norm("decoder.norm", decoder.norm)
    yield from _dense("decoder.head", decoder.head)


def _simmim(model: SimMIM) -> Iterator[Slot]:
    yield Slot("mask_token", "", model.mask_token, Same())
    layout = PixelShuffled(model.encoder.patch_size, model.encoder.image_shape[-1])
    for slot in _dense("decoder.projection", model.decoder.projection):
        yield dataclasses.replace(slot, layout=layout)


def _classifier(classifier: ImageClassifier) -> Iterator[Slot]:
    if classifier.is_probe:
        yield Slot("batch_norm", "mean", classifier.batch_norm.moving_mean, Same())
        yield Slot("batch_norm", "variance", classifier.batch_norm.moving_variance, Same())
    yield from _dense("head", classifier.head)


def _transposed(matrix: np.ndarray) -> np.ndarray:
    """A transposed copy, written one cache line at a time: on large matrices 2 to 4 times as fast as NumPy's own."""
    rows = max(_CACHE_LINE // matrix.itemsize, 1)
    result = np.empty(matrix.shape[::-1], matrix.dtype)
    for start in range(0, len(matrix), rows):
        result[:, start : start + rows] = matrix[start : start + rows].T
    return result
