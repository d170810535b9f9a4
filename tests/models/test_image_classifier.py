"""The classifier: pooling, fine-tuning of all or the last blocks, the linear probe, and bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.models import ImageClassifier, ViTEncoder
from tests.base import fill_randomly, random_images, small_encoder, weights_of

IMAGES, LABELS = random_images(6, (8, 12, 3)), np.array([0, 1, 2, 3, 1, 2])
SEED = ExampleSeed.of(0, 0)


def small_classifier(encoder=None, **arguments):
    return fill_randomly(ImageClassifier(encoder or small_encoder(), 4, **arguments))


def fit(classifier, **arguments):
    # run_eagerly: a graph for each of these small models would take longer than its few steps
    classifier.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    return classifier.fit(IMAGES, LABELS, batch_size=3, epochs=1, verbose=0, **arguments)


def layer_norm(x, norm):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * keras.ops.convert_to_numpy(norm.gamma) + keras.ops.convert_to_numpy(norm.beta)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling(pooling):
    """The mean of the patch tokens is taken before the last norm, the class token after it."""
    classifier = small_classifier(pooling=pooling)
    tokens = classifier.encoder.tokens_of_layer(IMAGES, 1)  # of one
    pooled = tokens.patches.numpy().astype("float64").mean(axis=1) if pooling == "mean" else tokens.prefix.numpy()[:, 0]
    features = layer_norm(pooled, classifier.encoder.norm)
    kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in classifier.head.weights)
    np.testing.assert_allclose(classifier(IMAGES), features @ kernel + bias, atol=1e-5)  # float32, 16 terms


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_probe_sees_the_encoders_output_through_batch_norm(pooling):
    classifier = small_classifier(pooling=pooling, num_trainable_layers=0)
    outputs = classifier.encoder(IMAGES)
    features = np.mean(outputs["patch_tokens"], axis=1) if pooling == "mean" else outputs["cls_token"].numpy()
    norm = classifier.batch_norm
    assert len(norm.weights) == 2 and not norm.trainable_weights  # no affine parameters

    def logits(mean, variance):
        kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in classifier.head.weights)
        return (features - mean) / np.sqrt(variance + 1e-6) @ kernel + bias

    moving = (keras.ops.convert_to_numpy(norm.moving_mean), keras.ops.convert_to_numpy(norm.moving_variance))
    np.testing.assert_allclose(classifier(IMAGES), logits(*moving), atol=1e-4)
    # the variance of six features may be small, and dividing by it magnifies float32's roundings
    batch = features.mean(axis=0), features.var(axis=0)
    np.testing.assert_allclose(classifier(IMAGES, training=True), logits(*batch), atol=1e-3)
    # what PyTorch calls momentum 0.1
    np.testing.assert_allclose(norm.moving_mean, 0.9 * moving[0] + 0.1 * batch[0], atol=1e-6)


def test_probe_freezes_the_encoder_to_the_bit():
    classifier = small_classifier(small_encoder(num_layers=2, drop_path_rate=0.5), num_trainable_layers=0)
    encoder, head = weights_of(classifier.encoder), weights_of(classifier.head)
    moving = weights_of(classifier.batch_norm)
    fit(classifier)
    for before, after in zip(encoder, weights_of(classifier.encoder), strict=True):
        np.testing.assert_array_equal(before, after)
    assert all((before != after).any() for before, after in zip(head, weights_of(classifier.head), strict=True))
    assert all((before != after).all() for before, after in zip(moving, weights_of(classifier.batch_norm), strict=True))
    assert classifier.trainable_variables == classifier.head.weights


def test_probe_keeps_the_encoder_in_inference_mode():
    classifier = small_classifier(small_encoder(num_layers=2, drop_path_rate=0.5), num_trainable_layers=0)
    draws = [classifier(IMAGES, training=True, seed=ExampleSeed.of(0, step)).numpy() for step in (0, 1)]
    np.testing.assert_array_equal(*draws)
    fine_tuned = small_classifier(small_encoder(num_layers=2, drop_path_rate=0.5))
    draws = [fine_tuned(IMAGES, training=True, seed=ExampleSeed.of(0, step)).numpy() for step in (0, 1)]
    assert (draws[0] != draws[1]).any()


@pytest.mark.medium
@pytest.mark.parametrize("count", [0.5, 1, 2, None])
def test_partial_fine_tuning_moves_the_last_blocks_only(count):
    classifier = small_classifier(small_encoder(num_layers=3), num_trainable_layers=count)
    before = weights_of(classifier)
    fit(classifier)
    moved = {
        variable.path.split("/", 1)[1]
        for variable, old in zip(classifier.weights, before, strict=True)
        if (keras.ops.convert_to_numpy(variable) != old).any()
    }
    expected = {"norm/gamma", "norm/beta", "head/kernel", "head/bias"}
    parts = {0.5: ("block_2/norm2", "block_2/mlp"), 1: ("block_2",), 2: ("block_1", "block_2"), None: ("",)}[count]
    paths = {variable.path.split("/", 1)[1] for variable in classifier.weights} - {"positions/table"}
    assert moved == expected | {path for path in paths if path.startswith(parts)}


@pytest.mark.medium
def test_training_lowers_the_loss_and_reports_accuracy():
    classifier = small_classifier()
    classifier.compile(optimizer=keras.optimizers.Adam(0.03), run_eagerly=True)
    history = classifier.fit(IMAGES, LABELS, batch_size=6, epochs=10, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    result = classifier.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    predictions = np.argmax(classifier.predict(IMAGES, verbose=0), axis=1)
    np.testing.assert_allclose(result["accuracy"], np.mean(predictions == LABELS), rtol=1e-6)


def test_top5_accuracy():
    """Twelve classes, of which the label's rank by logit is 0, 3, 4, 5, 11 and 0: two of six first, four in five."""
    classifier = fill_randomly(ImageClassifier(small_encoder(), 12))
    classifier.compile(optimizer="sgd", run_eagerly=True)
    order = np.argsort(-classifier(IMAGES).numpy(), axis=1)
    labels = order[np.arange(6), [0, 3, 4, 5, 11, 0]]
    for y in (labels, np.eye(12)[labels]):  # integers or probabilities
        result = classifier.evaluate(IMAGES, y, verbose=0, return_dict=True)
        assert (result["accuracy"], result["top5_accuracy"]) == (pytest.approx(2 / 6), pytest.approx(4 / 6))
    few = small_classifier()
    few.compile(optimizer="sgd", run_eagerly=True)
    assert "top5_accuracy" not in few.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)


