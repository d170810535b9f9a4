"""The exported segmenter against the live one."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import decode_image
from keras_mae.data.preprocessing import resize_at_once
from keras_mae.export import VerificationError, export_segmenter, saved_model, verify
from keras_mae.models import ImageSegmenter
from tests.base import PLANES, fill_randomly, random_images, small_encoder
from tests.export.conftest import FILES

SHAPE, CLASSES = (8, 12, 3), ["background", "cat", "Gürteltier"]
ROUND_OFF = 1e-5  # of probabilities: another order of float32 sums


def segmenter(image_shape, num_classes=len(CLASSES)):
    return fill_randomly(ImageSegmenter(small_encoder(image_shape), num_classes, "mask_transformer"))


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def read_png(files):
    """The numbers in PNG files, by Pillow."""
    import io

    from PIL import Image

    pictures = [Image.open(io.BytesIO(file)) for file in files]
    assert all(picture.format == "PNG" and picture.mode in ("L", "I;16") for picture in pictures)
    return np.stack([np.asarray(picture) for picture in pictures])


@pytest.mark.medium
def test_classes_of_images(tmp_path, unverified):
    """Without a signature for image files, which takes most of the time of an export."""
    live = segmenter(PLANES)
    path = export_segmenter(live, str(tmp_path / "scenes"), labels=CLASSES)
    loaded, images = tf.saved_model.load(path), random_images(5, PLANES)
    assert list(loaded.signatures) == ["segment"] and len(loaded.variables) == len(live.weights)
    outputs = loaded.signatures["segment"](images=tf.constant(images))
    logits = live(images).numpy()
    np.testing.assert_allclose(outputs["probabilities"], softmax(logits), rtol=0, atol=ROUND_OFF)
    np.testing.assert_array_equal(outputs["class_map"], logits.argmax(axis=-1))
    assert outputs["class_map"].dtype == tf.uint8 and len(np.unique(outputs["class_map"])) == len(CLASSES)
    with open(os.path.join(path, "assets", "labels.txt"), encoding="utf-8") as file:
        assert file.read().splitlines() == CLASSES
    with open(os.path.join(path, "assets", "metadata.json"), encoding="utf-8") as file:
        metadata = json.load(file)
    assert metadata["labels"] == CLASSES and metadata["model"] == "ImageSegmenter" and metadata["crop_ratio"] is None
    assert os.path.exists(os.path.join(path, "assets.extra", "tf_serving_warmup_requests"))
    with pytest.raises(ValueError, match="one label a class is needed: got 2 for 3 classes"):
        export_segmenter(live, str(tmp_path / "scenes"), 2, labels=CLASSES[:2])


@pytest.mark.slow
@pytest.mark.parametrize(("count", "dtype"), [(len(CLASSES), tf.uint8), (300, tf.int32)])
def test_classes_of_image_files(tmp_path, monkeypatch, count, dtype):
    """Verified in a fresh process; whole images of any aspect; a corrupt file is named."""
    live, differences, check = segmenter(SHAPE, count), {}, saved_model.verify_export
    monkeypatch.setattr(saved_model, "verify_export", lambda *arguments: differences.update(check(*arguments)))
    loaded = tf.saved_model.load(export_segmenter(live, str(tmp_path / "scenes")))
    assert {key.rpartition("/")[2] for key in differences} == {"class_map", "png", "probabilities"}
    assert len(differences) == 4 and max(differences.values()) < ROUND_OFF
    serve = loaded.signatures["serving_default"]
    outputs = serve(image_bytes=tf.constant(FILES))
    images = np.stack([resize_at_once(decode_image(file, 3), SHAPE[:2]) for file in FILES])
    np.testing.assert_array_equal(outputs["class_map"], live(images).numpy().argmax(axis=-1))
    np.testing.assert_array_equal(read_png(outputs["png"].numpy()), outputs["class_map"])
    assert outputs["class_map"].dtype == dtype and set(outputs) == {"class_map", "png"}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"the request:\] \[1\]"):
        serve(image_bytes=tf.constant([FILES[0], b"?", FILES[1]]))


def test_pixels_that_round_off_decides_may_differ():
    """One of six pixels is a tie; what the others are is checked, in class maps and in PNG files."""
    probabilities = np.tile(np.float32([0.1, 0.7, 0.2]), (1, 2, 3, 1))
    probabilities[0, 1, 2] = [0.2, 0.4, 0.4]
    right, tie, wrong = (np.ones((1, 2, 3), "uint8") for _ in range(3))
    tie[0, 1, 2], wrong[0, 0, 1] = 2, 2
    live = {"class_map": right, "png": encoded(right), verify._LIVE: probabilities}
    for other, differs in ((right, False), (tie, False), (wrong, True)):
        found = {"class_map": other, "png": encoded(other)}
        for name in found:
            case = {"serving_default": {name: live[name], verify._LIVE: probabilities}}
            arguments = {"serving_default": {"image_bytes": None}}, case, {"serving_default": found}, {"float32"}
            if differs:
                with pytest.raises(VerificationError, match=f"serving_default/image_bytes/{name} by 1.00e"):
                    verify.compare(*arguments)
            else:
                assert verify.compare(*arguments) == {f"serving_default/image_bytes/{name}": 0.0}


def encoded(class_map):
    return np.array([tf.io.encode_png(image[..., None]).numpy() for image in class_map], object)
