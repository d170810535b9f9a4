"""The signatures of an exported classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_mae.data.decoding import Decoding
from keras_mae.export.signatures import ServedModel
from keras_mae.models import ImageClassifier


def class_names(labels: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    """The names of the classes in order, `"0"`, `"1"`, ... for None; a ValueError if they are not one a class."""
    names = tuple(map(str, range(num_classes) if labels is None else labels))
    if len(names) != num_classes:
        raise ValueError(f"one label a class is needed: got {len(names)} for {num_classes} classes")
    return names


class ServedClassifier(ServedModel):
    """A classifier that gives probabilities and the name of the most likely class.

    Of several labels at once it gives the probability of each, and no class.

    Args:
        classifier: to serve.
        labels: the names of the classes in order; None for `"0"`, `"1"`, ...
        crop_ratio: of the evaluation transform that image files go through.
        pixel_dtype, decoding: see `ServedModel`.

    Raises:
        ValueError: if labels and classes differ in number.
    """

    of_images = ("classify",)

    def __init__(
        self,
        classifier: ImageClassifier,
        labels: Sequence[str] | None = None,
        crop_ratio: float = 0.875,
        pixel_dtype: str = "auto",
        decoding: Decoding = Decoding(),
    ) -> None:
        names = class_names(labels, classifier.num_classes)
        super().__init__(classifier, classifier.encoder, crop_ratio, pixel_dtype, decoding)
        self._labels = lambda: names
        call, several = classifier.__call__, classifier.multi_label

        @tf.function
        def classify(images):
            logits = call(images, training=False)
            if several:
                return {"probabilities": tf.math.sigmoid(logits), "logits": logits}
            class_id = tf.argmax(logits, axis=-1)
            label = tf.gather(tf.constant(names), class_id)
            return {"probabilities": tf.nn.softmax(logits), "class_id": class_id, "label": label, "logits": logits}

        self.classify = classify

    def outputs_of_files(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: value for name, value in self.classify(images).items() if name != "logits"}

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes in order."""
        return self._labels()

    def metadata(self) -> dict[str, Any]:
        classifier: Any = self._live()[0]
        return {**super().metadata(), "labels": list(self.labels), "multi_label": classifier.multi_label}
