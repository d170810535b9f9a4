"""The signatures of an exported segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mae.data.decoding import Decoding
from keras_mae.export.served_classifier import class_names
from keras_mae.export.signatures import ServedModel
from keras_mae.models import ImageSegmenter

_OF_8_BITS = 256  # classes; more of them come as int32, and in PNG files of 16 bits


class ServedSegmenter(ServedModel):
    """A segmenter that gives the class of every pixel, as numbers and as PNG files.

    Image files are resized to the model's size as a whole, whatever their aspect ratio, as `keras-mae segment` does.

    Args:
        segmenter: to serve.
        labels: the names of the classes in order; None for `"0"`, `"1"`, ...
        pixel_dtype, decoding: see `ServedModel`.

    Raises:
        ValueError: if labels and classes differ in number.
    """

    of_images = ("segment",)

    def __init__(
        self,
        segmenter: ImageSegmenter,
        labels: Sequence[str] | None = None,
        pixel_dtype: str = "auto",
        decoding: Decoding = Decoding(),
    ) -> None:
        names = class_names(labels, segmenter.num_classes)
        super().__init__(segmenter, segmenter.encoder, None, pixel_dtype, decoding)
        self._labels = lambda: names
        call = segmenter.__call__
        is_small = segmenter.num_classes <= _OF_8_BITS
        map_dtype, self._png_dtype = (tf.uint8, tf.uint8) if is_small else (tf.int32, tf.uint16)

        @tf.function
        def segment(images):
            logits = call(images, training=False)
            class_map = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), map_dtype)
            return {"class_map": class_map, "probabilities": tf.nn.softmax(logits)}

        self.segment = segment

    def outputs_of_files(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        class_map = self.segment(images)["class_map"]
        pixels = tf.cast(class_map, self._png_dtype)[..., None]
        return {"class_map": class_map, "png": tf.map_fn(tf.io.encode_png, pixels, fn_output_signature=tf.string)}

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes in order."""
        return self._labels()

    def live_probabilities(self, signature: str, inputs: dict[str, tf.Tensor]) -> np.ndarray | None:
        if signature != "serving_default":
            return None
        return self.after_decoding(lambda images: self.segment(images)["probabilities"])(**inputs).numpy()

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "labels": list(self.labels)}
