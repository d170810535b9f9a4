"""Losses and metrics that `compile` is given: two replicas with two parts each equal one, in a process of their own."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.models import ImageClassifier, ImageRegressor
from tests.base import fill_randomly, random_images, run_forked, small_encoder, weights_of

IMAGES, COUNT = random_images(16, (8, 12, 3)), 16
WEIGHTS = np.linspace(0, 2, COUNT).astype("float32")


def case(kind):
    """The model, its labels, and what compile is given."""
    rng = np.random.default_rng(3)
    if kind == "several":
        model = ImageClassifier(small_encoder(), 4, multi_label=True)
        metrics = [keras.metrics.AUC(multi_label=True, name="auc"), "accuracy"]
        return model, (rng.random((COUNT, 4)) < 0.4).astype("float32"), "binary_crossentropy", metrics
    if kind == "one-hot":
        metrics = [keras.metrics.F1Score(average="macro", name="f1"), "accuracy"]
        labels = np.eye(4, dtype="float32")[np.arange(COUNT) % 4]
        return ImageClassifier(small_encoder(), 4), labels, "categorical_crossentropy", metrics
    if kind == "column":
        metrics = [keras.metrics.MeanIoU(4, sparse_y_pred=False, name="iou"), "accuracy"]
        return ImageClassifier(small_encoder(), 4), np.arange(COUNT)[:, None] % 4, "crossentropy", metrics
    model = ImageRegressor(small_encoder(), 3, mean=(1.0, 2.0, 3.0), std=(0.5, 1.0, 2.0))
    return model, rng.normal(2, 1, (COUNT, 3)).astype("float32"), "huber", ["mae", "root_mean_squared_error"]


def one_run(kind, replicas, parts):
    strategy = tf.distribute.get_strategy()
    if replicas > 1:
        strategy = tf.distribute.MirroredStrategy(
            [f"CPU:{n}" for n in range(replicas)], cross_device_ops=tf.distribute.ReductionToOneDevice()
        )
    with strategy.scope():
        model, labels, loss, metrics = case(kind)
        fill_randomly(model)
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            loss,
            metrics=metrics,
            weighted_metrics=[],
            accumulation_steps=parts,
            jit_compile=False,
        )
    data = tf.data.Dataset.from_tensor_slices((IMAGES, labels, WEIGHTS)).batch(8, drop_remainder=True)
    history = model.fit(data, epochs=2, verbose=0, shuffle=False).history
    logs = {**history, **model.evaluate(data, verbose=0, return_dict=True)}
    return {
        "logs": {name: np.ravel(value).tolist() for name, value in logs.items()},
        "weights": [weight.tolist() for weight in weights_of(model)],
    }


def children():
    from tests.forked import Child

    return Child(lambda: {kind: [one_run(kind, *how) for how in HOW] for kind in KINDS}, devices=2).result()


HOW = [(1, 1), (2, 2)]
KINDS = ["several", "one-hot", "column", "numbers"]


@pytest.mark.slow
def test_replicas_and_parts_equal_one_device():
    process = run_forked("-m", "tests.forked", "tests.training.test_given_losses")
    assert process.returncode == 0, process.stderr[-4000:]
    found = json.loads(process.stdout.split("RESULT", 1)[1])
    for kind in KINDS:
        one, several = found[kind]
        assert one["logs"].keys() == several["logs"].keys() and len(one["logs"]) >= 3
        for name, value in one["logs"].items():
            np.testing.assert_allclose(several["logs"][name], value, atol=1e-6, rtol=1e-5, err_msg=f"{kind} {name}")
        for weight, expected in zip(several["weights"], one["weights"], strict=True):
            np.testing.assert_allclose(weight, expected, atol=2e-6)
