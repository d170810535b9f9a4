"""Building on the exported encoder: tf.saved_model.load and keras.layers.TFSMLayer, and fine-tuning with both."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_mae.data.sources import digits_source
from keras_mae.export import export_encoder, mend_names
from keras_mae.models import ImageClassifier, ViTEncoder
from tests.base import PLANES, random_images, small_encoder, small_mae

ROUND_OFF = 1e-5  # of values of about 1: another order of float32 sums
SHAPE = (28, 28, 3)

pytestmark = pytest.mark.medium


def tfsm_layer(path):
    return keras.layers.TFSMLayer(path, call_endpoint="embed", call_training_endpoint="embed_training")


def assert_drop_path_acts(embed, expected):
    """`embed(training)` gives `expected` without training, and another draw with every call with training."""
    np.testing.assert_allclose(embed(False), expected, rtol=0, atol=ROUND_OFF)
    first, second = np.array(embed(True)), np.array(embed(True))
    assert np.abs(first - expected).max() > 0.01 and np.abs(first - second).max() > 0.01


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_it_can_be_called(served, dtype):
    images = random_images(8, SHAPE, dtype=dtype)
    np.testing.assert_allclose(served.loaded(images), served.live(images), rtol=0, atol=ROUND_OFF)
    assert_drop_path_acts(lambda training: served.loaded(images, training=training), served.live(images))


@pytest.fixture(scope="module")
def untrained(served):
    return tfsm_layer(served.path)


def test_endpoints_of_a_keras_layer(served, untrained):
    layer, images = untrained, random_images(8, SHAPE)
    assert_drop_path_acts(lambda training: layer(images, training=training)["embedding"], served.live(images))


def test_variables_are_the_encoders(served):
    loaded, encoder = served.loaded, served.encoder
    assert [v.name for v in loaded.variables] == [f"{v.path}:0" for v in encoder.weights]
    for found, expected in zip(loaded.variables, encoder.weights, strict=True):
        np.testing.assert_array_equal(found, expected)
    fixed = {v.ref() for v in loaded.variables} - {v.ref() for v in loaded.trainable_variables}
    assert [v.deref().name for v in fixed] == ["vit_encoder/positions/table:0"]  # sin-cos
    assert list(loaded.regularization_losses) == []


def test_gradients_reach_every_trainable_variable(served):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(served.loaded(random_images(4, SHAPE), training=True) ** 3)
    gradients = tape.gradient(loss, list(served.loaded.trainable_variables))
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)


def test_only_the_encoder_is_in_the_file(served):
    with open(os.path.join(served.path, "saved_model.pb"), "rb") as file:
        graph = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs[0].object_graph_def
    kinds = {node.WhichOneof("kind") for node in graph.nodes}
    assert kinds <= {"user_object", "variable", "function", "bare_concrete_function", "constant", "asset"}
    objects = {node.user_object.identifier for node in graph.nodes if node.WhichOneof("kind") == "user_object"}
    assert objects <= {"_generic_user_object", "trackable_list_wrapper", "signature_map"}  # Keras would be named
    names = [name for name, _ in tf.train.list_variables(os.path.join(served.path, "variables", "variables"))]
    assert len(names) == len(served.encoder.weights) + 1  # and the checkpoint's own graph of objects
    assert not [
        name for name in names if any(word in name for word in ("decoder", "mask", "optimizer", "seed", "step"))
    ]


def test_a_pretrained_and_probed_encoder_is_exported_alone_and_trainable(tmp_path, unverified):
    mae = small_mae(image_shape=PLANES)
    mae.compile(optimizer=keras.optimizers.Adam(), run_eagerly=True)  # a graph takes longer than the step
    mae.train_on_batch(random_images(2, PLANES))
    probe = ImageClassifier(mae.encoder, 3, num_trainable_layers=0)
    mae.encoder.trainable = False
    assert not mae.encoder.trainable_variables and probe.trainable_variables == probe.head.weights
    loaded = tf.saved_model.load(export_encoder(mae.encoder, str(tmp_path)))
    assert len(loaded.variables) == len(mae.encoder.weights)
    assert len(loaded.trainable_variables) == len(mae.encoder.weights) - 1


def size(folder):
    return sum(os.path.getsize(os.path.join(root, file)) for root, _, files in os.walk(folder) for file in files)


def test_what_an_export_takes_beside_its_weights(served):
    weights = 4 * served.encoder.count_params()
    # names and sizes of weights, and as below
    assert weights < size(os.path.join(served.path, "variables")) < weights + 30_000
    assert size(served.path) - weights < 2.4e6 + 0.5e6 * served.encoder.num_layers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "preset"),
    [
        ({"hidden_dim": 256, "num_layers": 2, "num_heads": 4}, None),  # 1.8 million parameters
        ({}, "vit_base_patch16"),
    ],
)
def test_size_on_disk(tmp_path, unverified, sizes, preset):
    shape = (224, 224, 3)
    encoder = ViTEncoder.from_preset(preset, image_shape=shape) if preset else ViTEncoder(shape, **sizes)
    path = export_encoder(encoder, str(tmp_path))
    weights = 4 * encoder.count_params()
    assert 1 <= size(os.path.join(path, "variables")) / weights < 1.02
    # The readers of six image formats take 2 MB; the rest grows with the blocks, not with the width: at this rate the
    # 12 of a ViT-B (343 MB) stay within 3 %
    assert size(path) - weights < (0.03 * weights if preset else 2.4e6 + 0.5e6 * encoder.num_layers)


# ---- fine-tuning: the same recipe on the live encoder and on what was exported of it

STEPS, BATCH, LEARNING_RATE = 100, 64, 3e-3


@pytest.fixture(scope="module")
def digits():
    """Batches of `STEPS` steps, and the test set."""
    train, test = digits_source("train"), digits_source("test")
    order = np.random.RandomState(0).randint(0, train.num_images, (STEPS, BATCH))
    return [(train.images[rows], train.labels[rows]) for rows in order], (test.images, test.labels)


@pytest.fixture
def encoder_and_path(tmp_path, unverified):
    keras.utils.set_random_seed(0)
    encoder = ViTEncoder((28, 28, 1), 7, hidden_dim=32, num_layers=2, num_heads=2, position_temperature=10.0)
    return encoder, export_encoder(encoder, str(tmp_path))


def fine_tuned_by_keras(embed, digits):
    """Test accuracy of a linear layer on `embed(images)` after training all of it."""
    batches, (images, labels) = digits
    inputs = keras.Input((28, 28, 1), dtype="uint8")
    model = keras.Model(inputs, keras.layers.Dense(10, kernel_initializer="zeros")(embed(inputs)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE), loss=loss, metrics=["accuracy"])
    for x, y in batches:
        model.train_on_batch(x, y)
    return model.evaluate(images, labels, batch_size=250, verbose=0, return_dict=True)["accuracy"]


def fine_tuned_by_tensorflow(loaded, digits):
    """The same without Keras."""
    batches, (images, labels) = digits
    kernel, bias = tf.Variable(tf.zeros((32, 10))), tf.Variable(tf.zeros(10))
    variables = [*loaded.trainable_variables, kernel, bias]
    optimizer = tf.compat.v1.train.AdamOptimizer(LEARNING_RATE, epsilon=1e-7)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            logits = loaded(x, training=True) @ kernel + bias
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    for x, y in batches:
        step(tf.constant(x), tf.constant(y))
    return np.mean((loaded(images) @ kernel + bias).numpy().argmax(axis=1) == labels)


@pytest.mark.slow
def test_fine_tuning_what_was_exported_is_as_good_as_fine_tuning_the_live_encoder(encoder_and_path, digits):
    encoder, path = encoder_and_path
    layer, loaded = mend_names(tfsm_layer(path)), tf.saved_model.load(path)
    before = [weight.numpy().copy() for weight in loaded.trainable_variables]
    accuracies = {
        "TFSMLayer": fine_tuned_by_keras(lambda x: layer(x)["embedding"], digits),
        "tf.saved_model.load": fine_tuned_by_tensorflow(loaded, digits),
    }
    for weights in (layer.trainable_weights, loaded.trainable_variables):
        moved = {weight.name.split(":")[0].replace("/", "_"): weight.numpy() for weight in weights}
        assert len(moved) == len(before)
        for weight, old in zip(loaded.trainable_variables, before, strict=True):
            assert np.abs(moved[weight.name.split(":")[0].replace("/", "_")] - old).max() > 1e-4
    live = fine_tuned_by_keras(lambda x: keras.ops.mean(encoder(x)["patch_tokens"], axis=1), digits)
    assert live > 0.5
    for accuracy in accuracies.values():
        assert abs(accuracy - live) <= 0.01, accuracies | {"live": live}


def test_keras_still_needs_mended_names(untrained):
    """If this fails, Keras trains a TFSMLayer with Adam as it is: remove `mend_names`."""
    images = keras.Input(SHAPE, dtype="uint8")
    model = keras.Model(images, untrained(images)["embedding"])
    with pytest.raises(ValueError, match=":0_momentum' is not a valid scope name"):
        model.compile(optimizer="adam", loss="mse")
        model.train_on_batch(random_images(2, SHAPE), np.zeros((2, 32)))


@pytest.mark.parametrize(
    "optimizer", ["adamw", pytest.param(keras.optimizers.SGD(1e-3, momentum=0.9), marks=pytest.mark.slow)]
)
def test_mended_names_train_and_are_saved(served, tmp_path, optimizer):
    layer, images = mend_names(tfsm_layer(served.path)), keras.Input(SHAPE, dtype="uint8")
    assert len({weight.path for weight in layer.weights}) == len(layer.weights)
    assert not [weight.path for weight in layer.weights if ":" in weight.path]
    x = random_images(2, SHAPE, seed=1)
    floats = keras.layers.Rescaling(1.0)(images)  # as augmentation gives them
    np.testing.assert_allclose(
        keras.Model(images, layer(floats)["embedding"])(x), served.live(x), rtol=0, atol=ROUND_OFF
    )
    model = keras.Model(images, layer(images)["embedding"])
    model.compile(optimizer=optimizer, loss="mse", jit_compile=False)
    model.train_on_batch(random_images(2, SHAPE), np.zeros((2, 32)))
    model.save(tmp_path / "tuned.keras")
    loaded = keras.saving.load_model(tmp_path / "tuned.keras", compile=False, safe_mode=False)
    np.testing.assert_allclose(loaded(x), model(x), rtol=0, atol=ROUND_OFF)
    assert np.abs(model(x) - served.live(x)).max() > 1e-4


def test_poolings_and_length_one(tmp_path, unverified):
    encoder, images = small_encoder(PLANES), random_images(3, PLANES)
    outputs = encoder(images)
    mean, cls_token = outputs["patch_tokens"].numpy().mean(axis=1), outputs["cls_token"].numpy()
    both = np.concatenate([cls_token, mean], axis=1)
    expected = both / np.linalg.norm(both, axis=1, keepdims=True)
    loaded = tf.saved_model.load(export_encoder(encoder, str(tmp_path), pooling="both", normalize=True))
    found = loaded.signatures["embed"](images=tf.constant(images))["embedding"]
    assert found.shape == (3, 32)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUND_OFF)
    np.testing.assert_allclose(loaded(images), expected, rtol=0, atol=ROUND_OFF)
