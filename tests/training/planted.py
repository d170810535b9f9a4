"""What tests plant in the steps of models, and what they find in the graphs."""

import keras
import numpy as np
import tensorflow as tf

from tests.base import weights_of


def plant(model, step, factor=float("inf")):
    """Makes the loss of the last replica infinite in one step, or multiplies it by another factor."""
    original = model.batch_loss

    def batch_loss(data, seed, training):
        context = tf.distribute.get_replica_context()
        last = context.replica_id_in_sync_group == context.num_replicas_in_sync - 1
        return original(data, seed, training) * tf.where(last & (model.batches_seen == step), factor, 1.0)

    model.batch_loss = batch_loss


def share_a_variable(model):
    """Lets each step change a variable of all replicas, as the random numbers of Keras' layers do."""
    original = model.batch_loss

    def batch_loss(data, seed, training):
        model.training_calls.assign_add(1)
        return original(data, seed, training)

    model.batch_loss = batch_loss


def compiled_parts(model, strategy, batches):
    """The number of functions in the graph of a step that XLA compiles."""
    step = tf.function(lambda data: strategy.run(model.train_step, args=(data,)), autograph=False)
    data = next(iter(strategy.experimental_distribute_dataset(batches)))
    functions = step.get_concrete_function(data).graph.as_graph_def().library.function
    return sum(function.attr["_XlaMustCompile"].b for function in functions)


class State(keras.callbacks.Callback):
    """Keeps weights, counters and loss scale after every step, and the logs of each."""

    def __init__(self):
        super().__init__()
        self.weights, self.skipped, self.scales, self.logs = [], [], [], {}

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(np.concatenate([weight.ravel() for weight in weights_of(self.model)]))
        for name in set(logs) - {"loss"}:
            self.logs.setdefault(name, []).append(float(logs[name]))
        self.skipped.append(int(self.model.skipped_steps.numpy()))
        scale = getattr(self.model.optimizer, "dynamic_scale", None)
        self.scales.append(1.0 if scale is None else float(scale.numpy()))
