"""Images of any depth and number of channels in 8 bits, red, green and blue."""

from __future__ import annotations

import numpy as np

_PERCENTILES = (0.5, 99.5)
_STRETCHED = "Levels are stretched, from the 0.5th to the 99.5th percentile of the originals."
_SMALLEST_RANGE = 0.1  # of a principal component, as a share of the first one's range: less is noise
_NOT_FINITE = (214, 39, 40)


class Display:
    """Shows a set of images, and images to compare with them, alike.

    Images of 8 bits and one or three channels are shown as they are. The levels of deeper ones are stretched, for each
    image by its original. Two channels are green and magenta, so that equal ones give gray; of more, the three largest
    principal components of the originals' channels are red, green and blue.

    Args:
        originals: `(N, H, W, C)` in [0, 255], uint8 if they have 8 bits.

    Attributes:
        notes: sentences for a caption that explain the display.
    """

    def __init__(self, originals: np.ndarray) -> None:
        channels = originals.shape[-1]
        self.notes: list[str] = []
        self._mean, self._mixed = np.zeros(channels), np.zeros((0, 0))
        if channels == 2:
            self.notes.append("Channel 1 is shown green, channel 2 magenta.")
        if channels > 3:
            self._fit_components(originals)
            self.notes.append(
                f"Red, green and blue are the three largest principal components of the {channels} channels."
            )
        colours = self._colours(originals)
        self._low, self._range = np.zeros((1, 1, 1, 1)), np.full((1, 1, 1, 1), 255.0)
        if channels > 3:  # for all images alike, so that a colour is the same in all of them
            self._low, found = _levels(colours, (0, 1, 2))
            smallest = _SMALLEST_RANGE * found.ravel()[0]
            self._range = np.maximum(found, smallest if smallest > 0 else 1.0)
            self.notes.append(_STRETCHED)
        elif originals.dtype != np.uint8:
            low, found = _levels(colours, (1, 2) if channels == 2 else (1, 2, 3))
            self._low, self._range = np.where(found > 0, low, 0.0), np.where(found > 0, found, 255.0)
            self.notes.append(_STRETCHED)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Shows images that belong to the originals: `(N, H, W, C)` in [0, 255] to uint8 `(N, H, W, 3)`.

        Pixels that are not finite are red.
        """
        finite = np.isfinite(images).all(axis=-1, keepdims=True)
        levels = 255 * (self._colours(np.where(finite, images, 0)) - self._low) / self._range
        return np.where(finite, np.clip(np.round(levels), 0, 255), _NOT_FINITE).astype("uint8")

    def _colours(self, images: np.ndarray) -> np.ndarray:
        """One or three unstretched numbers a pixel, float64 `(N, H, W, 1 or 3)`."""
        images = images.astype("float64")
        if len(self._mixed):
            return (images - self._mean) @ self._mixed
        return images[..., [1, 0, 1]] if images.shape[-1] == 2 else images

    def _fit_components(self, originals: np.ndarray) -> None:
        """Fits the principal components of channels of variance 1; the sum of a component's weights is positive."""
        pixels = originals.reshape(-1, originals.shape[-1]).astype("float64")
        self._mean, std = pixels.mean(axis=0), pixels.std(axis=0)
        scale = np.divide(1, std, out=np.zeros_like(std), where=std > 1e-6)  # round-off, where a channel is constant
        covariance = np.cov(pixels.T) * np.outer(scale, scale)
        _, vectors = np.linalg.eigh(covariance)  # in the order of rising variance
        components = vectors[:, :-4:-1]
        self._mixed = scale[:, None] * components * np.where(components.sum(axis=0) < 0, -1, 1)


def _levels(colours: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The level of black, and the range up to white: two percentiles, or all levels if the percentiles are equal."""
    low, high = np.percentile(colours, _PERCENTILES, axis=axes, keepdims=True)
    flat = high <= low
    low = np.where(flat, colours.min(axis=axes, keepdims=True), low)
    return low, np.where(flat, colours.max(axis=axes, keepdims=True), high) - low
