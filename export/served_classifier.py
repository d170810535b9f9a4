"""The signatures of an exported classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_mae.data.decoding import Decoding
from keras_mae.export.signatures import ServedModel
from keras_mae.models import ImageClassifier


class ServedClassifier(ServedModel):
    """A classifier that gives probabilities and the name of the likeliest class.

    Args:
        classifier: what is served.
        labels: the names of the classes in order; None for `"0"`, `"1"`, ...
        crop_ratio: of the evaluation transform that image files go through.
        pixel_dtype, decoding: see `ServedModel`.

    Raises:
        ValueError: if there are not as many labels as classes.
    """

    def __init__(
        self,
        classifier: ImageClassifier,
        labels: Sequence[str] | None = None,
        crop_ratio: float = 0.875,
        pixel_dtype: str = "auto",
        decoding: Decoding = Decoding(),
    ) -> None:
        names = tuple(map(str, range(classifier.num_classes) if labels is None else labels))
        if len(names) != classifier.num_classes:
            raise ValueError(f"one label a class is needed: got {len(names)} for {classifier.num_classes} classes")
        super().__init__(classifier, classifier.encoder, crop_ratio, pixel_dtype, decoding)
        self._labels = lambda: names
        call = classifier.__call__

        @tf.function
        def classify(images):
            logits = call(images, training=False)
            class_id = tf.argmax(logits, axis=-1)
            label = tf.gather(tf.constant(names), class_id)
            return {"probabilities": tf.nn.softmax(logits), "class_id": class_id, "label": label, "logits": logits}

        def without_logits(images):
            return {name: value for name, value in classify(images).items() if name != "logits"}

        self.classify, self.classify_files = classify, self._of_files(without_logits)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes in order."""
        return self._labels()

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """By name: `serving_default` (image files, if the model takes them) and `classify` (images)."""
        return {
            **self._file_signature(self.classify_files),
            "classify": self.classify.get_concrete_function(self.images_spec()),
        }

    def example_inputs(self, images: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        return {**self._file_inputs(images), "classify": {"images": images}}

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "labels": list(self.labels)}
