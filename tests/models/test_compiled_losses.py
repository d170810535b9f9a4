"""Losses and metrics that `compile` is given: as in Keras' own `fit` of a plain model, in all forms."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.models import ImageClassifier, ImageHead, ImageRegressor
from tests.base import fill_randomly, random_images, small_encoder, weights_of

FEATURES = np.random.default_rng(5).normal(size=(8, 16)).astype("float32")  # in place of images: a small graph
CLASSES = np.array([0, 1, 2, 3, 1, 2, 0, 3])
ONE_HOT = np.eye(4, dtype="float32")[CLASSES]
SEVERAL = (np.random.default_rng(6).random((8, 4)) < 0.4).astype("float32")
NUMBERS = np.random.default_rng(7).normal(size=(8, 2)).astype("float32")
WEIGHTS = np.linspace(0.2, 2.0, 8).astype("float32")


def mine(labels, predictions):
    return tf.reduce_mean(tf.square(tf.cast(labels, tf.float32) - predictions), axis=-1)


CASES = {
    "sparse": (CLASSES, "softmax", "sparse_categorical_crossentropy", lambda: ["accuracy"]),
    "column": (
        CLASSES[:, None],
        "softmax",
        "sparse_categorical_crossentropy",
        lambda: ["acc", "sparse_categorical_crossentropy"],
    ),
    "one-hot": (
        ONE_HOT,
        "softmax",
        "categorical_crossentropy",
        lambda: ["accuracy", keras.metrics.AUC(multi_label=True), keras.metrics.F1Score(average="macro")],
    ),
    "smoothed": (ONE_HOT, "softmax", keras.losses.CategoricalCrossentropy(label_smoothing=0.1), lambda: ["accuracy"]),
    "logits": (
        CLASSES,
        None,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        lambda: [keras.metrics.SparseCategoricalCrossentropy(from_logits=True)],
    ),
    "iou": (
        CLASSES,
        "softmax",
        "crossentropy",
        lambda: [keras.metrics.MeanIoU(4, sparse_y_pred=False), "sparse_top_k_categorical_accuracy"],
    ),
    "several": (SEVERAL, "sigmoid", "binary_crossentropy", lambda: [keras.metrics.AUC(), "binary_accuracy"]),
    "focal": (SEVERAL, "sigmoid", keras.losses.BinaryFocalCrossentropy(gamma=1.5), lambda: [keras.metrics.Recall()]),
    "mine": (ONE_HOT, None, mine, lambda: [mine]),
    "partial": (
        SEVERAL,
        None,
        functools.partial(keras.losses.binary_crossentropy, from_logits=True),
        lambda: [keras.metrics.AUC(from_logits=True)],
    ),
    "huber": (NUMBERS, None, "huber", lambda: ["mae", keras.metrics.RootMeanSquaredError(), keras.metrics.R2Score()]),
    "numbers": (NUMBERS, None, keras.losses.MeanAbsoluteError(), lambda: ["mse"]),
}


def ours(case, **arguments):
    labels = CASES[case][0]
    if case in ("huber", "numbers"):
        return fill_randomly(ImageRegressor(small_encoder(), 2, num_trainable_layers=0))
    several = labels is SEVERAL
    return fill_randomly(ImageClassifier(small_encoder(), 4, num_trainable_layers=0, multi_label=several))


def plain(model, activation):
    """Keras' model of the same layers and weights."""
    dense = keras.layers.Dense(model.head.units, activation)
    norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-6, center=False, scale=False)
    copy = keras.Sequential([keras.Input((16,)), norm, dense])
    norm.set_weights(model.batch_norm.get_weights())
    dense.set_weights(model.head.get_weights())
    return copy


