"""Configs, weights files and .keras files of everything that is registered with Keras."""

import copy
import importlib.util
import inspect
import json
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae import decoders, encoders, layers, losses, masking, models, targets
from tests.base import (
    fill_randomly,
    geometry,
    random_images,
    random_noise,
    small_encoder,
    small_mae,
    small_simmim,
    weights_of,
)

IMAGES = random_images(3, (8, 12, 3))

# how to make one of each registered class, with no argument left at its default
EXAMPLES = {
    "AttentivePooling": lambda: layers.AttentivePooling(4, name="pool", dtype="mixed_bfloat16"),
    "CrossAttention": lambda: layers.CrossAttention(12, 3, name="look", dtype="mixed_bfloat16"),
    "CrossAttentionBlock": lambda: layers.CrossAttentionBlock(12, 3, 20, 1e-5, name="block", dtype="mixed_bfloat16"),
    "DropPath": lambda: layers.DropPath(0.3, name="drop"),
    "FeaturePyramid": lambda: layers.FeaturePyramid(8, (2.0, 0.5), True, 1e-5, name="maps", dtype="mixed_bfloat16"),
    "LayerNorm": lambda: layers.LayerNorm(epsilon=1e-5, name="norm"),
    "LinearMasks": lambda: layers.LinearMasks(3, True, name="line"),
    "MaskTransformer": lambda: layers.MaskTransformer(3, 1, 1, 4, name="masks", dtype="mixed_bfloat16"),
    "LayerScale": lambda: layers.LayerScale(0.2, name="gain"),
    "RelativePositionBias": lambda: layers.RelativePositionBias((2, 3), 4, 1, name="offsets"),
    "Patchify": lambda: layers.Patchify((4, 2), name="cut"),
    "PixelNormalization": lambda: layers.PixelNormalization((0.1, 0.2), (0.3, 0.4), name="pixels"),
    "PositionEmbedding": lambda: layers.PositionEmbedding((2, 3), 1, "learned", 10.0, name="where"),
    "SelfAttention": lambda: layers.SelfAttention(12, 3, False, False, True, 1e-5, name="look", dtype="mixed_bfloat16"),
    "TransformerBlock": lambda: layers.TransformerBlock(
        12, 3, 20, 0.1, 1e-5, 0.1, False, False, True, True, name="block", dtype="mixed_float16"
    ),
    "UnitMasking": lambda: masking.UnitMasking(16, 0.5),
    "BlockMasking": lambda: masking.BlockMasking(0.6),
    "GridMasking": lambda: masking.GridMasking(0.75),
    "RandomMasking": lambda: masking.RandomMasking(0.6),
    "PCATarget": lambda: targets.PCATarget(7, name="components"),
    "TokenTarget": lambda: targets.TokenTarget(keras.layers.Flatten(name="flat"), 12, name="tokens"),
    "PixelTarget": lambda: targets.PixelTarget(normalize=True),
    "MAEDecoder": lambda: models.MAEDecoder(
        12, 1, 3, 20, "learned", position_temperature=10.0, layer_norm_epsilon=1e-5, name="narrow"
    ),
    "CrossDecoder": lambda: models.CrossDecoder(12, 1, 3, 20, (1, 2), "learned", 10.0, 1e-5, name="across"),
    "LinearDecoder": lambda: models.LinearDecoder(name="line"),
    "MaskedMeanSquaredError": losses.MaskedMeanSquaredError,
    "MaskedL1": losses.MaskedL1,
    "MaskedCrossEntropy": losses.MaskedCrossEntropy,
    "SimMIM": lambda: models.SimMIM(
        every_argument(), masking.UnitMasking(4, 0.5), targets.PixelTarget(True), losses.MaskedL1(), 7, "sim"
    ),
    "ViTEncoder": lambda: every_argument(),
    "MaskedAutoencoder": lambda: models.MaskedAutoencoder(
        every_argument(),
        models.MAEDecoder(12, 1, 3),
        masking.RandomMasking(0.5),
        targets.PixelTarget(True),
        losses.MaskedL1(),
        7,
        True,
        "mae",
        0.5,
    ),
    "ImageClassifier": lambda: models.ImageClassifier(
        every_argument(), 4, "attentive", 0, 0.1, 7, "classifier", 1, 4, True
    ),
    "ImageRegressor": lambda: models.ImageRegressor(
        every_argument(), 2, "attentive", (1.0, 2.0), (3.0, 4.0), 0, 7, "regressor", 1, 4
    ),
    "ImageSegmenter": lambda: models.ImageSegmenter(every_argument(), 4, "mask_transformer", 0, 7, "segmenter"),
}
ALONE = ["visible_weight"]  # goes without predict_ratio; tests/models/test_partial_prediction.py saves it
BUILD_SHAPES = {
    "AttentivePooling": (None, 5, 12),
    "CrossAttention": [(None, 5, 12), (None, 3, 8)],
    "CrossAttentionBlock": [(None, 5, 12), (None, 3, 8)],
    "FeaturePyramid": (None, 2, 3, 12),
    "LayerNorm": (None, 5, 12),
    "LayerScale": (None, 5, 12),
    "LinearMasks": (None, 2, 3, 12),
    "MaskTransformer": (None, 2, 3, 12),
    "PositionEmbedding": (None, 6, 8),
    "RelativePositionBias": None,
    "SelfAttention": (None, 5, 12),
    "TransformerBlock": (None, 5, 12),
}


