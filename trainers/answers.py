"""What a head answers to images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_mae.data.patient_reading import storage_errors
from keras_mae.models import ImageHead
from keras_mae.trainers.tasks import Task


class Answers:
    """The answers of a head to images that come in batches, in one graph; iterated again, with its present weights.

    Args:
        model: the head.
        task: what it learns, see `Task.answers`.
        batches: `(images, labels)`.
    """

    def __init__(self, model: ImageHead, task: Task, batches: tf.data.Dataset) -> None:
        def answer(images):
            return task.answers(tf.cast(model(images, training=False), tf.float32))

        self._batches = batches
        # the last batch is smaller, and traces nothing new
        self._answer = tf.function(answer, input_signature=[batches.element_spec[0]]).get_concrete_function()

    def __iter__(self) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, ...]]]:
        with storage_errors():
            for images, labels in self._batches:
                yield labels.numpy(), tuple(value.numpy() for value in self._answer(images))


class EpochMeasures(keras.callbacks.Callback):
    """Puts measures of all images to test on into the logs of an epoch, as `val_...`, before other callbacks see them.

    Keras' metrics are means over batches, or estimates at some thresholds: an AUC needs all answers at once.

    Args:
        task: which measures, see `Task.of_epoch`.
        answers: to the images to test on.
    """

    def __init__(self, task: Task, answers: Answers) -> None:
        super().__init__()
        self._task, self._answers = task, answers

    def on_epoch_end(self, epoch, logs: dict[str, Any] | None = None) -> None:
        labels, answers = zip(*((labels, answers[0]) for labels, answers in self._answers), strict=True)
        measures = self._task.of_epoch(np.concatenate(labels), np.concatenate(answers))
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in measures.items()})
