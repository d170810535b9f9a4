"""The classes of all pixels of images of any size, by a segmenter of one size."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_mae.data.preprocessing import resize_at_once
from keras_mae.layers import pixel_levels

EVALUATIONS = ("resize", "slide")
_VALUES = 2**24  # of logits that are resized at once: 64 MiB
_STRIDE = 2 / 3  # of a window's side, rounded down


class WholeSegmentation:
    """Segments images of their own sizes.

    With `resize` an image is resized (bicubic, antialiased) to the segmenter's size, whatever its aspect. With `slide`
    it is resized, with its aspect, until it just covers that size, and cut into windows of that size, two thirds of it
    apart, the last ones at the edge; where windows overlap, their logits are averaged. Either way the logits are
    resized (bilinear) to the image's size, and each pixel gets the class of the largest.

    Args:
        segmenter: an `ImageSegmenter`.
        evaluation: `resize` or `slide`.
        batch_size: windows that are computed together.

    Reference: for `slide`, arXiv 2111.06377, appendix A.4, and the test of mmsegmentation (512 pixels, 341 apart).
    """

    def __init__(self, segmenter, evaluation: str, batch_size: int = 8) -> None:
        if evaluation not in EVALUATIONS:
            raise ValueError(f"whole images are segmented by {' or '.join(EVALUATIONS)}, got {evaluation!r}")
        self._segmenter, self._slides = segmenter, evaluation == "slide"
        self._shape, self._together = segmenter.encoder.image_shape, batch_size

        @tf.function(input_signature=[tf.TensorSpec((None, *self._shape), tf.float32)])
        def logits_of(windows):
            return tf.cast(segmenter(windows, training=False), tf.float32)

        self._logits_of = logits_of.get_concrete_function()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns the class of each pixel of an image, uint8 or uint16 `(H, W, C)`: int32 `(H, W)`.

        Raises:
            ValueError: if the logits are not finite.
        """
        logits = self.logits(image)
        if not np.isfinite(logits).all():
            raise ValueError(
                "the segmenter's logits are not finite: its weights hold NaN, or its dtype policy does not hold its "
                "activations"
            )
        return self.classes(logits, image.shape[:2])

    def logits(self, image: np.ndarray) -> np.ndarray:
        """Returns logits `(h, w, K)` at the size at which the image is segmented; float32."""
        height, width, _ = self._shape
        if not self._slides:
            return self._logits_of(pixel_levels(resize_at_once(image, (height, width)))[None])[0].numpy()
        factor = max(height / image.shape[0], width / image.shape[1])
        size = [max(round(side * factor), least) for side, least in zip(image.shape, (height, width))]
        scaled = pixel_levels(resize_at_once(image, size))
        places = [(top, left) for top in window_places(size[0], height) for left in window_places(size[1], width)]
        total = np.zeros((*size, self._logits_of.output_shapes[-1]), "float32")
        count = np.zeros((*size, 1), "float32")
        for begin in range(0, len(places), self._together):
            some = places[begin : begin + self._together]
            windows = tf.stack([scaled[top : top + height, left : left + width] for top, left in some])
            for (top, left), logits in zip(some, self._logits_of(windows).numpy()):
                total[top : top + height, left : left + width] += logits
                count[top : top + height, left : left + width] += 1
        return total / count

    @staticmethod
    def classes(logits, size: tuple[int, int]) -> np.ndarray:
        """Returns the class of each pixel of an image of `size`, int32 `(H, W)`."""
        height, width = size
        scale = [height / logits.shape[0], width / logits.shape[1]]
        rows = max(1, _VALUES // (width * logits.shape[-1]))
        parts = []
        for top in range(0, height, rows):  # the logits of a large image at once would take gigabytes
            part = tf.raw_ops.ScaleAndTranslate(
                images=logits[None],
                size=[min(rows, height - top), width],
                scale=scale,
                translation=[-float(top), 0.0],
                kernel_type="triangle",
                antialias=False,
            )[0]
            parts.append(tf.argmax(part, axis=-1, output_type=tf.int32).numpy())
        return np.concatenate(parts)


def window_places(length: int, window: int) -> list[int]:
    """Returns where windows begin along a side, two thirds of a window apart, so that they cover it."""
    step = max(int(window * _STRIDE), 1)
    return [*range(0, length - window, step), length - window]
