"""Rotary positions on a grid of patches: rotations of queries and keys."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf


def rotary_angles(grid: tuple[int, int], head_dim: int, temperature: float) -> np.ndarray:
    """The angles by which DINOv3 rotates queries and keys of the patches.

    The centre of a patch has one coordinate for each axis, `p = 2 (i + 0.5) / n - 1` in [-1, 1] for the `i`-th of `n`
    rows (or columns), whatever the number of patches. With `w_k = temperature^(-4 k / head_dim)`,
    `k = 0 ... head_dim/4 - 1`, the angles are `2 pi p w_k`: those of the row first, then those of the column.

    Args:
        grid: number of patch rows and columns.
        head_dim: width of a head, divisible by 4.
        temperature: 100 in DINOv3.

    Returns:
        float64 array `(rows * columns, head_dim / 2)`.

    Raises:
        ValueError: if `head_dim` is not divisible by 4, or the temperature is not above 0.

    Reference: arXiv 2508.10104 (DINOv3), section 3.2; arXiv 2104.09864 (RoFormer), section 3.2.
    """
    if head_dim % 4:
        raise ValueError(
            f"rotary positions need heads of a width divisible by 4, got hidden_dim / num_heads = {head_dim}: take "
            "another num_heads"
        )
    if not temperature > 0:
        raise ValueError(f"the temperature of rotary positions is above 0, got {temperature!r}")
    frequencies = temperature ** -np.arange(0, 1, 4 / head_dim)  # (head_dim / 4,)
    axes = np.meshgrid(*(2 * (np.arange(count) + 0.5) / count - 1 for count in grid), indexing="ij")
    angles = [2 * np.pi * axis.reshape(-1, 1) * frequencies for axis in axes]
    return np.concatenate(angles, axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Rotation:
    """The rotation of queries and keys, one for each token of a sequence.

    It is no tensor, as Keras would cast that to 16 bits where layers compute in 16 bits.

    Attributes:
        cosine, sine: float32, `(N, head_dim / 2)`, or `(B, N, head_dim / 2)` if each image has its own.
    """

    cosine: tf.Tensor
    sine: tf.Tensor

    def __call__(self, x) -> tf.Tensor:
        """Rotates the first half of each head with the second: `(B, N, heads, head_dim)`, of the same dtype."""
        cosine, sine = self.cosine[..., None, :], self.sine[..., None, :]
        first, second = tf.split(tf.cast(x, tf.float32), 2, axis=-1)
        rotated = tf.concat([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
        return tf.cast(rotated, x.dtype)


class RotaryPositions:
    """The rotations of a sequence of tokens: patches by their place, prefix tokens not at all.

    Args:
        grid, head_dim, temperature: see `rotary_angles`.
        num_prefix_tokens: tokens before those of the patches.

    Call arguments:
        ids: None for all patches, or int `(B, K)`, the patches of the sequence, in order.

    Returns:
        The `Rotation` of prefix tokens and patches.
    """

    def __init__(self, grid: tuple[int, int], head_dim: int, temperature: float, num_prefix_tokens: int = 0) -> None:
        angles = rotary_angles(grid, head_dim, temperature)
        angles = np.concatenate([np.zeros((num_prefix_tokens, head_dim // 2)), angles])
        self._waves = [wave(angles).astype("float32") for wave in (np.cos, np.sin)]  # 2 of (P + L, head_dim / 2)
        self._num_prefix_tokens = num_prefix_tokens

    def __call__(self, ids=None) -> Rotation:
        if ids is None:
            return Rotation(*(tf.constant(wave) for wave in self._waves))
        prefix = tf.zeros_like(ids[:, :1]) + tf.range(self._num_prefix_tokens, dtype=ids.dtype)  # (B, P)
        tokens = tf.concat([prefix, ids + self._num_prefix_tokens], axis=1)  # (B, P + K)
        return Rotation(*(tf.gather(wave, tokens) for wave in self._waves))
