"""An encoder as a backbone of KerasHub's detectors: its levels, and detectors that train, are saved and come back."""

import importlib
import importlib.util
import math
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae import models
from keras_mae.optimizers import AdamW
from tests.base import fill_randomly, random_images, run_forked, small_encoder, weights_of
from tests.toys import ConvEncoder

pytestmark = [
    pytest.mark.medium,
    pytest.mark.skipif(importlib.util.find_spec("keras_hub") is None, reason="keras-hub is not installed"),
]
SHAPE = (24, 40, 3)
IMAGES = random_images(2, SHAPE)
TARGETS = {
    "boxes": np.array([[[4, 2, 20, 18], [22, 6, 38, 22]], [[10, 4, 26, 20], [-1] * 4]], "float32"),
    "labels": np.array([[0, 1], [1, -1]], "float32"),
}


def encoder_of(**arguments):
    return small_encoder(**{"image_shape": SHAPE, "patch_size": 8, "num_layers": 2, **arguments})


def backbone_of(encoder, **arguments):
    return models.PyramidBackbone(encoder, **{"dim": 8, **arguments})


def detector_of(backbone):
    """KerasHub's detector on a backbone, or on KerasHub's own pyramid on top of it, with small anchors."""
    hub, levels = importlib.import_module("keras_hub"), {"min_level": backbone.min_level}
    levels["max_level"] = backbone.max_level
    anchors = hub.layers.AnchorGenerator("xyxy", num_scales=1, aspect_ratios=[1.0], anchor_size=2.0, **levels)
    return hub.models.RetinaNetObjectDetector(
        backbone, 2, "xyxy", anchor_generator=anchors, pre_logits_num_conv_layers=1
    )


def in_retinanet(backbone, **arguments):
    return importlib.import_module("keras_hub").models.RetinaNetBackbone(
        backbone,
        **{"min_level": backbone.min_level, "max_level": backbone.max_level, "use_p5": False, **arguments},
        image_shape=backbone.image_shape,
    )


def assert_same(got, expected, tolerance=0.0):
    assert list(got) == list(expected)
    for name, one in got.items():
        np.testing.assert_allclose(tf.cast(one, tf.float32), tf.cast(expected[name], tf.float32), atol=tolerance)


@pytest.mark.parametrize(
    ("patch_size", "levels", "names"),
    [
        (8, {}, "1234"),
        pytest.param(8, {"max_level": 5, "min_level": 3}, "345", marks=pytest.mark.slow),
        (2, {"min_level": 1}, "12"),
    ],
)
def test_levels_have_the_strides_of_their_names(patch_size, levels, names):
    backbone = backbone_of(encoder_of(image_shape=(24, 40, 3), patch_size=patch_size), **levels)
    assert list(backbone.pyramid_outputs) == [f"P{level}" for level in names]
    for level, one in zip(map(int, names), backbone(IMAGES).values(), strict=True):
        size = (2, math.ceil(24 / 2**level), math.ceil(40 / 2**level), 8)
        assert one.shape == size and backbone.pyramid_outputs[f"P{level}"].shape == (None, *size[1:])
    hub = importlib.import_module("keras_hub")
    assert isinstance(backbone, hub.models.FeaturePyramidBackbone)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda: encoder_of(num_cls_tokens=2, num_registers=1, image_shape=(24, 40, 1)), marks=pytest.mark.slow
        ),
        pytest.param(lambda: fill_randomly(ConvEncoder(SHAPE, 8)), marks=pytest.mark.slow),
        lambda: encoder_of(dtype="mixed_bfloat16"),
    ],
    ids=["registers", "convolutions", "bfloat16"],
)
def test_maps_are_those_of_the_encoders_patches(make):
    """Of bytes, and of levels between them, which bfloat16 would round."""
    encoder = make()
    backbone = fill_randomly(backbone_of(encoder), seed=5)
    images = random_images(2, encoder.image_shape)
    for levels in (images, images * np.float32(0.999)):
        tokens = encoder.encode(levels).patches
        maps = backbone.feature_pyramid(tf.reshape(tokens, (2, *encoder.grid, encoder.hidden_dim)))
        assert_same(backbone(levels), dict(zip(backbone.pyramid_outputs, maps, strict=True)))
    assert maps[0].dtype == encoder.compute_dtype


def test_config_round_trip():
    backbone = fill_randomly(backbone_of(encoder_of(drop_path_rate=0.1), min_level=3, max_level=5, name="maps"))
    again = models.PyramidBackbone.from_config(backbone.get_config())
    assert again.get_config() == backbone.get_config() and again.encoder is not backbone.encoder
    again.set_weights(backbone.get_weights())
    assert_same(again(IMAGES), backbone(IMAGES))


@pytest.mark.parametrize(
    ("encoder", "levels", "message"),
    [
        ({"patch_size": (8, 4)}, {}, "patches of 8 x 4 pixels none of these; layers.FeaturePyramid makes maps of any"),
        ({"image_shape": (12, 24, 3), "patch_size": 12}, {}, "patches of 12 x 12 pixels none"),
        ({}, {"min_level": 0}, "patches of 8 pixels give a pyramid of the levels 1 to 5; got 0 to 4"),
        ({}, {"max_level": 6}, "levels 1 to 5; got 1 to 6"),
        ({}, {"min_level": 4, "max_level": 3}, "levels 1 to 5; got 4 to 3"),
        ({}, {"min_level": 5, "max_level": 5}, "the coarsest level, 5, is made of the one before: set min_level=4"),
    ],
)
def test_patches_and_levels_that_do_not_fit(encoder, levels, message):
    with pytest.raises(ValueError, match=message):
        backbone_of(encoder_of(**encoder), **levels)