def every_argument():
    return models.ViTEncoder(
        (8, 12, 2),
        (4, 2),
        hidden_dim=16,
        num_layers=1,
        num_heads=4,
        mlp_dim=24,
        drop_path_rate=0.1,
        num_cls_tokens=0,
        position_embedding="learned",
        position_temperature=10.0,
        relative_position_bias="per_block",
        layer_scale=0.1,
        layer_norm_epsilon=1e-5,
        mean=(0.1, 0.2),
        std=(0.3, 0.4),
        num_registers=2,
        num_prefix_positions=2,
        rotary_temperature=100.0,
        qkv_bias=False,
        key_bias=False,
        qk_norm=True,
        gated_mlp=True,
        pre_norm=True,
        name="encoder",
        dtype="mixed_bfloat16",
    )


def registered_classes():
    """What importing keras_mae.models has registered; others, and `PyramidBackbone`, have their own tests."""
    packages = ("layers", "masking", "targets", "losses", "training", "encoders", "decoders", "models")
    own = tuple(f"keras_mae.{package}" for package in packages)
    classes = keras.saving.get_custom_objects().items()
    return {
        name.removeprefix("keras_mae>"): cls
        for name, cls in classes
        if cls.__module__.startswith(own) and name != "keras_mae>PyramidBackbone"
    }


def test_there_is_an_example_of_every_registered_class():
    assert sorted(EXAMPLES) == sorted(registered_classes())


def test_every_public_class_that_keras_saves_is_registered():
    for package in (layers, masking, targets, models, encoders, decoders):
        for name in package.__all__:
            cls = getattr(package, name)
            abstract = (targets.Target, encoders.Encoder, decoders.Decoder, models.ImageHead)
            concrete = inspect.isclass(cls) and not inspect.isabstract(cls) and cls not in abstract
            if concrete and issubclass(cls, (keras.layers.Layer, masking.MaskSampler)):
                assert registered_classes().get(name) is cls, f"{name} cannot be loaded from a file"


@pytest.mark.parametrize("name", EXAMPLES)
def test_config_round_trip(name):
    original = EXAMPLES[name]()
    config = original.get_config()
    # the constructor's arguments and nothing derived; a layer's base takes three more
    parameters = {
        name for name in inspect.signature(type(original).__init__).parameters if name not in ("self", "args", "kwargs")
    }
    assert parameters <= set(config) <= parameters | {"name", "trainable", "dtype"}
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(type(original).__init__).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    untested = [key for key, value in defaults.items() if config[key] == value and key not in ALONE]
    assert not untested or name == "GridMasking", "the example leaves defaults untested"  # which has one ratio only

    assert type(original).from_config(config).get_config() == config
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(original)))  # as a file would hold it
    copy = keras.saving.deserialize_keras_object(serialized)
    assert type(copy) is type(original) and copy.get_config() == config

    if name in BUILD_SHAPES:
        shapes = BUILD_SHAPES[name]
        original.build(*(shapes if isinstance(shapes, list) else [shapes]))
    if name in ("MAEDecoder", "LinearDecoder", "CrossDecoder"):
        original.attach(geometry(target_dim=48))
    assert original.get_config() == config  # unchanged by build


