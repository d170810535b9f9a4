"""Labels in every form: equal losses and accuracies; and what is no label, whichever way it comes in."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.models import ImageClassifier
from keras_mae.models.labels import class_probabilities
from tests.base import fill_randomly, random_images, small_encoder, small_mae, weights_of

IMAGES, LABELS = random_images(6, (8, 12, 3)), np.array([0, 1, 2, 3, 1, 2])
FEATURES = np.random.default_rng(5).normal(size=(6, 16)).astype("float32")  # in place of images: a small graph
ONE_HOT = np.eye(4)[LABELS]


def compiled(optimizer=None, num_classes=4, **arguments):
    classifier = fill_randomly(ImageClassifier(small_encoder(), num_classes))
    arguments = {"run_eagerly": False, "jit_compile": False, **arguments}
    classifier.compile(optimizer=optimizer or keras.optimizers.SGD(0.1), **arguments)
    return classifier


@pytest.fixture(scope="module")
def in_a_graph():
    """One classifier whose step is a graph, never trained."""
    return compiled(keras.optimizers.SGD(0.0))


@pytest.fixture(scope="module")
def under_xla():
    return compiled(keras.optimizers.SGD(0.0), jit_compile=True)


FORMS = {
    "int64": LABELS,
    "column": LABELS[:, None],  # as keras.datasets.cifar10 gives them
    "uint8": LABELS.astype("uint8"),
    "float column": LABELS[:, None].astype("float32"),
    "float16": LABELS.astype("float16"),
    "one-hot": ONE_HOT.astype("float32"),
    "one-hot integers": ONE_HOT.astype("int32"),
    "tensor": tf.constant(LABELS[:, None], tf.int32),
}


def batches(*data):
    return tf.data.Dataset.from_tensor_slices(data).batch(6)


@pytest.mark.medium
def test_every_form_has_the_loss_and_the_accuracy_of_plain_integers(in_a_graph):
    """One after the other: a step that was made for several forms no longer knows the shape."""
    logits = in_a_graph(FEATURES).numpy().astype("float64")
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = {"loss": -logp[np.arange(6), LABELS].mean(), "accuracy": (logits.argmax(axis=1) == LABELS).mean()}
    assert 0 < expected["accuracy"] < 1
    others = (
        lambda labels: in_a_graph.evaluate(batches(FEATURES, labels), verbose=0, return_dict=True),
        lambda labels: in_a_graph.test_on_batch(FEATURES, labels, return_dict=True),
        lambda labels: in_a_graph.train_on_batch(FEATURES, labels, return_dict=True),
    )
    for number, (name, labels) in enumerate(FORMS.items()):
        result = in_a_graph.evaluate(FEATURES, labels, batch_size=6, verbose=0, return_dict=True)
        assert result == pytest.approx(expected, rel=1e-5), name
        assert others[number % 3](labels) == pytest.approx(expected, rel=1e-5), name
    history = in_a_graph.fit(FEATURES, LABELS[:, None], batch_size=6, verbose=0).history
    assert history["loss"] == pytest.approx([expected["loss"]], rel=1e-5)


@pytest.mark.medium
def test_training_on_a_column_is_training_on_integers():
    one, other = compiled(run_eagerly=True), compiled(run_eagerly=True)
    for classifier, labels in ((one, LABELS), (other, LABELS[:, None])):
        classifier.fit(IMAGES, labels, epochs=2, verbose=0, shuffle=False)
    for ours, theirs in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert any((a != b).any() for a, b in zip(weights_of(one), weights_of(compiled()), strict=True))


@pytest.mark.parametrize("num_classes", [2, 6])
def test_two_classes_and_as_many_classes_as_examples(num_classes):
    """`(N, 1)` is a column of numbers and `(N, K)` are probabilities, whatever N is."""
    labels = np.arange(6) % num_classes
    for form in (labels, labels[:, None], np.eye(num_classes)[labels]):
        shares, fine = class_probabilities(form, num_classes, 6)
        np.testing.assert_array_equal(shares, np.eye(num_classes)[labels])
        assert np.all(fine)


# what is no label by its values; one of them among others
BAD = {
    "too large": (LABELS + 1, "from 0 to 3; got 1 to 4"),
    "negative": (LABELS - 1, "from 0 to 3; got -1 to 2"),
    "column": (LABELS[:, None] + 4, "from 0 to 3; got 4 to 7"),
    "fraction": (np.where(LABELS == 3, 2.5, LABELS), "from 0 to 3; got 2.5"),
    "NaN": (np.where(LABELS == 3, np.nan, LABELS), "from 0 to 3; got nan"),
    "infinity": (np.where(LABELS == 3, np.inf, LABELS), "from 0 to 3; got 0 to inf"),
    "nothing hot": (np.where(LABELS[:, None] == 3, 0, ONE_HOT), r"got \[0.0, 0.0, 0.0, 0.0\] for example 3, and 1"),
    "two hot": (np.where(LABELS[:, None] == 3, 0.5, ONE_HOT), r"sum to 1; got \[0.5, 0.5, 0.5, 0.5\]"),
    "negative share": (np.where(LABELS[:, None] == 3, [-1, 1, 1, 0], ONE_HOT), "are not negative and sum to 1"),
    "NaN share": (np.where(LABELS[:, None] == 3, np.nan, ONE_HOT), r"got \[nan, nan, nan, nan\]"),
}  # fmt: skip
# ... and by their form
WRONG = {
    "another width": (ONE_HOT[:, :3], r"labels are .* shape \(N, 4\); got the shape \(\w, 3\)"),
    "rank 3": (LABELS[:, None, None], r"got the shape \(\w, 1, 1\)"),
    "bool": (LABELS > 1, "got the type bool: .*astype"),
    "names": (np.array(list("abcdbc")), "got the type str(ing)?: .*np.unique"),
    "bytes": (np.array(list(b"abcdbc")).astype("S1"), "got the type (bytes|str)"),
    "complex": (LABELS.astype("complex64"), "got the type complex64"),
}


def generator(*data):
    yield data


WAYS = {
    "fit": lambda model, x, y: model.fit(x, y, verbose=0),
    "evaluate": lambda model, x, y: model.evaluate(x, y, verbose=0),
    "validation_data": lambda model, x, y: model.fit(x, LABELS, validation_data=(x, y), verbose=0),
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "test_on_batch": lambda model, x, y: model.test_on_batch(x, y),
    "data set, fit": lambda model, x, y: model.fit(batches(x, y), verbose=0),
    "data set, evaluate": lambda model, x, y: model.evaluate(batches(x, y), verbose=0),
    "data set, validation": lambda model, x, y: model.fit(x, LABELS, validation_data=batches(x, y), verbose=0),
    "generator, fit": lambda model, x, y: model.fit(generator(x, y), verbose=0),
    "generator, evaluate": lambda model, x, y: model.evaluate(generator(x, y), verbose=0),
    "loss": lambda model, x, y: model.batch_loss((x, y), ExampleSeed.of(0, 0), training=True),
}
IN_THE_STEP = [way for way in WAYS if "," in way]


@pytest.mark.medium
@pytest.mark.parametrize("way", WAYS)
def test_no_label_is_taken_for_one(in_a_graph, way):
    before = weights_of(in_a_graph)
    for name, (labels, message) in BAD.items():
        if way in IN_THE_STEP:
            message = (
                r"\d labels of the data are none: labels of 4 classes are integers from 0 to 3, or 4 probabilities"
            )
        with pytest.raises(ValueError, match=message):
            WAYS[way](in_a_graph, FEATURES, labels)
            pytest.fail(name)
    for name, (labels, message) in WRONG.items():
        if "generator" in way and labels.dtype.kind in "if":  # of a step that does not know the shape any more
            message = "6 labels of the data are none"
        elif "generator" in way:  # Keras looks at these first
            message = f"{message}|Invalid dtype: "
        with pytest.raises(ValueError, match=message):
            WAYS[way](in_a_graph, FEATURES, labels)
            pytest.fail(name)
    for old, new in zip(before, weights_of(in_a_graph), strict=True):
        np.testing.assert_array_equal(old, new)
    result = in_a_graph.evaluate(batches(FEATURES, LABELS), verbose=0, return_dict=True)
    assert np.isfinite(result["loss"])  # what was wrong before is not told again


@pytest.mark.medium
@pytest.mark.parametrize("way", IN_THE_STEP[:2])
def test_no_label_is_taken_for_one_under_xla(under_xla, way):
    """XLA drops assertions."""
    for labels in (LABELS + 1, np.where(LABELS[:, None] == 3, 0, ONE_HOT)):
        with pytest.raises(ValueError, match="labels of the data are none"):
            WAYS[way](under_xla, FEATURES, labels)
    assert np.isfinite(under_xla.evaluate(batches(FEATURES, LABELS), verbose=0, return_dict=True)["loss"])


def test_a_bad_batch_among_good_ones_is_not_learned_from_and_ends_the_run():
    classifier = compiled(run_eagerly=False)
    data = tf.data.Dataset.from_tensor_slices((FEATURES, np.array([0, 1, 2, 3, 9, 2]))).batch(2)
    with pytest.raises(ValueError, match="^1 labels of the data are none"):
        classifier.fit(data, verbose=0, callbacks=[])
    assert (int(classifier.optimizer.iterations), int(classifier.skipped_steps)) == (2, 1)


def test_lists_and_dicts_of_labels(in_a_graph):
    for labels, kind in ((list(LABELS), "list"), ({"a": LABELS}, "dict")):
        with pytest.raises(ValueError, match=f"labels are one array or tensor.*; got a {kind}"):
            in_a_graph.fit(IMAGES, labels, verbose=0)


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], ONE_HOT], ids=["numbers", "column", "one-hot"])
def test_a_step_that_does_not_know_the_shape(labels):
    spec = tf.TensorSpec(None, labels.dtype)
    of = tf.function(lambda labels: class_probabilities(labels, 4, 6), input_signature=[spec])
    shares, fine = of(labels)
    np.testing.assert_array_equal(shares, ONE_HOT)
    assert np.all(fine)
    shares, fine = of(np.concatenate([ONE_HOT, ONE_HOT], axis=1).astype(labels.dtype))
    assert np.all(np.isnan(shares)) and not np.any(fine)


class Plain(keras.Model):
    """The classifier's logits under Keras' own loss, metrics and step."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier
        self.built = True

    def call(self, inputs, training=False):
        return self.classifier(inputs, training=training)


