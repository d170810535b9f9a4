"""The exported classifier and the exported autoencoder against the live ones."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import decode_image, evaluation_transform
from keras_mae.export import export_autoencoder, export_classifier, saved_model
from keras_mae.models import ImageClassifier, MAEDecoder, MaskedAutoencoder
from keras_mae.targets import TokenTarget
from tests.base import PLANES, fill_randomly, random_images, random_noise, small_encoder, small_mae
from tests.export.conftest import PNG_AND_JPEG

SHAPE, CROP = (8, 12, 3), 0.8
LABELS = ["cat", "dog", "Gürteltier"]
ROUND_OFF = 1e-5  # of values of about 1: another order of float32 sums

pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("png_and_jpeg")]


def small_classifier(image_shape=SHAPE, **arguments):
    return fill_randomly(ImageClassifier(small_encoder(image_shape), num_classes=3, **arguments))


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def check(outputs, logits, labels=LABELS):
    np.testing.assert_allclose(outputs["probabilities"], softmax(logits), rtol=0, atol=ROUND_OFF)
    np.testing.assert_array_equal(outputs["class_id"], logits.argmax(axis=1))
    assert [label.decode() for label in outputs["label"].numpy()] == [labels[k] for k in logits.argmax(axis=1)]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    live = small_classifier()
    path = export_classifier(live, str(tmp_path_factory.mktemp("models") / "animals"), labels=LABELS, crop_ratio=CROP)
    return live, path, tf.saved_model.load(path)


@pytest.mark.parametrize("count", [1, 3, 64])
def test_classifier(classifier, count):
    live, _, loaded = classifier
    images = random_images(count, SHAPE, seed=count)
    logits = live(images).numpy()
    outputs = loaded.signatures["classify"](images=tf.constant(images))
    assert set(outputs) == {"probabilities", "class_id", "label", "logits"}
    np.testing.assert_allclose(outputs["logits"], logits, rtol=0, atol=ROUND_OFF)
    check(outputs, logits)
    if count > 3:
        assert len(set(outputs["class_id"].numpy())) > 1

    images = np.stack([evaluation_transform(decode_image(file, 3), SHAPE, CROP) for file in PNG_AND_JPEG])
    order = np.arange(count) % len(PNG_AND_JPEG)
    outputs = loaded.signatures["serving_default"](image_bytes=tf.gather(PNG_AND_JPEG, order))
    assert set(outputs) == {"probabilities", "class_id", "label"}
    check(outputs, live(images[order]).numpy())


def test_classifier_signatures_and_labels(classifier):
    _, path, loaded = classifier
    types = {
        name: {key: (spec.dtype.name, spec.shape.as_list()) for key, spec in function.structured_outputs.items()}
        for name, function in loaded.signatures.items()
    }
    files = {"probabilities": ("float32", [None, 3]), "class_id": ("int64", [None]), "label": ("string", [None])}
    assert types == {"serving_default": files, "classify": {**files, "logits": ("float32", [None, 3])}}
    with open(os.path.join(path, "assets", "labels.txt"), encoding="utf-8") as file:
        assert file.read().splitlines() == LABELS
    assert len(loaded.variables) == len(classifier[0].weights)


def test_a_corrupt_file_is_named(classifier):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"the request:\] \[1\]"):
        classifier[2].signatures["serving_default"](image_bytes=tf.constant([PNG_AND_JPEG[0], b"?", PNG_AND_JPEG[1]]))


def test_a_linear_probe_without_labels(tmp_path, unverified):
    live, images = small_classifier(PLANES, num_trainable_layers=0, pooling="cls"), random_images(3, PLANES)
    loaded = tf.saved_model.load(export_classifier(live, str(tmp_path)))
    check(loaded.signatures["classify"](images=tf.constant(images)), live(images).numpy(), "012")


def test_as_many_labels_as_classes(tmp_path):
    with pytest.raises(ValueError, match="one label a class is needed: got 2 for 3 classes"):
        export_classifier(small_classifier(), str(tmp_path / "model"), labels=LABELS[:2])
    assert os.listdir(tmp_path) == []


def test_a_classifier_that_differs_is_removed(tmp_path, monkeypatch, verified_here):
    """The labels are swapped behind the export's back: every number is right, and only the strings tell."""
    live, save = small_classifier(PLANES), saved_model.write_saved_model

    def save_with_swapped_labels(served, path, name):
        save(saved_model.ServedClassifier(live, LABELS[::-1]), path, name)

    monkeypatch.setattr(saved_model, "write_saved_model", save_with_swapped_labels)
    with pytest.raises(RuntimeError, match=r"differs from the live one in classify/images/label by"):
        export_classifier(live, str(tmp_path), labels=LABELS)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("normalize", [False, True])
def test_autoencoder(tmp_path, normalize, monkeypatch):
    if normalize:
        monkeypatch.setattr(saved_model, "verify_export", lambda *arguments: {})
    live = small_mae(normalize=normalize)
    loaded = tf.saved_model.load(export_autoencoder(live, str(tmp_path)))
    assert set(loaded.signatures) == {"reconstruct"}
    reconstruct = loaded.signatures["reconstruct"]
    for count, masked in ((1, 3), (3, 2), (64, 5)):  # not only as many as in training
        images, mask = (
            random_images(count, SHAPE, seed=count),
            (random_noise(count, 6) * 6 >= 6 - masked).astype("float32"),
        )
        outputs = reconstruct(images=tf.constant(images), mask=tf.constant(mask))
        assert set(outputs) == {"reconstruction", "masked_images"}
        expected = live.reconstruct(images, mask=mask)
        for name, value in outputs.items():
            # of pixel levels up to 255
            np.testing.assert_allclose(value, expected[name], rtol=0, atol=255 * ROUND_OFF)
    unequal = tf.constant([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]], tf.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match="same number of ones in every row"):
        reconstruct(images=tf.constant(random_images(2, SHAPE)), mask=unequal)


def test_an_autoencoder_of_tokens_has_no_reconstructions_to_serve(tmp_path):
    inputs = keras.Input((8, 12, 3))
    target = TokenTarget(keras.Model(inputs, keras.layers.Conv2D(5, 4, strides=4)(inputs)), vocabulary_size=5)
    model = MaskedAutoencoder(small_encoder(), MAEDecoder(12, 1, 3), target=target)
    with pytest.raises(ValueError, match="this one's TokenTarget has no pixels to give: export its encoder"):
        export_autoencoder(model, str(tmp_path / "model"))
    assert not os.listdir(tmp_path)
