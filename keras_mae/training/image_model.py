"""The base of all models of images: prediction, export and files as in Keras."""

from __future__ import annotations

from typing import Any

import keras

from keras_mae.layers.patches import refuse_quantization
from keras_mae.layers.pixel_range import checked_images


class ImageModel(keras.Model):
    """A `keras.Model` for images of one shape."""

    compute_output_spec = keras.Operation.compute_output_spec  # traces `call`, so that the dtypes are right

    def example_shapes(self) -> list[tuple[int, ...]]:
        """The shapes that one example may have, that of images first; without any, nothing is checked."""
        return []

    def predict(self, x, *args: Any, **kwargs: Any):
        """As `keras.Model.predict`; a ValueError for other input than images, a warning for values no pixels have."""
        return super().predict(checked_images(x, *self.example_shapes()), *args, **kwargs)

    def export(
        self,
        filepath: str,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.export`, from float images `(batch, H, W, C)` in [0, 255] to the outputs of a call.

        Raises:
            ValueError: for another format than `"tf_saved_model"`.
        """
        if format != "tf_saved_model":
            raise ValueError(
                f"{type(self).__name__}.export writes a SavedModel (format='tf_saved_model'), got {format!r}: "
                "keras_mae.export writes ONNX, LiteRT and OpenVINO files, and checks what they give"
            )
        if input_signature is None and self.example_shapes():
            input_signature = [keras.InputSpec(dtype="float32", shape=(None, *self.example_shapes()[0]))]
        super().export(filepath, format, verbose, input_signature, **kwargs)

    def load_weights(self, filepath: str, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.load_weights`, for models with adapters (LoRA) too.

        A file holds kernels with the adapters added to them, and Keras 3.15 then sets both factors of an adapter to
        zero, so that their gradients stay zero. Here the first factor is initialised as by `enable_lora`.
        """
        super().load_weights(filepath, *args, **kwargs)
        for first in (variable for variable in self.variables if variable.name == "lora_kernel_a"):
            first.assign(keras.initializers.HeUniform(seed=0)(first.shape, dtype=first.dtype))

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Raises a ValueError: Keras would save such a model in a file that it cannot load."""
        refuse_quantization(type(self).__name__)