def encoder():
    return small_encoder()


def learned_encoder():
    return small_encoder(position_embedding="learned", num_cls_tokens=0, dtype="mixed_bfloat16")


def mae():
    return small_mae(normalize=True)


def learned_mae():
    return small_mae(encoder=small_encoder(position_embedding="learned"), decoder={"position_embedding": "learned"})


def classifier():
    return fill_randomly(models.ImageClassifier(small_encoder(), 4, "cls"))


def probe():
    return fill_randomly(models.ImageClassifier(learned_encoder(), 4, num_trainable_layers=0))


def simmim():
    return small_simmim(relative_position_bias="per_block")


MODELS = [encoder, learned_encoder, mae, learned_mae, simmim, classifier, probe]


def outputs(model):
    inputs = {"images": IMAGES, "noise": random_noise(3, 6)} if hasattr(model, "masking") else IMAGES
    return keras.tree.flatten(model(inputs))


def assert_same(model, other):
    assert [weight.path for weight in model.weights] == [weight.path for weight in other.weights]
    assert [w.path for w in model.trainable_weights] == [w.path for w in other.trainable_weights]
    for ours, theirs in zip(weights_of(model), weights_of(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(outputs(model), outputs(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("make", MODELS)
def test_keras_file_round_trip(make, tmp_path):
    model = make()
    model.save(tmp_path / "model.keras")
    assert_same(model, keras.saving.load_model(tmp_path / "model.keras"))


@pytest.mark.parametrize("make", MODELS)
def test_weights_file_round_trip(make, tmp_path):
    model, other = make(), fill_randomly(make(), seed=99)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(model, other)


@pytest.mark.parametrize("make", MODELS)
def test_tensorflow_checkpoint_round_trip(make, tmp_path):
    model, other = make(), fill_randomly(make(), seed=99)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "state"))
    tf.train.Checkpoint(model=other).restore(path).assert_consumed()
    assert_same(model, other)


@pytest.mark.parametrize("make", [learned_encoder, mae, probe])
@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_copies_and_pickles(make, way):
    model = make()
    other = way(model)
    assert_same(model, other)
    before = weights_of(other)
    fill_randomly(model, seed=99)
    for now, then in zip(weights_of(other), before, strict=True):
        np.testing.assert_array_equal(now, then)  # a copy of its own


def test_the_encoder_of_a_saved_mae_is_the_encoder(tmp_path):
    model = mae()
    model.encoder.save(tmp_path / "encoder.keras")
    assert_same(model.encoder, keras.saving.load_model(tmp_path / "encoder.keras"))


def test_a_frozen_encoder_comes_back_frozen(tmp_path):
    model = encoder()
    model.trainable = False
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(model, loaded)
    assert not loaded.trainable_weights


@pytest.mark.medium
def test_a_trained_model_comes_back_with_its_optimizer(tmp_path):
    model = mae()
    model.compile(optimizer=keras.optimizers.AdamW(1e-2), run_eagerly=True)
    model.fit(IMAGES, verbose=0, shuffle=False)  # masks belong to an example's place in the batch
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.compile(optimizer=loaded.optimizer, run_eagerly=True)
    for one in (model, loaded):
        one.fit(IMAGES, verbose=0, shuffle=False)
    assert_same(model, loaded)  # the second step has taken the same moments


def test_names_resolve_to_modules_that_exist():
    import keras_mae

    for name, module in keras_mae._HOME.items():
        assert importlib.util.find_spec(module) is not None
        assert getattr(keras_mae, name) is getattr(importlib.import_module(module), name)
    assert {"ViTEncoder", "__version__", "masking"} <= set(dir(keras_mae))
    with pytest.raises(AttributeError, match="module 'keras_mae' has no attribute 'nothing'"):
        keras_mae.nothing  # noqa: B018
