"""What images may be: their values, types and shapes, in every form that `fit` takes."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.layers import pixel_levels
from keras_mae.layers.pixel_range import checked_images
from keras_mae.models import ImageClassifier
from tests.base import LossPerStep, random_images, random_noise, small_encoder, small_mae

SHAPE = (8, 12, 3)
IMAGES = random_images(6, SHAPE)
FLOATS = IMAGES.astype("float32")
UNIT = FLOATS / 255
LABELS = np.arange(6)


def with_nan(images, value=np.nan):
    images = images.copy()
    images[1, 2, 1, 0] = value
    return images


class Batches(keras.utils.PyDataset):
    """Batches of two."""

    def __init__(self, images, labels=None):
        super().__init__()
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images) // 2

    def __getitem__(self, index):
        chosen = slice(2 * index, 2 * index + 2)
        return self.images[chosen], (LABELS if self.labels is None else self.labels)[chosen]


def unknown_rank(batches):
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_types=tf.as_dtype(batches[0].dtype))


FORMS = {
    "array": lambda images: images,
    "tensor": tf.constant,
    "dict": lambda images: {"images": images, "noise": random_noise(len(images), 6)},
    "data set": lambda images: tf.data.Dataset.from_tensor_slices(images).batch(4),
    "data set with labels": lambda images: tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(4),
    "data set of dicts": lambda images: tf.data.Dataset.from_tensor_slices({"images": images}).batch(4),
    "data set of unknown rank": lambda images: unknown_rank([images[:4], images[4:]]),
    "generator": lambda images: (batch for batch in (images[:4], images[4:])),
    "generator of dicts": lambda images: ({"images": batch} for batch in (images[:4], images[4:])),
    "PyDataset": Batches,
}
VALUES = {
    "0 to 1": (UNIT, r"expected in \[0, 255\], and these look like \[0, 1\]: multiply them by 255"),
    "0 to 1, float64": (UNIT.astype("float64"), "multiply them by 255"),
    "0 to 1, bfloat16": (tf.cast(UNIT, tf.bfloat16).numpy(), "multiply them by 255"),
    "integers 0 and 1": ((IMAGES > 127).astype("int32"), "multiply them by 255"),
    "normalised": ((UNIT - 0.45) / 0.22, r"go from -2.05 to 2.5, as if they were normalised"),
    "-1 to 1": (2 * UNIT - 1, "go from -1 to 1, as if they were normalised"),
    "negative": (FLOATS - 50, "go from -50 to 205: scale them, or clip"),
    "12 bits": (FLOATS * 16, "go from 0 to 4080: scale them, or clip"),
    "NaN": (with_nan(FLOATS), "hold NaN or infinite values, 1 of the"),
    "infinite": (with_nan(FLOATS, np.inf), "hold NaN or infinite values, 1 of the"),
    "all NaN": (FLOATS * np.nan, "hold NaN or infinite values"),
    "8 bits in 16": (IMAGES.astype("uint16"), "uint16 images count to 65535, and these to 255, which is nearly black"),
}
REFUSED = {
    "bool": (IMAGES > 127, "got bool: multiply them by 255"),
    "integers above 255": (IMAGES.astype("int64") * 257, "hold levels from 0 to 255, and these go from 0 to 65535"),
    "integers below 0": (IMAGES.astype("int16") - 1, "these go from -1 to 254: pass uint8"),
    "complex": (IMAGES.astype("complex64"), "got complex64: convert them to uint8"),
    "text": (np.full((6, *SHAPE), "7"), "got string: decode them first"),
    "channels first": (np.moveaxis(IMAGES, -1, 1), r"channels come last: pass np.moveaxis\(images, 1, -1\)"),
    "another size": (IMAGES[:, :4], r"shape \(batch, 8, 12, 3\), got .*, 4, 12, 3\); resize or convert"),
    "no channels": (IMAGES[..., 0], r"expected images of shape \(batch, 8, 12, 3\), got .* 8, 12\); "),
    "labels first": (LABELS, "these look like labels: images come first, then labels"),
}
FINE = {
    "uint8": IMAGES,
    "dark uint8": (IMAGES > 127).astype("uint8"),
    "uint16": IMAGES.astype("uint16") * 257,
    "12 bits in 16": IMAGES.astype("uint16") * 16,
    "int64 levels": IMAGES.astype("int64"),
    "uint32 levels": IMAGES.astype("uint32"),
    "floats": FLOATS,
    "float16": FLOATS.astype("float16"),
    "rounded": FLOATS - 0.25,
    "black": np.zeros((6, *SHAPE), "float32"),
}


@pytest.mark.parametrize("values", VALUES)
def test_warns_of_values_that_are_no_levels(values):
    images, message = VALUES[values]
    for _ in range(2):  # every time
        with pytest.warns(UserWarning, match=message):
            checked_images(images, SHAPE)


@pytest.mark.parametrize("kind", REFUSED)
def test_refuses_what_no_image_is(kind):
    images, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        checked_images(images, SHAPE)


def test_a_data_set_of_single_images_is_to_be_batched():
    with pytest.raises(
        ValueError, match=r"^the data set yields one image at a time: batch it, such as dataset.batch\("
    ):
        checked_images(tf.data.Dataset.from_tensor_slices(IMAGES), SHAPE)


@pytest.mark.parametrize("kind", FINE)
def test_takes_levels_without_a_word(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked_images(FINE[kind], SHAPE)


@pytest.mark.parametrize("form", FORMS)
def test_looks_at_every_form_of_data(form):
    make = FORMS[form]
    for values in ("0 to 1, bfloat16", "NaN", "8 bits in 16"):
        images, message = VALUES[values]
        with pytest.warns(UserWarning, match=message):
            checked_images(make(images), SHAPE)
    for kind in ("bool", "integers above 255", "channels first", "labels first"):
        images, message = REFUSED[kind]
        with pytest.raises(ValueError, match=message):
            checked_images(make(images), SHAPE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in ("uint8", "uint16", "floats"):
            checked_images(make(FINE[kind]), SHAPE)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (list(IMAGES), r"one array of shape \(batch, 8, 12, 3\), got list of 6: .* np.stack\(images\)"),
        ((IMAGES, LABELS), r"got tuple of 2: .* labels are a separate argument, fit\(images, labels\)"),
        (IMAGES[0], r"this is one image: pass images\[None\]"),
        (np.array([*IMAGES, IMAGES[0, :4]], object), r"got object: make one array of them, np.stack\(images\)"),
        ({"noise": UNIT}, "a dict of inputs holds \"images\"; got the keys 'noise'"),
        ((batch for batch in ()), "yields nothing: it is empty, or was used up before"),
        ((batch for batch in ([1, 2],)), r"one array of shape \(batch, 8, 12, 3\), got int"),
        (tf.data.Dataset.from_tensors(tf.ragged.constant([[1], [2, 3]])), "yields tensors .*; got RaggedTensorSpec"),
    ],
)
def test_other_structures(given, message):
    with pytest.raises(ValueError, match=message):
        checked_images(given, SHAPE)


def test_one_channel_without_an_axis():
    with pytest.raises(ValueError, match=r"the axis of channels is missing: pass images\[..., None\]"):
        checked_images(IMAGES[..., 0], (8, 12, 1))


def test_what_passes_unseen():
    vectors = np.random.default_rng(0).normal(size=(6, 16)) - 3
    for given in (None, np.zeros((0, *SHAPE), "float32"), tf.data.Dataset.from_tensor_slices(UNIT).batch(2).take(0)):
        assert checked_images(given, SHAPE) is given
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checked_images(vectors, SHAPE, (16,)) is vectors  # a probe's features
    with pytest.raises(ValueError, match=r"expected images of shape \(batch, 8, 12, 3\)"):
        checked_images(vectors[:, :5], SHAPE, (16,))


def test_a_generator_is_left_whole():
    batches = [IMAGES[:2], IMAGES[2:4], IMAGES[4:]]
    given = list(checked_images((batch for batch in batches), SHAPE))
    np.testing.assert_array_equal(np.concatenate([images for (images,) in given]), IMAGES)  # tuples, as Keras wants
    pairs = [(images, LABELS[:2]) for images in batches]
    assert list(checked_images((pair for pair in pairs), SHAPE)) == pairs


class Counted:
    """A stored array that counts the images that are read."""

    shape, dtype = (100_000, 64, 64, 3), np.dtype("float32")

    def __init__(self):
        self.read = 0

    def __getitem__(self, indices):
        self.read += len(indices)
        return np.full((len(indices), *self.shape[1:]), 0.5, "float32")


def test_a_large_array_is_not_read_through():
    stored = Counted()
    with pytest.warns(UserWarning, match="multiply them by 255"):
        checked_images(stored, (64, 64, 3))
    assert 1 <= stored.read <= 32


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64"])
def test_levels_are_taken_as_they_are(dtype):
    np.testing.assert_array_equal(pixel_levels(IMAGES.astype(dtype)), FLOATS)


def test_uint16_counts_to_65535():
    deep = np.random.default_rng(1).integers(0, 65536, (6, *SHAPE)).astype("uint16")
    as_floats = deep.astype("float32") / np.float32(257)
    np.testing.assert_array_equal(pixel_levels(deep), as_floats)
    mae, noise = small_mae(normalize=True), random_noise(6, 6)
    for call in (
        lambda images: mae.encoder(images)["patch_tokens"],
        lambda images: mae({"images": images, "noise": noise})["prediction"],
        lambda images: mae.target(images),
        lambda images: mae.reconstruct(images, noise=noise)["reconstruction"],
        lambda images: mae.reconstruct(images, noise=noise)["masked_images"],
    ):
        np.testing.assert_allclose(call(deep), call(as_floats), atol=1e-4)


def losses(model, data, **arguments):
    model.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    recorder = LossPerStep()
    model.fit(data, shuffle=False, verbose=0, callbacks=[recorder], **arguments)
    return recorder.losses


@pytest.mark.medium
def test_every_batch_of_a_generator_is_trained_on():
    batches = [IMAGES[:2], IMAGES[2:4], IMAGES[4:]]
    expected = losses(small_mae(), IMAGES, batch_size=2)
    got = losses(
        small_mae(), (batch for batch in batches), validation_data=((b,) for b in [IMAGES]), validation_steps=1
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.medium
@pytest.mark.parametrize(
    "form", ["rank, labels", *(pytest.param(form, marks=pytest.mark.slow) for form in ("size", "rank, dict"))]
)
def test_data_of_unknown_shape_trains_if_it_fits(form):
    """In a graph, where nothing but the model says what the shape is."""
    batches, noise = [IMAGES[:2], IMAGES[2:4], IMAGES[4:]], random_noise(6, 6)
    given = {
        "size": (batches, {"output_signature": tf.TensorSpec((None, None, None, None), tf.uint8)}),
        "rank, labels": ([(images, LABELS[:2]) for images in batches], {"output_types": (tf.uint8, tf.int64)}),
        "rank, dict": (
            [{"images": IMAGES[n : n + 2], "noise": noise[n : n + 2]} for n in (0, 2, 4)],
            {"output_types": {"images": tf.uint8, "noise": tf.float32}},
        ),
    }
    elements, types = given[form]
    mae, recorder = small_mae(), LossPerStep()
    mae.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    mae.fit(
        tf.data.Dataset.from_generator(lambda: iter(elements), **types), verbose=0, shuffle=False, callbacks=[recorder]
    )
    known = {"images": IMAGES, "noise": noise} if form == "rank, dict" else IMAGES
    np.testing.assert_allclose(recorder.losses, losses(small_mae(), known, batch_size=2), rtol=1e-5)  # other kernels


@pytest.mark.medium
def test_data_of_unknown_shape_that_does_not_fit_is_refused_in_one_sentence():
    for model in (small_mae(), ImageClassifier(small_encoder(), 6)):
        model.compile(jit_compile=False)
        for call in (model.fit, model.evaluate, model.predict):
            for wrong in (np.moveaxis(IMAGES, -1, 1), IMAGES[..., 0], IMAGES[:, :4]):
                with pytest.raises(ValueError, match=r"expected images of shape \(batch, 8, 12, 3\), got"):
                    call(unknown_rank([wrong]))


@pytest.mark.parametrize("values", ["0 to 1", "normalised", "negative", "12 bits", "NaN"])
def test_a_call_warns_once_a_process(values):
    encoder, (images, message) = small_encoder(), VALUES[values]
    with pytest.warns(UserWarning, match=message) as caught:
        encoder(images)
        encoder(images)
    assert len(caught) == 1


@pytest.mark.medium
@pytest.mark.parametrize("make", [small_encoder, small_mae, lambda: ImageClassifier(small_encoder(), 6)])
def test_models_look_at_their_images(make):
    model = make()
    model.compile(run_eagerly=True)
    with pytest.warns(UserWarning, match="multiply them by 255"):
        model.predict(UNIT, verbose=0)
    with pytest.raises(ValueError, match="got bool: multiply them by 255"):
        model(IMAGES > 127)
    if hasattr(model, "encoder"):
        for call in (model.fit, model.evaluate):
            with pytest.warns(UserWarning, match="as if they were normalised"):
                call(VALUES["normalised"][0], LABELS, verbose=0)
        with pytest.warns(UserWarning, match="multiply them by 255"):
            model.fit(IMAGES, LABELS, validation_data=(UNIT, LABELS), verbose=0)
        with pytest.raises(ValueError, match="images come first, then labels|labels are integers"):
            model.fit(LABELS, IMAGES, verbose=0)


def test_a_graph_is_not_looked_at():
    """If the shape is known, the check leaves nothing in a graph; else the one operation that makes it known."""
    encoder = small_encoder()

    def operations(spec):
        return [op.type for op in tf.function(encoder).get_concrete_function(spec).graph.get_operations()]

    known, unknown = (operations(tf.TensorSpec(shape, tf.float32)) for shape in ((None, *SHAPE), None))
    assert not {"EnsureShape", "IsFinite", "Min"} & {*known}
    assert sorted(unknown) == sorted([*known, "EnsureShape"])