def keras_alone():
    classifier = fill_randomly(ImageClassifier(small_encoder(), 4))
    plain = Plain(classifier)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain.compile(keras.optimizers.SGD(0.1), loss=loss, metrics=["accuracy"], run_eagerly=True)
    return plain


WEIGHTS = np.array([1, 2, 0, 0.5, 1, 3], "float32")
WEIGHTED = {
    "class_weight": {"class_weight": {0: 0.5, 1: 3.0}},  # Keras: the others weigh 1
    "sample_weight": {"sample_weight": WEIGHTS},
    "column": {"sample_weight": WEIGHTS[:, None]},
}


@pytest.mark.medium
@pytest.mark.parametrize(
    ("kind", "parts"), [("class_weight", 1), ("class_weight", 2), ("sample_weight", 2), ("column", 1)]
)
def test_weights_are_those_of_keras(kind, parts):
    """The loss is weighted, the accuracy is not: to 1e-6, the roundings of float32 in three steps."""
    weights, inputs = WEIGHTED[kind], IMAGES if kind == "sample_weight" else FEATURES
    plain, ours = keras_alone(), compiled(run_eagerly=True, accumulation_steps=parts)
    arguments = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0, **weights}
    expected = plain.fit(inputs, LABELS, **arguments).history
    got = ours.fit(inputs, LABELS, **arguments).history
    assert got.pop("skipped_steps") == [0, 0]
    for key, values in expected.items():
        np.testing.assert_allclose(got[key], values, rtol=1e-6, err_msg=key)
    for one, other in zip(weights_of(ours), weights_of(plain), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    given = {} if "class_weight" in weights else weights
    result = ours.evaluate(inputs, LABELS, verbose=0, return_dict=True, **given)
    assert result == pytest.approx(plain.evaluate(inputs, LABELS, verbose=0, return_dict=True, **given), rel=1e-5)


@pytest.mark.medium
def test_class_weights_of_a_data_set():
    """Keras' own table ends with the largest class that is named, and fails with an index beyond it."""
    arrays, data = compiled(run_eagerly=True), compiled(run_eagerly=True)
    for labels in (LABELS[:, None], ONE_HOT):
        arguments = {"class_weight": {1: 3.0}, "shuffle": False, "verbose": 0}
        expected = arrays.fit(FEATURES, labels, batch_size=6, **arguments).history
        assert data.fit(batches(FEATURES, labels), **arguments).history == expected
    unweighted = compiled(run_eagerly=True).fit(FEATURES, LABELS, batch_size=6, shuffle=False, verbose=0).history
    assert expected["loss"] != unweighted["loss"]
    with pytest.raises(ValueError, match="labels of 4 classes are integers from 0 to 3"):
        data.fit(batches(FEATURES, LABELS + 4), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_weight": {0: 1.0, 7: 2.0}}, "class_weight has weights of classes 0 to 3; got 7"),
        ({"class_weight": [1.0, 2.0]}, r"class_weight is a dict from classes to weights, .*; got \[1.0, 2.0\]"),
        ({"sample_weight": np.ones((6, 2))}, r"one number an example, .*; got float64 \(6, 2\)"),
        ({"sample_weight": np.array(list("abcdef"))}, "one number an example, .*; got str"),
        ({"sample_weight": np.array([1.0, 1, -2, 1, -1, 1])}, "at least 0; got -2 for example 2, and 2 such of 6"),
        ({"sample_weight": np.array([[1.0], [1], [1], [1], [1], [np.nan]])}, "at least 0; got nan for example 5"),
        ({"class_weight": {2: -1.0}}, "finite weights of at least 0; got -1 for class 2"),
        ({"class_weight": {0: 1.0, 1: np.inf}}, "finite weights of at least 0; got inf for class 1"),
    ],
)
def test_bad_weights(in_a_graph, arguments, message):
    with pytest.raises(ValueError, match=message):
        in_a_graph.fit(IMAGES, LABELS, verbose=0, **arguments)


def test_a_data_set_without_batches(in_a_graph):
    with pytest.raises(ValueError, match=r"got the shape \(\), of one example: make batches"):
        in_a_graph.fit(tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)), verbose=0)


def test_pretraining_has_no_weights():
    """They would change nothing."""
    mae = small_mae()
    mae.compile(run_eagerly=True)
    for arguments in ({"sample_weight": WEIGHTS}, {"class_weight": {0: 2.0}}):
        with pytest.raises(ValueError, match="weighs all images alike: leave out sample_weight and class_weight"):
            mae.fit(IMAGES, LABELS, verbose=0, **arguments)


@pytest.mark.medium
def test_negative_weights_of_a_data_set_are_not_learned_from():
    classifier = compiled()
    before = classifier.get_weights()
    weights = np.where(LABELS == 2, -1.0, WEIGHTS)
    history = classifier.fit(tf.data.Dataset.from_tensors((FEATURES, LABELS, weights)), verbose=0).history
    assert history["skipped_steps"] == [1] and np.isnan(history["loss"][0])
    for old, new in zip(before, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
