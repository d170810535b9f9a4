"""Parts that somebody else has written: they register themselves, and every program knows them."""

import dataclasses
import json
import re
from typing import Annotated, ClassVar

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.commands import recipes as command
from keras_mae.export import export_encoder, saved_model
from keras_mae.masking import RandomMasking
from keras_mae.models import LinearDecoder, MaskedAutoencoder, ViTEncoder
from keras_mae.targets import PixelTarget
from keras_mae.trainers import memory, recipes, run
from keras_mae.trainers.checks import check_together
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.config import PretrainConfig, from_json, to_json
from keras_mae.trainers.encoder_choice import load_encoder
from keras_mae.trainers.encoder_parts import ENCODERS
from keras_mae.trainers.finetune import finetune
from keras_mae.trainers.linear_probe import linear_probe
from keras_mae.trainers.model_parts import DECODERS, MASKING, METHODS, TARGETS
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.ranges import Range
from keras_mae.trainers.settings import changed
from tests.base import random_images
from tests.toys import ConvEncoder


@dataclasses.dataclass(frozen=True)
class Stripes:
    """Whole columns.

    Attributes:
        share: of the columns.
    """

    share: Annotated[float, Range(0, 1)] = 0.5

    def build(self):
        return RandomMasking(self.share)


@dataclasses.dataclass(frozen=True)
class Plain:
    """Pixels as they are."""

    def build(self):
        return PixelTarget(normalize=False)


@dataclasses.dataclass(frozen=True)
class Small:
    """A small encoder.

    Attributes:
        width: numbers in a token.
    """

    width: Annotated[int, Range(4, 64)] = 8
    image_shape: ClassVar = (8, 8, 3)

    def build(self, dtype):
        return ViTEncoder(self.image_shape, 4, self.width, num_layers=1, num_heads=2, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class Line:
    """A linear decoder."""

    def build(self, encoder, dtype):
        return LinearDecoder(dtype=dtype)


@dataclasses.dataclass(frozen=True)
class All:
    """An autoencoder that sees every patch."""

    def build(self, encoder, decoder, masking, target, loss, seed, dtype):
        inside = {"mask_tokens_in_encoder": True}
        return MaskedAutoencoder(encoder, decoder, masking, target, loss, seed=seed, dtype=dtype, **inside)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for kinds, mine in ((MASKING, Stripes), (TARGETS, Plain), (ENCODERS, Small), (DECODERS, Line), (METHODS, All)):
        monkeypatch.setattr(kinds, "_entries", dict(kinds._entries))  # what it was before comes back
        kinds.register("mine")(mine)
    ENCODERS.register("conv")(Conv)


@dataclasses.dataclass(frozen=True)
class Conv:
    """Convolutions."""

    image_shape: ClassVar = (8, 8, 3)

    def build(self, dtype):
        return ConvEncoder(self.image_shape, 4, 8, dtype=dtype)


SETTINGS = [f"{part}=mine" for part in ("method", "encoder", "masking", "target", "decoder")]


def test_every_kind_of_part_by_set_and_from_json_and_in_a_model():
    config = changed(PretrainConfig(), [*SETTINGS, "share=0.25", "encoder.width=16"])
    assert (config.masking, config.encoder) == (Stripes(0.25), Small(16))
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
    check_together(config)
    model = build(config)
    assert (model.encoder.hidden_dim, model.masking.mask_ratio) == (16, 0.25)
    assert model.mask_tokens_in_encoder and isinstance(model.decoder, LinearDecoder)
    assert memory.estimate(config) is None  # not known of an encoder that is not ours


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["share=0.25"], "share is for masking=mine; the masking is random; type --set masking=mine, too"),
        (["masking=mine", "share=2"], r"share lies in \[0, 1\], got masking.share=2"),
        (["masking=mine", "unit=2"], "unit is for masking=units; the masking is mine"),
        (["masking=mime"], "no masking is called 'mime'; did you mean mine"),
        (["masking=mine", "shar=0.5"], "did you mean share"),
    ],
)
def test_messages_know_them(settings, message):
    with pytest.raises(ValueError, match=message):
        changed(PretrainConfig(), settings)