def test_without_keras_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    monkeypatch.delitem(sys.modules, "keras_mae.models.pyramid_backbone", raising=False)
    with pytest.raises(ImportError, match=r"a PyramidBackbone is a model of KerasHub: pip install 'keras-mae\[keras-h"):
        from keras_mae.models import PyramidBackbone  # noqa: F401
    with pytest.raises(AttributeError, match="has no attribute 'Pyramid'"):
        _ = models.Pyramid


def trained(detector, encoder, images, eagerly):
    """The loss of each step on the same images; every weight of the encoder has moved."""
    before = weights_of(encoder)
    detector.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=False, run_eagerly=eagerly)
    losses = detector.fit(images, TARGETS, batch_size=2, epochs=3, shuffle=False, verbose=0).history["loss"]
    trainable = {id(variable) for variable in encoder.trainable_variables}
    for variable, old, new in zip(encoder.weights, before, weights_of(encoder), strict=True):
        assert (old != new).any() == (id(variable) in trainable), variable.path
    return losses


@pytest.mark.filterwarnings("ignore:.*compile|Skipping variable loading:UserWarning")  # KerasHub's, when loading
@pytest.mark.parametrize("form", ["alone", pytest.param("in KerasHub's pyramid", marks=pytest.mark.slow)])
def test_a_retinanet_trains_the_encoder(form, tmp_path):
    shape = SHAPE if form == "alone" else (32, 48, 3)  # KerasHub's adds maps of twice the size, to the pixel
    encoder, images = encoder_of(drop_path_rate=0.1, image_shape=shape), random_images(2, shape)
    backbone = fill_randomly(backbone_of(encoder, min_level=3), seed=2)
    detector = detector_of(backbone if form == "alone" else in_retinanet(backbone))
    losses = trained(detector, encoder, images, eagerly=form == "alone")  # KerasHub's graphs take seconds to trace
    assert losses[-1] < 0.8 * losses[0], losses
    count = {"alone": 3 * 5 + 2 * 3}.get(form, 4 * 6 + 2 * 3)  # of anchors, one for each place of both levels
    outputs = detector(images)
    assert {name: one.shape for name, one in outputs.items()} == {
        "bbox_regression": (2, count, 4),
        "cls_logits": (2, count, 2),
    }
    if form == "alone":
        return  # the rest is slow, too
    assert detector.predict(images, verbose=0)["boxes"].shape == (2, 100, 4)
    detector.save(tmp_path / "detector.keras")
    assert_same(keras.saving.load_model(tmp_path / "detector.keras")(images), outputs)


@pytest.mark.slow
def test_further_levels_of_keras_hubs_own(tmp_path):
    """P3 to P5 of patches of 8 pixels, and P6 and P7 of RetinaNet; a file and a preset, read in a fresh process."""
    encoder = encoder_of(image_shape=(64, 64, 3))
    detector = detector_of(in_retinanet(backbone_of(encoder, min_level=3, max_level=5), max_level=7))
    images = random_images(2, (64, 64, 3))
    assert detector(images)["cls_logits"].shape == (2, 64 + 16 + 4 + 1 + 1, 2)
    np.savez(tmp_path / "case.npz", images=images, **detector(images))
    detector.save(tmp_path / "detector.keras")
    detector.save_to_preset(str(tmp_path / "preset"))
    script = (
        "import keras, numpy as np; from keras_mae.models import PyramidBackbone; import keras_hub\n"
        f"case = np.load({str(tmp_path / 'case.npz')!r})\n"
        f"for model in (keras.saving.load_model({str(tmp_path / 'detector.keras')!r}),\n"
        f"              keras_hub.models.ObjectDetector.from_preset({str(tmp_path / 'preset')!r})):\n"
        "    for name, one in model(case['images']).items():\n"
        "        np.testing.assert_allclose(one, case[name], atol=1e-5)\n"
    )
    process = run_forked("-c", script)
    assert process.returncode == 0, process.stderr[-3000:]


def test_layer_wise_decay():
    """The first step of Adam moves every weight by its rate, whatever the gradient."""
    encoder = encoder_of()
    backbone = backbone_of(encoder, min_level=3)
    groups = encoder.layer_groups()
    inside = {id(variable) for group in groups for variable in group}
    groups[-1] += [variable for variable in backbone.trainable_variables if id(variable) not in inside]
    scales = {v.path: 0.5 ** (len(groups) - 1 - i) for i, group in enumerate(groups) for v in group}
    optimizer = AdamW(1e-2, weight_decay=0.0, learning_rate_scales=scales)
    variables, before = backbone.trainable_variables, [v.numpy().copy() for v in backbone.trainable_variables]
    optimizer.apply([tf.random.stateless_normal(v.shape, (1, 2)) for v in variables], variables)
    for variable, old in zip(variables, before, strict=True):
        rate = 1e-2 * scales[variable.path]
        np.testing.assert_allclose(np.abs(variable.numpy() - old).max(), rate, rtol=1e-3, err_msg=variable.path)
    assert sorted(set(scales.values())) == [0.125, 0.25, 0.5, 1.0]


def test_a_frozen_encoder_stays_as_it_is():
    encoder = encoder_of(trainable=False)
    backbone = backbone_of(encoder, min_level=3)
    inside = {id(variable) for variable in encoder.weights}
    assert backbone.trainable_variables and not [v for v in backbone.trainable_variables if id(v) in inside]
