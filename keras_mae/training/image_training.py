"""What all models ask of their data and of `compile`, before anything is trained."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from keras_mae import _compat
from keras_mae.layers.pixel_range import looked_at
from keras_mae.training.image_model import ImageModel


class ImageTrainingModel(ImageModel):
    """A `keras.Model` that looks at its images, and brings its own loss and metrics."""

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.compile`, where the model's own policy alone decides whether the loss is scaled.

        Args:
            optimizer: a Keras optimizer.
            loss: None.
            **kwargs: see `keras.Model.compile`. With `auto_scale_loss`, as by default, the loss is scaled if any part
                computes in float16.

        Raises:
            ValueError: if a loss or metrics are given, or a part keeps its weights in float16.
        """
        own = {"loss": loss, **{name: kwargs.get(name) for name in ("loss_weights", "metrics", "weighted_metrics")}}
        given = [f"`{name}`" for name, value in own.items() if value is not None]
        if given:
            raise ValueError(
                f"{type(self).__name__} brings its own loss and logs its own metrics: compile it without "
                f"{' and '.join(given)}"
            )
        parts = [self, *self.layers]
        half = [part.name for part in parts if part.variable_dtype == "float16"]
        if half:
            raise ValueError(
                f"{', '.join(half)} would keep weights in float16, which loses small steps: take the dtype policy "
                "mixed_float16"
            )
        optimizer = keras.optimizers.get(optimizer)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if (
            kwargs.get("auto_scale_loss", True)
            and not scaled
            and any(part.compute_dtype == "float16" for part in parts)
        ):
            with self.distribute_strategy.scope():
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale_optimizer")
        super().compile(optimizer=optimizer, **kwargs)

    def compute_loss(self, *args: Any, **kwargs: Any):
        """Raises a ValueError: it would be a loss of outputs and labels."""
        raise ValueError(
            f"{type(self).__name__} brings its own loss: in a loop of your own take batch_loss(data, seed, training)"
        )

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As `keras.Model.fit`; what no image is is refused, and values that no pixels have are warned of."""
        call = inspect.signature(super().fit).bind(*args, **kwargs)
        for callback in keras.tree.flatten(call.arguments.get("callbacks") or []):
            if isinstance(callback, keras.callbacks.BackupAndRestore) and callback.save_freq != "epoch":
                raise ValueError(
                    f"BackupAndRestore(save_freq={callback.save_freq}) goes on at the beginning of the epoch with the "
                    "weights of its middle, so that data are seen twice: take save_freq='epoch', or "
                    "keras_mae.trainers, which resume at the step"
                )
            monitored = str(getattr(callback, "monitor", "")).removeprefix("val_")
            if getattr(callback, "mode", None) == "auto" and monitored.endswith("accuracy"):
                callback.mode = "max"  # Keras knows that of metrics which were given to `compile` alone
        shapes = self.example_shapes()
        validation = call.arguments.get("validation_data")
        if isinstance(validation, (tuple, list)) and validation:
            call.arguments["validation_data"] = (looked_at(validation[0], *shapes), *validation[1:])
        elif validation is not None:
            call.arguments["validation_data"] = looked_at(validation, *shapes)
        call.arguments["x"] = looked_at(call.arguments.get("x"), *shapes)
        return super().fit(*call.args, **call.kwargs)

    def evaluate(self, x=None, *args: Any, **kwargs: Any):
        """As `keras.Model.evaluate`, with the checks of `fit`."""
        if not _compat.called_by_fit(kwargs):
            x = looked_at(x, *self.example_shapes())
        return super().evaluate(x, *args, **kwargs)


for _name in ("fit", "evaluate"):  # so that editors, and subclasses that bind arguments, know them by name
    setattr(getattr(ImageTrainingModel, _name), "__signature__", inspect.signature(getattr(keras.Model, _name)))
