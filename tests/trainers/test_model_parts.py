"""Samplers and targets by name, from `--set` to a run."""

import json
import os

import keras
import numpy as np
import pytest

from keras_mae.targets import PCATarget, PixelTarget
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.model_parts import MASKING
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.settings import changed
from tests.base import random_images
from tests.drawn import TINY


def config(*settings):
    return changed(PretrainConfig(), [*TINY, "image_size=(16, 24)", *settings])


@pytest.mark.parametrize("name", MASKING)
def test_every_sampler_by_name(name):
    units = ["unit=8"] if name == "units" else []
    model = build(config(f"masking={name}", *units))  # 4 x 6 patches of 4 x 4 pixels
    assert f"masking.{type(model.masking).__name__}" == MASKING[name].builds and model.masking.mask_ratio == 0.75
    # 6 units of 4 patches, of which ceil(4.5) are masked
    assert model.num_visible() == (4 if name == "units" else 6)


def test_every_target_by_name():
    assert config("normalize_target=False").target.build().get_config()["normalize"] is False
    pixels = config().target.build()
    assert isinstance(pixels, PixelTarget) and pixels.normalize
    assert config("target=pca", "pca_components=5").target.build().num_components == 5


def test_the_encoders_variants():
    model = build(config("num_cls_tokens=0", "position_embedding=learned", "mask_tokens_in_encoder=True"))
    assert model.encoder.num_prefix_tokens == 0 and model.mask_tokens_in_encoder
    for part in (model.encoder, model.decoder):
        assert part.positions.table.trainable


def test_a_preset_of_another_kind_than_the_settings_is_said(caplog):
    """A setting's default replaces what the preset has, which would pass without a word."""
    caplog.set_level("INFO", "keras_mae")
    sizes = ("image_size=(16,16)", "patch_size=(4,4)", "encoder.hidden_dim=16", "encoder.num_layers=1",
             "encoder.num_heads=2", "preset=pixio_vit_base_patch16")  # fmt: skip
    assert changed(PretrainConfig(), sizes).encoder.build("float32").num_cls_tokens == 1
    assert caplog.messages == [
        f"the preset pixio_vit_base_patch16 has {name}={its}, and this run {own} (--set {name}={its} for the preset's; "
        "masks and decoder are a recipe's)"
        for name, its, own in (("num_cls_tokens", 8, 1), ("position_embedding", "learned", "sincos"))
    ]
    caplog.clear()
    own = ["num_cls_tokens=8", "position_embedding=learned"]
    assert changed(PretrainConfig(), [*sizes, *own]).encoder.build("float32").num_cls_tokens == 8
    assert caplog.messages == []


OTHER_KIND = [
    *("num_cls_tokens=2", "num_registers=3", "num_prefix_positions=5", "rotary_temperature=100.0", "key_bias=False"),
    *("qk_norm=True", "gated_mlp=True", "pre_norm=True", "layer_scale=0.1", "mlp_dim=20", "layer_norm_epsilon=1e-5"),
]


def test_every_setting_of_the_encoder_reaches_it():
    settings = config(*OTHER_KIND, "qkv_bias=False").encoder
    assert (
        settings.build("float32").get_config().items()
        >= {key: value for key, value in settings.arguments().items() if key not in ("mean", "std")}.items()
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["masking=block"],
            "no masking is called 'block'; did you mean blocks.* There are: random, units, blocks, grid",
        ),
        (["masking=random", "unit=8"], "unit is for masking=units; the masking is random"),
        (["masking=grid", "mask_ratio=0.5"], "one of every four patches, a mask ratio of 0.75"),
        (["target=pixel"], "no target is called 'pixel'; did you mean pixels"),
        (["target=tokens"], "target=tokens needs a tokenizer, the folder of a SavedModel, and its vocabulary_size"),
        (["target=pca"], "at most 48 principal components, got num_components=96"),
    ],
)
def test_what_does_not_go_together(settings, message):
    with pytest.raises(ValueError, match=message):
        build(config(*settings))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("data") / "images.npz")
    np.savez(path, images=random_images(16, (16, 24, 3), seed=4))
    return f"npz:{path}"


@pytest.mark.medium
def test_components_are_fitted_before_the_run_and_saved_with_it(data, tmp_path):
    settings = config("target=pca", "pca_components=6", "jitter=0.4", "masking=blocks", "epochs=1", "warmup_epochs=0")
    output = str(tmp_path / "run")
    trained = pretrain(settings, data, output)
    assert os.path.exists(os.path.join(output, "reconstructions", "epoch_0001.png"))
    loaded = keras.saving.load_model(os.path.join(output, "model.keras"))
    images = random_images(16, (16, 24, 3), seed=4)
    expected = PCATarget(6)
    expected.attach(loaded.target.geometry)
    expected.fit(images)  # crop_ratio 0.875 shows the fit less than the whole images
    assert np.abs(loaded.target.components - expected.components).max() > 1e-3
    np.testing.assert_array_equal(loaded.target(images), trained.target(images))


@pytest.mark.medium
def test_a_run_on_tokens_draws_no_pictures(data, tmp_path):
    inputs = keras.Input((16, 24, 3))
    tokens = keras.layers.Conv2D(11, 4, strides=4)(inputs)
    keras.Model(inputs, tokens).export(str(tmp_path / "tokenizer"), verbose=False)
    settings = config(
        "target=tokens", f"tokenizer={tmp_path / 'tokenizer'}", "vocabulary_size=11", "epochs=1", "warmup_epochs=0"
    )
    output = str(tmp_path / "run")
    pretrain(settings, data, output)
    assert not os.path.exists(os.path.join(output, "reconstructions"))
    with open(os.path.join(output, "log.jsonl"), encoding="utf-8") as file:
        assert np.isfinite(json.loads(file.readline())["loss"])
    assert os.path.exists(os.path.join(output, "encoder.keras"))
