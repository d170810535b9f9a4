"""The signatures of an exported head of any kind, such as a regressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_mae.data.decoding import Decoding
from keras_mae.export.signatures import ServedModel
from keras_mae.models import ImageHead, ImageRegressor


class ServedHead(ServedModel):
    """A head that gives what a call of it returns: a regressor `values`, another one `outputs`, or a dict by its names.

    Args:
        head: to serve.
        labels: the names of the columns of the output; None for `"0"`, `"1"`, ...
        crop_ratio: of the evaluation transform that image files go through.
        pixel_dtype, decoding: see `ServedModel`.

    Raises:
        ValueError: if the head gives another number of columns than there are names.
    """

    of_images = ("predict",)

    def __init__(
        self,
        head: ImageHead,
        labels: Sequence[str] | None = None,
        crop_ratio: float = 0.875,
        pixel_dtype: str = "auto",
        decoding: Decoding = Decoding(),
    ) -> None:
        head.build()
        super().__init__(head, head.encoder, crop_ratio, pixel_dtype, decoding)
        call, name = head.__call__, "values" if isinstance(head, ImageRegressor) else "outputs"

        @tf.function
        def predict(images):
            outputs = call(images, training=False)
            outputs = outputs if isinstance(outputs, dict) else {name: outputs}
            return {key: tf.cast(value, tf.float32) for key, value in outputs.items()}

        spec = predict.get_concrete_function(self.images_spec()).structured_outputs
        columns = spec[name].shape[-1] if name in spec else None
        names = None if labels is None else tuple(map(str, labels))
        if names is not None and len(names) != columns:
            raise ValueError(f"one name a column of the output is needed: got {len(names)} for {columns} columns")
        self._labels = lambda: names
        self.predict = predict

    def outputs_of_files(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.predict(images)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the output's columns, or None."""
        return self._labels()

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), **({} if self.labels is None else {"labels": list(self.labels)})}
