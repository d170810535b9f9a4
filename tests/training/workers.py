"""What each of two processes does that train one model: what `test_replicas.py` compares with one."""

import keras
import numpy as np
import tensorflow as tf

from keras_mae.trainers.strategy import distributed, is_chief, make_strategy
from tests.base import LossPerStep, weights_of
from tests.training.test_replicas import BATCH, IMAGES, STEPS, make_model, make_optimizer


def one_worker(optimizer):
    """Two processes: each is given its half of every global batch."""
    strategy = make_strategy("multiworker")
    with strategy.scope():
        model = make_model("shallow")
        model.compile(optimizer=make_optimizer(optimizer), jit_compile=False)
    recorder = LossPerStep()

    def share(hosts, host):
        images = IMAGES.reshape(2, hosts, BATCH // hosts, *IMAGES.shape[1:])[:, host]
        return tf.data.Dataset.from_tensor_slices((images, np.zeros(images.shape[:2]))).repeat()  # a tuple

    data = distributed(strategy, BATCH, share)
    model.fit(data, steps_per_epoch=STEPS, verbose=0, shuffle=False, callbacks=[recorder])
    return {
        "chief": is_chief(strategy),
        "replicas": strategy.num_replicas_in_sync,
        "losses": recorder.losses,
        "paths": [weight.path for weight in model.weights],
        "weights": [weight.tolist() for weight in weights_of(model)],
        "without_us": keras_on_its_own(strategy),
    }


def keras_on_its_own(strategy):
    """Whether a plain Keras model fails in `fit` on two workers, once on tuples and once on its scalar logs."""

    class Plain(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.dense.build((None, 3))
            self.built = True

        def call(self, x):
            return self.dense(x)

    class Built(Plain):
        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    failed = []
    for kind in (Plain, Built):
        with strategy.scope():
            model = kind()
            model.compile(optimizer="sgd", loss="mse")
        data = tf.data.Dataset.from_tensors((np.ones((4, 3), "float32"), np.ones((4, 1), "float32"))).repeat()
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        try:
            model.fit(data.with_options(options), steps_per_epoch=1, verbose=0)
            failed.append(False)
        except Exception as error:  # whatever it is
            failed.append(f"{type(error).__name__}: {error}"[:300])
    return failed
