"""Train steps of small models as graphs, as a machine with an accelerator makes them."""

import functools

import pytest
import tensorflow as tf

from keras_mae.models import ImageClassifier, ImageSegmenter
from keras_mae.optimizers import adamw
from keras_mae.training import train_step
from tests.base import fill_randomly, small_encoder, small_mae, small_simmim

IMAGES = tf.TensorSpec((4, 8, 12, 3), tf.uint8)
CLASSES = tf.TensorSpec((4,), tf.int64)
MAPS = tf.TensorSpec((4, 8, 12), tf.uint8)


def dropping(model):
    """The model, whose one block drops paths as the last of several does."""
    getattr(model, "encoder", model).blocks[0].drop_path.rate = 0.2
    return model


def head(make, *arguments, **keywords):
    return fill_randomly(make(dropping(small_encoder()), *arguments, **keywords))


# model, data, arguments of compile
STEPS = {
    "MAE": (small_mae, IMAGES, {}),
    "MAE, 16 bits and masks": (
        small_mae,
        {"images": tf.TensorSpec(IMAGES.shape, tf.uint16), "mask": tf.TensorSpec((4, 6), tf.int64)},
        {},
    ),
    "MAE with all settings": (
        lambda: dropping(small_mae(dtype="mixed_float16", normalize=True)),
        IMAGES,
        {"accumulation_steps": 2, "clip_norm": 1.0, "spike_factor": 5.0, "spike_action": "clip"},
    ),
    "SimMIM": (small_simmim, IMAGES, {}),
    "classifier": (functools.partial(head, ImageClassifier, 3, "attentive", num_queries=4), (IMAGES, CLASSES), {}),
    "segmenter": (functools.partial(head, ImageSegmenter, 3), (IMAGES, MAPS), {}),
}


@functools.cache
def graph_of(name, compiled):
    """The graph of a step on an accelerator, compiled by XLA or not."""
    make, data, arguments = STEPS[name]
    model = make()
    model.compile(adamw(model, 1e-3), jit_compile=compiled, **arguments)
    model.optimizer.build(model.trainable_variables)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_step, "has_accelerator", lambda: True)
        step = tf.function(model.train_step, autograph=False)
        graph = step.get_concrete_function(data).graph
    graph.model = model  # a graph does not keep its variables
    return graph