@pytest.mark.medium
@pytest.mark.parametrize("case", CASES)
def test_as_keras(case):
    """Two steps, in one case of two epochs each, then an evaluation, with weights of the examples."""
    labels, activation, loss, metrics = CASES[case]
    epochs = 2 if case == "sparse" else 1
    model = ours(case)
    found, weights = [], []
    for one in (model, plain(model, activation)):
        # eagerly: graphs are in the test below
        one.compile(
            keras.optimizers.SGD(0.1), loss, metrics=metrics(), weighted_metrics=metrics()[:1], run_eagerly=True
        )
        history = one.fit(FEATURES, labels, 4, epochs, sample_weight=WEIGHTS, shuffle=False, verbose=0).history
        history.pop("skipped_steps", None)
        found.append({**history, **one.evaluate(FEATURES, labels, 4, verbose=0, return_dict=True)})
        weights.append((one.head if one is model else one.layers[-1]).get_weights())
    assert len(found[0]) == len(found[1]) > 2
    for (name, value), (expected_name, expected) in zip(sorted(found[0].items()), sorted(found[1].items())):
        assert name.rstrip("_0123456789") == expected_name.rstrip("_0123456789")  # Keras numbers its objects
        np.testing.assert_allclose(value, expected, atol=1e-6, rtol=1e-5, err_msg=name)
    for one, other in zip(*weights):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.medium
@pytest.mark.parametrize("case", ["one-hot", "several", "huber"])
def test_in_parts_and_under_xla(case):
    """As eagerly. Metrics make their variables late, in the loop over the parts of a batch."""
    labels, _, loss, metrics = CASES[case]
    found = []
    for arguments in ({"run_eagerly": True}, {"accumulation_steps": 2}, {"jit_compile": True}):
        if case == "several" and "jit_compile" in arguments:
            continue  # no metric or loss that the two others have not under XLA
        model = ours(case)
        # a probe's BatchNorm is not accumulated
        model = type(model).from_config({**model.get_config(), "num_trainable_layers": None})
        fill_randomly(model)
        model.compile(keras.optimizers.SGD(0.1), loss, metrics=metrics(), **{"jit_compile": False, **arguments})
        logs = model.fit(FEATURES, labels, 4, 2, shuffle=False, verbose=0).history
        logs.pop("skipped_steps")
        found.append([np.concatenate([np.ravel(value) for value in logs.values()]), *model.head.get_weights()])
    for other in found[1:]:
        for one, expected in zip(other, found[0], strict=True):
            np.testing.assert_allclose(one, expected, atol=1e-5, rtol=1e-5)


def test_several_labels_are_told_by_the_loss():
    model = fill_randomly(ImageClassifier(small_encoder(), 4))
    model.compile("sgd", "binary_crossentropy", run_eagerly=True)
    assert model.multi_label and model.get_config()["multi_label"]
    loss = model.evaluate(FEATURES, SEVERAL, verbose=0, return_dict=True)["loss"]
    own = fill_randomly(ImageClassifier(small_encoder(), 4, multi_label=True))
    own.compile("sgd", run_eagerly=True)
    logs = own.evaluate(FEATURES, SEVERAL, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["loss"], loss, rtol=1e-6)
    assert logs["accuracy"] == np.mean((own(FEATURES).numpy() > 0) == SEVERAL)
    for wrong, message in ((SEVERAL * 2, r"4 numbers in \[0, 1\]"), (CLASSES, r"got the shape \((8|N),\)")):
        for call in (
            lambda labels: own.fit(FEATURES, labels, verbose=0),
            lambda labels: own.evaluate(FEATURES, labels, verbose=0),
            lambda labels: own.fit(FEATURES, SEVERAL, validation_data=(FEATURES, labels), verbose=0),
            lambda labels: own.fit(tf.data.Dataset.from_tensor_slices((FEATURES, labels)).batch(4), verbose=0),
        ):
            with pytest.raises(ValueError, match=message):
                call(wrong)