def test_features_in_place_of_images():
    """What a probe computes once: the same logits, and the same step."""
    probes = [small_classifier(num_trainable_layers=0) for _ in range(2)]
    features = probes[0].features(IMAGES)
    np.testing.assert_array_equal(probes[0](features), probes[0](IMAGES))
    for probe, inputs in zip(probes, (IMAGES, features.numpy()), strict=True):
        probe.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
        probe.fit(inputs, LABELS, batch_size=3, epochs=1, shuffle=False, verbose=0)
    for one, other in zip(weights_of(probes[0]), weights_of(probes[1]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)  # the encoder saw batches of 6 and of 3


def test_loss_is_cross_entropy_with_smoothed_labels():
    classifier = small_classifier(label_smoothing=0.1)
    logits = classifier(IMAGES).numpy().astype("float64")
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    smoothed = 0.9 * np.eye(4)[LABELS] + 0.1 / 4
    expected = -(smoothed * logp).sum(axis=1)
    for labels in (LABELS, LABELS.astype("int64"), np.eye(4)[LABELS]):  # integers or probabilities
        loss = classifier.batch_loss((IMAGES, labels), SEED, training=True)
        np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    weights = np.array([1, 2, 0, 0, 1, 0.5], "float32")
    loss = classifier.batch_loss((IMAGES, LABELS, weights), SEED, training=True)
    np.testing.assert_allclose(loss, (expected * weights).mean(), rtol=1e-5)


@pytest.mark.parametrize(("count", "std"), [(None, 2e-5), (0, 0.01)])
def test_initial_head(count, std):
    head = ImageClassifier(ViTEncoder((4, 4, 1), 4, 64, 1, 2), 1000, num_trainable_layers=count).head
    values = keras.ops.convert_to_numpy(head.kernel)
    # the standard deviation of 64,000 numbers is known to 1 / sqrt(2 n) = 0.3 %: five of that
    np.testing.assert_allclose(values.std(), std, rtol=0.014)
    np.testing.assert_array_equal(head.bias, 0)


@pytest.mark.parametrize("count", [None, 0.5, 1, 0])
def test_layer_groups_cover_every_trainable_variable_once(count):
    classifier = small_classifier(small_encoder(num_layers=2), num_trainable_layers=count)
    groups = [id(variable) for group in classifier.layer_groups() for variable in group]
    assert sorted(groups) == sorted(id(variable) for variable in classifier.trainable_variables)
    assert len(classifier.layer_groups()) == 1 + 2 + 1  # stem, blocks, norm with head
    excluded = {id(variable) for variable in classifier.no_weight_decay()}
    trainable = {id(variable): variable.path for variable in classifier.trainable_variables}
    assert excluded <= set(trainable)
    assert all(path.endswith("kernel") for key, path in trainable.items() if key not in excluded)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "max"}, "no pooling is called 'max'; did you mean mean"),
        ({"num_trainable_layers": 3}, "a multiple of 0.5 up to 1; got 3"),
        ({"num_trainable_layers": 0.3}, "a multiple of 0.5 up to 1; got 0.3"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_classifier(**arguments)


def test_bad_data():
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        ImageClassifier(small_encoder(), 1)
    classifier = small_classifier()
    with pytest.raises(ValueError, match="the data has no labels"):
        classifier.batch_loss(IMAGES, SEED, training=True)
    with pytest.raises(ValueError, match="expected images of shape"):
        classifier(IMAGES[..., :1])
    for labels, message in ((LABELS + 1, "from 0 to 3; got 1 to 4"), (LABELS - 1, "from 0 to 3; got -1 to 2")):
        with pytest.raises(ValueError, match=message):
            classifier.fit(IMAGES, labels)
    with pytest.raises(ValueError, match="and this classifier has multi_label=True"):
        small_classifier(multi_label=True).compile(optimizer="sgd", loss="categorical_crossentropy")


def test_logits_are_float32_under_a_mixed_policy():
    classifier = small_classifier(small_encoder(dtype="mixed_bfloat16"), num_trainable_layers=0)
    assert classifier(IMAGES).dtype == tf.float32
