"""A patch projection of one number of channels for images of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

Channels = tuple[int | None, ...]


def chosen_channels(
    asked: str | Sequence[int | None] | None, ours: int, file_shape: tuple[int, ...]
) -> Channels | None:
    """The file's channel for each of ours, None for the mean; None if the projection stays as it is.

    Args:
        asked: `channels_from` of `load_checkpoint`.
        ours: the model's number of channels.
        file_shape: the shape of the file's kernel, `(D, c, ph, pw)`.

    Raises:
        ValueError: if `asked` is another word, or does not fit the numbers of channels.
    """
    if asked is None or len(file_shape) != 4:
        return None
    theirs = file_shape[1]
    if isinstance(asked, str):
        if asked != "mean":
            raise ValueError(f"channels_from is 'mean', a sequence of channels, or None; got {asked!r}")
        return None if theirs == ours else (None,) * ours
    if not isinstance(asked, Iterable):
        raise ValueError(f"channels_from is 'mean', a sequence of channels, or None; got {asked!r}")
    channels = tuple(int(each) if isinstance(each, np.integer) else each for each in asked)
    if len(channels) != ours:
        raise ValueError(
            f"channels_from names a channel of the file for each of the model's {ours}; got {len(channels)}: {channels}"
        )
    wrong = [each for each in channels if each is not None and not (type(each) is int and 0 <= each < theirs)]
    if wrong:
        raise ValueError(
            f"channels_from={channels} names channel {wrong[0]!r}, and the file's {theirs} channels are counted from 0 "
            f"to {theirs - 1}"
        )
    return channels


def adapted_kernel(kernel: np.ndarray, patch_size: tuple[int, int], channels: Channels) -> np.ndarray:
    """A kernel `(ph * pw * c, D)` for other channels, `(ph * pw * C, D)`.

    Named channels alone are copied exactly. With the mean among them, all are scaled by c / C: an image with equal
    channels then gives the same response, if each of the file's channels is named equally often, or none.

    Args:
        kernel: the file's.
        patch_size: (ph, pw).
        channels: the file's channel for each of ours, None for the mean over all of them.
    """
    apart = kernel.reshape(*patch_size, -1, kernel.shape[-1])  # (ph, pw, c, D)
    named = [each for each in channels if each is not None]
    if len(named) == len(channels):
        return apart[:, :, named].reshape(-1, kernel.shape[-1])
    mean = apart.astype("float64").mean(axis=2)
    pieces = [mean if each is None else apart[:, :, each].astype("float64") for each in channels]
    scaled = np.stack(pieces, axis=2) * (apart.shape[2] / len(channels))
    return scaled.astype(kernel.dtype).reshape(-1, kernel.shape[-1])


def note_on_channels(kernel: np.ndarray, patch_size: tuple[int, int], channels: Channels) -> str:
    """A sentence for the report."""
    theirs = len(kernel) // (patch_size[0] * patch_size[1])
    sources = ", ".join("mean" if each is None else str(each) for each in channels)
    scaled = f", scaled by {theirs}/{len(channels)}" if None in channels else ""
    return f"from {theirs} channels of the file to {len(channels)}: ({sources}){scaled}; mean and std are not changed"