@pytest.mark.medium
def test_classes_out_of_range_are_an_error_with_a_given_loss():
    model = fill_randomly(ImageClassifier(small_encoder(), 4))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    before = weights_of(model)
    with pytest.raises(ValueError, match="integers from 0 to 3; got 1 to 4"):
        model.fit(FEATURES, CLASSES + 1, verbose=0)
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="8 labels of the data are none"):
            call(tf.data.Dataset.from_tensor_slices((FEATURES, CLASSES + 4)).batch(8), verbose=0)
    for one, other in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(one, other)
    model.fit(FEATURES, CLASSES, class_weight={0: 2.0}, verbose=0)


@pytest.mark.medium
def test_numbers_are_normalised_inside_and_given_in_their_units():
    mean, std = [1000.0, -3.0], [200.0, 0.5]
    labels = NUMBERS * std + mean
    model = fill_randomly(ImageRegressor(small_encoder(), 2, mean=mean, std=std))
    model.compile("sgd", run_eagerly=True)
    logs = model.evaluate(FEATURES, labels, verbose=0, return_dict=True)
    error = model(FEATURES).numpy().astype("float64") - labels
    np.testing.assert_allclose(logs["loss"], np.mean((error / std) ** 2), rtol=1e-4)
    np.testing.assert_allclose(logs["mae"], np.abs(error).mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["rmse"], np.sqrt((error**2).mean()), rtol=1e-5)
    model.compile("sgd", loss="mae", metrics=["mae"], run_eagerly=True)
    again = model.evaluate(FEATURES, labels, verbose=0, return_dict=True)
    np.testing.assert_allclose(again["loss"], np.abs(error / std).mean(), rtol=1e-4)
    np.testing.assert_allclose(again["mae"], logs["mae"], rtol=1e-5)
    for wrong, message in ((labels[:, :1], r"got the shape \(8, 1\)"), (labels * np.nan, "2 finite numbers")):
        with pytest.raises(ValueError, match=message):
            model.fit(FEATURES, wrong, verbose=0)
    with pytest.raises(ValueError, match="std is positive; got"):
        ImageRegressor(small_encoder(), 2, std=[1.0, 0.0])
    one = ImageRegressor(small_encoder(), 1)
    one.compile("sgd", run_eagerly=True)
    column, flat = (one.evaluate(FEATURES, form, verbose=0) for form in (labels[:, :1], labels[:, 0]))
    np.testing.assert_array_equal(column, flat)


@keras.saving.register_keras_serializable(package="tests")
class AgeAndSex(ImageHead):
    def __init__(self, encoder, width=6, **kwargs):
        super().__init__(encoder, **kwargs)
        self.width = width
        self.hidden = keras.layers.Dense(width, "gelu", kernel_regularizer=keras.regularizers.L2(0.01))
        self.age, self.sex = keras.layers.Dense(1), keras.layers.Dense(1, "sigmoid")

    def call(self, inputs, training=False, seed=None):
        hidden = self.hidden(self.features(inputs, training, seed))
        return {"age": self.age(hidden), "sex": self.sex(hidden)}

    def get_config(self):
        return {**super().get_config(), "width": self.width}


IMAGES = random_images(4, (8, 12, 3))


