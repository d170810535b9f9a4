"""A class for every pixel: loss, metrics, labels, and what is trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from sklearn.metrics import accuracy_score, jaccard_score

from keras_mae.models import ImageSegmenter
from keras_mae.models.confusion_metrics import MeanIoU, PixelAccuracy
from keras_mae.models.pixel_labels import pixel_classes
from tests.base import fill_randomly, random_images, small_encoder, weights_of

SHAPE, CLASSES = (8, 12, 3), 3
IMAGES = random_images(6, SHAPE)
LABELS = np.random.default_rng(1).integers(-1, CLASSES, (6, 8, 12))
ROUND_OFF = 1e-5  # of sums of about 1, in another order


def segmenter(head="mask_transformer", dtype="float32", drop_path_rate=0.0, **arguments):
    encoder = small_encoder(SHAPE, dtype=dtype, drop_path_rate=drop_path_rate)
    return fill_randomly(ImageSegmenter(encoder, CLASSES, head, dtype=dtype, **arguments))


def compiled(model, **arguments):
    model.compile(keras.optimizers.SGD(0.1), **{"jit_compile": False, **arguments})
    return model


@pytest.fixture(scope="module")
def model():
    return compiled(segmenter())


def numpy_loss(logits, labels):
    """Summed over the labelled pixels, divided by all."""
    logits = np.asarray(logits, "float64")
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(log_probabilities, np.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return -np.where(labels >= 0, chosen, 0).sum() / labels.size


def test_logits_are_enlarged_to_the_images_size(model):
    logits = model(IMAGES)
    assert (
        logits.shape == (6, 8, 12, CLASSES) == model.compute_output_shape(IMAGES.shape) and logits.dtype == tf.float32
    )
    coarse = model.masks(model.features(IMAGES)).numpy()
    assert coarse.shape == (6, 4, 6, CLASSES)  # patches of 4 pixels, enlarged once
    expected = torch.nn.functional.interpolate(torch.tensor(coarse).permute(0, 3, 1, 2), (8, 12), mode="bilinear")
    np.testing.assert_allclose(logits, expected.permute(0, 2, 3, 1), rtol=0, atol=ROUND_OFF * np.abs(coarse).max())


@pytest.mark.medium
def test_evaluation(model):
    """Loss and metrics of all pixels with a label, over several batches, against NumPy and scikit-learn."""
    logits = model(IMAGES).numpy()
    logs = model.evaluate(IMAGES, LABELS, batch_size=2, verbose=0, return_dict=True)
    labelled = LABELS >= 0
    labels, classes = LABELS[labelled], logits.argmax(axis=-1)[labelled]
    expected = {
        "loss": numpy_loss(logits, LABELS),
        "accuracy": accuracy_score(labels, classes),
        "mean_iou": jaccard_score(labels, classes, average="macro"),
    }
    assert logs == pytest.approx(expected, rel=1e-5)
    assert 0.1 < expected["mean_iou"] < 0.9 and 0 < labelled.mean() < 1


@pytest.mark.parametrize("form", ["int8", "float32", "int64 column", "bfloat16"])
def test_forms_of_labels(form):
    labels = LABELS[..., None] if "column" in form else tf.cast(LABELS, form)
    classes, fine = pixel_classes(labels, CLASSES, SHAPE[:2])
    np.testing.assert_array_equal(classes, LABELS)
    assert classes.dtype == tf.int32 and fine.numpy().tolist() == [True] * 6


@pytest.mark.parametrize(
    ("dtype", "number"), [("uint8", 255), ("uint32", 2**32 - 1), ("int64", 2**32 - 1), ("float32", 0.5)]
)
def test_numbers_that_a_cast_would_hide(dtype, number):
    labels = np.maximum(LABELS, 0).astype(dtype)
    labels[3, 1, 1] = number
    classes, fine = tf.function(pixel_classes)(tf.constant(labels), CLASSES, SHAPE[:2])
    assert fine.numpy().tolist() == [True, True, True, False, True, True] and classes[3, 1, 1] == -2


@pytest.mark.medium
def test_weights_of_images_and_of_pixels():
    model = compiled(segmenter(), run_eagerly=True)  # one graph for both forms would not know their rank
    each = np.array([numpy_loss(model(IMAGES).numpy()[[n]], LABELS[[n]]) for n in range(6)])
    weights = np.linspace(0, 2, 6)
    given = model.evaluate(IMAGES, LABELS, sample_weight=weights, verbose=0)[0]
    assert given == pytest.approx(np.mean(weights * each), rel=1e-5)
    pixels = np.broadcast_to(weights[:, None, None], LABELS.shape)
    assert model.evaluate(IMAGES, LABELS, sample_weight=pixels, verbose=0)[0] == pytest.approx(given, rel=1e-5)


@pytest.mark.medium
def test_losses_and_metrics_of_keras():
    own = [keras.metrics.MeanIoU(CLASSES, ignore_class=-1, sparse_y_pred=False, name="iou")]
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    model = compiled(segmenter(), loss=loss, metrics=own, run_eagerly=True)
    logs = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    ours = compiled(segmenter(), run_eagerly=True).evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    assert logs["iou"] == pytest.approx(ours["mean_iou"], rel=1e-5)
    assert logs["loss"] == pytest.approx(ours["loss"] / np.mean(LABELS >= 0), rel=1e-5)


LABELS_OF_3 = r"labels of 3 classes are integers from 0 to 2 for each pixel, or -1 .*, shape \(N, 8, 12\)"
WRONG = {
    "too many": (np.where(LABELS == 2, 3, LABELS), "; got -1 to 3: make the segmenter with as many classes"),
    "255": (np.where(LABELS < 0, 255, LABELS).astype("uint8"), r"; got 0 to 255: .* np.where\(labels == 255, -1"),
    "below": (LABELS - 1, "; got -2 to 1: make the segmenter"),
    "half": (LABELS + 0.5, r"; got -?\d?\.5"),
    "nan": (np.full(LABELS.shape, np.nan), "; got nan"),
    "one-hot": (np.eye(CLASSES)[LABELS], r"; got the shape \(6, 8, 12, 3\): take .* np.argmax\(labels, axis=-1\)"),
    "size": (LABELS[:, :, :8], r"; got the shape \(6, 8, 8\)"),
    "images": (LABELS[:, 0, 0], r"; got the shape \(6,\)"),
    "bool": (LABELS > 0, r"; got the type bool: convert them with labels.astype\('int32'\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_labels_are_refused(model, case):
    labels, message = WRONG[case]
    before = weights_of(model)
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(ValueError, match=LABELS_OF_3 + message):
            call(IMAGES, labels)
    with pytest.raises(ValueError, match=LABELS_OF_3 + message):
        model.fit(IMAGES, LABELS, validation_data=(IMAGES, labels), verbose=0)
    for weight, same in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(weight, same)


@pytest.mark.medium
def test_wrong_labels_in_a_data_set(model):
    labels = LABELS.copy()
    labels[4, 2, 2] = 7
    data = tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(2)
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="the labels of 1 images have other numbers: " + LABELS_OF_3):
            call(data, verbose=0)
    with pytest.raises(ValueError, match=LABELS_OF_3 + r"; got the shape \(N, 8, 8\)"):
        model.fit(data.map(lambda images, labels: (images, labels[:, :, :8])), verbose=0)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="no head is called 'upernet'.* there are: linear, mask_transformer"):
        ImageSegmenter(small_encoder(SHAPE), 3, "upernet")
    with pytest.raises(ValueError, match="at least 2 classes, the background is one; got 1"):
        ImageSegmenter(small_encoder(SHAPE), 1)


@pytest.mark.medium
@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_batch_in_parts(compile):
    whole = compiled(segmenter(), run_eagerly=True)
    parts = compiled(segmenter(), jit_compile=compile, accumulation_steps=3)
    logs = [model.fit(IMAGES, LABELS, batch_size=6, epochs=2, verbose=0).history for model in (whole, parts)]
    assert logs[1]["loss"] == pytest.approx(logs[0]["loss"], rel=1e-5)
    assert logs[1]["mean_iou"] == pytest.approx(logs[0]["mean_iou"], abs=2e-2)  # a pixel that round-off decides
    for one, other in zip(weights_of(whole), weights_of(parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=ROUND_OFF)


@pytest.mark.medium
def test_a_probe_trains_its_head_alone():
    model = compiled(segmenter("linear", num_trainable_layers=0))
    encoder = weights_of(model.encoder)
    mean = model.masks.norm.moving_mean.numpy()
    history = model.fit(IMAGES, LABELS, batch_size=6, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert (model.masks.norm.moving_mean.numpy() != mean).all()
    for weight, same in zip(weights_of(model.encoder), encoder, strict=True):
        np.testing.assert_array_equal(weight, same)
    with pytest.raises(ValueError, match="has a BatchNorm, whose statistics would be those of a part"):
        compiled(model, accumulation_steps=2)


@pytest.mark.parametrize("head", ["linear", "mask_transformer"])
def test_parameter_groups(head):
    model = segmenter(head)
    groups = model.layer_groups()
    assert len(groups) == 3  # stem, a block, norm and head
    found = [variable.path for group in groups for variable in group]
    assert sorted(found) == sorted(variable.path for variable in model.trainable_variables)
    last = {variable.path for variable in groups[-1]}
    assert last >= {variable.path for variable in model.masks.trainable_variables}
    undecayed = {variable.path for variable in model.no_weight_decay()}
    decayed = {variable.path for variable in model.masks.trainable_variables} - undecayed
    assert decayed and all(path.endswith("kernel") for path in decayed)


@pytest.mark.medium
def test_half_precision_and_drop_path():
    model = compiled(segmenter(dtype="mixed_bfloat16", drop_path_rate=0.5), run_eagerly=True)
    logits = model(IMAGES)
    assert logits.dtype == tf.float32 and np.abs(logits - segmenter()(IMAGES)).max() < 0.1 * np.abs(logits).max()
    assert np.isfinite(model.fit(IMAGES, LABELS, verbose=0).history["loss"]).all()
    np.testing.assert_array_equal(model.evaluate(IMAGES, LABELS, verbose=0), model.evaluate(IMAGES, LABELS, verbose=0))


def test_counts_are_exact():
    """Beyond 2^24, where float32 stops counting."""
    metrics = [PixelAccuracy(2), MeanIoU(2)]
    for metric in metrics:
        metric.matrix.assign(np.array([[2**24, 0, 0], [1, 0, 0]]))
        metric.update_state(tf.constant([[[0, 1, -1]]]), tf.constant([[[[1.0, 0], [0, 1.0], [0, 1.0]]]]))
    np.testing.assert_array_equal(metrics[0].matrix.numpy(), [[2**24 + 1, 0, 0], [1, 1, 0]])
    iou = [(2**24 + 1) / (2**24 + 2), 1 / 2]
    np.testing.assert_array_equal(metrics[1].per_class(), iou)
    assert float(metrics[1].result()) == np.float32(np.mean(iou))
    metrics[0].reset_state()
    assert np.isnan(float(metrics[0].result()))  # the share of nothing


def test_classes_that_do_not_occur_do_not_count():
    metric = MeanIoU(4)
    logits = np.eye(4, dtype="float32")[[[[0, 1, 1]]]]
    metric.update_state(tf.constant([[[0, 0, 1]]]), tf.constant(logits))
    assert float(metric.result()) == 0.5
    np.testing.assert_array_equal(metric.per_class(), [0.5, 0.5, np.nan, np.nan])


def test_logits_that_are_not_finite_have_no_metrics():
    for metric in (PixelAccuracy(2), MeanIoU(2)):
        metric.update_state(tf.constant([[[0, 1]]]), tf.constant([[[[1.0, 0], [np.nan, 1.0]]]]))
        assert np.isnan(float(metric.result()))


@pytest.mark.medium
def test_files(model, tmp_path):
    model.save(tmp_path / "segmenter.keras")
    loaded = keras.saving.load_model(tmp_path / "segmenter.keras")
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))
    assert loaded.evaluate(IMAGES, LABELS, verbose=0) == pytest.approx(model.evaluate(IMAGES, LABELS, verbose=0))
    with pytest.raises(ValueError, match="no published format has a place for an ImageSegmenter"):
        next(iter(model.slots()))