def test_recipes_show_them(monkeypatch, capsys):
    monkeypatch.setattr(recipes, "load", lambda name: changed(PretrainConfig(), SETTINGS))
    values = command.RECIPES.make_flags()
    values(["recipes", "--show=mae_digits"])
    command.RECIPES.run(values)
    text = capsys.readouterr().out
    # others may have been registered in this process, too
    assert re.search(r"\nmasking=mine: Whole columns\. \(there are: random, units, blocks, grid(, \w+)*\)\n", text)
    assert "\n  share=0.5                         of the columns.\n" in text


@pytest.mark.medium
def test_a_run(tmp_path, caplog):
    caplog.set_level("INFO", logger="keras_mae")
    np.savez(tmp_path / "images.npz", images=random_images(8, (8, 8, 3)))
    quick = ["epochs=1", "warmup_epochs=0", "batch_size=4", "jit_compile=False", "dtype_policy=float32"]
    config = changed(PretrainConfig(), [*SETTINGS, *quick])
    output = str(tmp_path / "run")
    assert pretrain(config, f"npz:{tmp_path / 'images.npz'}", output).encoder.hidden_dim == 8
    assert "parameters in the encoder" in caplog.text and "in all; an unknown amount of memory" in caplog.text
    assert run.RunFolder(output).config()[0] == config
    pretrain(config, f"npz:{tmp_path / 'images.npz'}", output, resume=True)


@pytest.mark.medium
@pytest.mark.parametrize("method", ["mae", "simmim"])
def test_the_whole_way_of_another_encoder(method, tmp_path, caplog, monkeypatch):
    """A convolutional encoder in a file of its own is pretrained, continued, fine-tuned, probed and exported."""
    images, labels = random_images(20, (8, 8, 3)), np.arange(20) % 2
    np.savez(tmp_path / "images.npz", images=images, labels=labels)
    data, runs = f"npz:{tmp_path / 'images.npz'}", [str(tmp_path / name) for name in ("pretrained", "tuned", "probed")]
    quick = ["epochs=2", "warmup_epochs=0", "batch_size=4", "jit_compile=False"]
    inside = ["mask_tokens_in_encoder=True"] if method == "mae" else ["masking=units", "unit=4"]
    sizes = ["decoder.hidden_dim=8", "decoder.num_layers=1", "decoder.num_heads=2"] if method == "mae" else []
    config = changed(PretrainConfig(), [f"method={method}", "encoder=conv", *inside, *sizes, *quick])
    first = pretrain(config, data, runs[0])
    assert isinstance(first.encoder, ConvEncoder)
    longer = changed(config, ["epochs=3"])
    with pytest.raises(ValueError, match="epochs"):
        pretrain(longer, data, runs[0], resume=True)  # another run
    pretrain(config, data, runs[0], resume=True)
    if method == "simmim":
        return  # what follows sees the encoder alone, which is the same
    caplog.clear()
    quick = [*quick, "epochs=1", f"run={runs[0]}", "preset=None", "labels_per_class=8"]
    # without RandAugment, whose graph takes longer than all else here
    finetune(changed(FinetuneConfig(), [*quick, "num_trainable_layers=1", "rand_augment=None"]), data, runs[1])
    assert isinstance(load_encoder(runs[1]), ConvEncoder)
    assert "a ConvEncoder has no drop path: drop_path_rate=0.1 is left out" in caplog.text
    with pytest.raises(ValueError, match="hidden_dim: 8 there, 16 asked for"):
        finetune(changed(FinetuneConfig(), [*quick, "hidden_dim=16"]), data, str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"takes images of \(8, 8, 3\) only; got \(16, 16, 3\)"):
        finetune(changed(FinetuneConfig(), [*quick, "image_size=(16, 16)"]), data, str(tmp_path / "other"))
    linear_probe(changed(ProbeConfig(), [*quick, "layer=1", "pooling=mean"]), data, runs[2])
    assert isinstance(load_encoder(runs[2]), ConvEncoder)
    monkeypatch.setattr(saved_model, "verify_export", lambda *_: {})  # what is compared here
    path = export_encoder(load_encoder(runs[0]), str(tmp_path / "served"), images=images[:2])
    np.testing.assert_allclose(tf.saved_model.load(path)(images), first.encoder.features(images), atol=1e-5)