@pytest.mark.medium
def test_a_head_of_ones_own(tmp_path):
    model = AgeAndSex(small_encoder(), num_trainable_layers=1)
    labels = {"age": np.array([20.0, 30.0, 40.0, 50.0]), "sex": np.array([0, 1, 1, 0])}
    model.compile(
        "sgd",
        {"age": "mse", "sex": "binary_crossentropy"},
        {"age": 0.01},
        metrics={"age": ["mae"], "sex": ["accuracy"]},
        run_eagerly=True,
    )
    logs = model.evaluate(IMAGES, labels, verbose=0, return_dict=True)
    outputs = {name: value.numpy()[:, 0] for name, value in model(IMAGES).items()}
    bce = -np.log(np.where(labels["sex"], outputs["sex"], 1 - outputs["sex"])).mean()
    penalty = 0.01 * (np.asarray(model.hidden.kernel) ** 2).sum()
    expected = 0.01 * ((outputs["age"] - labels["age"]) ** 2).mean() + bce + penalty
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(logs["age_mae"], np.abs(outputs["age"] - labels["age"]).mean(), rtol=1e-5)
    assert set(logs) == {"loss", "age_mae", "sex_accuracy"}
    assert set(model.fit(IMAGES, labels, verbose=0).history) - {"skipped_steps"} == set(logs)
    groups = model.layer_groups()
    assert sum(len(group) for group in groups) == len(model.trainable_variables) < len(model.weights)
    assert len(groups[-1]) == 2 + 6 and [len(v.shape) for v in model.no_weight_decay()].count(1) >= 5

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for name, value in again(IMAGES).items():
        np.testing.assert_allclose(value, model(IMAGES)[name], atol=1e-6)
    assert again.evaluate(IMAGES, labels, verbose=0, return_dict=True).keys() == logs.keys()
    with pytest.raises(ValueError, match="AgeAndSex has no loss of its own: give compile a loss"):
        AgeAndSex(small_encoder()).batch_loss((IMAGES, labels), None, training=True)
    with pytest.raises(ValueError, match="finite numbers"):
        model.fit(IMAGES, {**labels, "age": labels["age"] * np.nan}, verbose=0)


REFUSED = {
    "is no mean over the examples": keras.losses.MeanSquaredError(reduction="sum"),
    "ignore_class is no mean": keras.losses.SparseCategoricalCrossentropy(ignore_class=3),
    "one number for all examples": keras.losses.Dice(),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_loss_without_a_mean_over_the_examples_is_refused_in_parts(message):
    model = fill_randomly(ImageClassifier(small_encoder(), 4))
    with pytest.raises(ValueError, match=message):
        model.compile("sgd", REFUSED[message], accumulation_steps=2, run_eagerly=True)
        model.fit(FEATURES, ONE_HOT, batch_size=4, verbose=0)
    model.compile("sgd", REFUSED[message], run_eagerly=True)
    labels = CLASSES if "ignore" in message else ONE_HOT
    expected = REFUSED[message](labels, keras.ops.softmax(model(FEATURES)))
    logs = model.evaluate(FEATURES, labels, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)


def test_what_compile_refuses():
    model = ImageClassifier(small_encoder(), 4)
    for arguments, message in (
        ({"loss": keras.losses.MeanSquaredError(reduction="none")}, "a step needs one number"),
        ({"loss": ["mse", "mae"]}, "a loss is one name, function or object"),
        ({"metrics": "accuracy"}, "metrics are a list"),
        ({"metrics": [keras.metrics.Mean(name="loss")]}, "a metric is called 'loss'"),
        ({"loss": {"a": "mse"}, "loss_weights": {"b": 1.0}}, "name outputs without a loss: b"),
    ):
        with pytest.raises(ValueError, match=message):
            model.compile("sgd", **arguments)
    model.compile("sgd", loss={"a": "mse"}, run_eagerly=True)
    with pytest.raises(ValueError, match="names the output 'a' of the model"):
        model.evaluate(FEATURES, ONE_HOT, verbose=0)
    model.compile("sgd", loss="mse", run_eagerly=True)
    for labels in (CLASSES[:4], CLASSES[:4, None]):  # of as many examples as classes, which NumPy would broadcast
        with pytest.raises(ValueError, match="would compare one label with each of 4 predictions"):
            model.evaluate(FEATURES[:4], labels, verbose=0)
    regressor = ImageRegressor(small_encoder(), 1)
    regressor.compile("sgd", metrics=["mae"], run_eagerly=True)
    stop = keras.callbacks.EarlyStopping("val_mae")  # Keras finds the direction of its own metrics
    regressor.fit(FEATURES, CLASSES, validation_split=0.5, callbacks=[stop], verbose=0)
    assert stop.mode == "min"
    with pytest.raises(ValueError, match="class_weight is for models that tell classes"):
        regressor.fit(FEATURES, CLASSES, class_weight={0: 1.0}, verbose=0)
