"""What all models around an encoder do in Keras' own way, and what they refuse."""

from __future__ import annotations

from typing import Any

import keras

from keras_mae.layers.patches import refuse_quantization
from keras_mae.layers.pixel_range import looked_at


class ImageModel(keras.Model):
    """A `keras.Model` that takes images of one shape, `image_shape`, and knows it before it sees any."""

    compute_output_spec = keras.Operation.compute_output_spec  # of what `call` returns, dtypes included

    def example_shapes(self) -> list[tuple[int, ...]]:
        """The shapes that one example may have, that of images first; without any, nothing is looked at."""
        return []

    def predict(self, x, *args: Any, **kwargs: Any):
        """As `keras.Model.predict`; what no image is is refused, and values that no pixels have are warned of."""
        return super().predict(looked_at(x, *self.example_shapes()), *args, **kwargs)

    def export(
        self,
        filepath: str,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Any = None,
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.export`: float images `(batch, H, W, C)` in [0, 255] in, what a call returns out.

        Args:
            filepath: the folder to write.
            format: `"tf_saved_model"`.
            verbose, input_signature, **kwargs: see `keras.Model.export`.

        Raises:
            ValueError: for another format.
        """
        if format != "tf_saved_model":
            raise ValueError(
                f"{type(self).__name__}.export writes a SavedModel (format='tf_saved_model'), got {format!r}: "
                "keras_mae.export writes ONNX and LiteRT files, and checks what they give"
            )
        if input_signature is None and self.example_shapes():
            input_signature = [keras.InputSpec(dtype="float32", shape=(None, *self.example_shapes()[0]))]
        super().export(filepath, format, verbose, input_signature, **kwargs)

    def load_weights(self, filepath: str, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.load_weights`; adapters (LoRA) can be trained on afterwards.

        A file holds kernels with what the adapters added to them, and Keras 3.15 then sets both factors of an adapter
        to zero, whose gradients stay zero. Here the first factor starts anew, as `enable_lora` starts it.
        """
        super().load_weights(filepath, *args, **kwargs)
        for first in (variable for variable in self.variables if variable.name == "lora_kernel_a"):
            first.assign(keras.initializers.HeUniform(seed=0)(first.shape, dtype=first.dtype))

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Raises a ValueError: Keras would save such a model in a file that it cannot load."""
        refuse_quantization(type(self).__name__)
