"""Runs with a cross decoder, or with part of the patches predicted, from `--set` to an export."""

import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae import cli
from keras_mae.models import CrossDecoder, MAEDecoder
from keras_mae.trainers import run
from keras_mae.trainers.config import PretrainConfig, from_json, to_json
from keras_mae.trainers.pretrain import build, pretrain
from keras_mae.trainers.settings import changed
from tests.base import random_images, weights_of
from tests.drawn import TINY
from tests.trainers.pretraining import CONFIG, STEPS, log_of, rewound
from tests.typed import refused

CROSS = ["encoder.num_layers=2", "decoder=cross", *TINY[6:9], "encoder_layers=(1, 2)", "predict_ratio=0.5"]


def config(*settings):
    return changed(PretrainConfig(), [*TINY, *settings])


def test_settings_reach_the_model():
    model = build(config("decoder=cross", *TINY[6:9]))
    assert isinstance(model.decoder, CrossDecoder) and model.decoder.encoder_layers is None
    assert (model.predict_ratio, model.visible_weight) == (1.0, 0.0)
    model = build(config(*CROSS))
    assert model.decoder.encoder_layers == (1, 2) and model.predict_ratio == 0.5
    assert (model.decoder.hidden_dim, model.decoder.num_layers, model.decoder.num_heads) == (8, 1, 2)
    model = build(config("visible_weight=0.1", "position_embedding=learned"))
    assert isinstance(model.decoder, MAEDecoder) and model.visible_weight == 0.1
    model = build(config("decoder=cross", *TINY[6:9], "position_embedding=learned", "position_temperature=7"))
    assert model.decoder.positions.table.trainable and model.decoder.position_temperature == 7


def test_a_config_is_read_as_it_was_written():
    given = config(*CROSS)
    text = json.dumps(to_json(given))
    again = from_json(json.loads(text))
    assert again == given and again.decoder.encoder_layers == (1, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["predict_ratio=0"], "predict_ratio lies in (0, 1], got method.predict_ratio=0"),
        (["predict_ratio=1.5"], "predict_ratio lies in (0, 1], got method.predict_ratio=1.5"),
        (["predict_ratio=True"], "predict_ratio"),
        (["visible_weight=-1"], "visible_weight lies in [0, 1], got method.visible_weight=-1"),
        (["predict_ratio=0.5", "visible_weight=0.1"], "set predict_ratio=1 or visible_weight=0"),
        (["encoder_layers=(1, 2)"], "encoder_layers is for decoder=cross"),
        (["decoder=cross", "encoder_layers=(1, 3)"], "encoder_layers end with the encoder's last layer, 2"),
        (["decoder=cross", "encoder_layers=(2, 1)"], "in rising order"),
        (["decoder=cross", "encoder_layers=(0, 1)"], "encoder_layers"),
        (["decoder=cross", "encoder_layers=()"], "encoder_layers"),
        (["decoder=cross", "encoder_layers=1"], "encoder_layers"),
        (["method=simmim", "predict_ratio=0.5"], "predict_ratio is for method=mae"),
        (["decoder=crosss"], "no decoder is called 'crosss'; did you mean cross"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(settings, message, tmp_path, capfd, arrays):
    flags = ["--recipe=mae_digits", "--set=encoder.num_layers=2", *(f"--set={setting}" for setting in settings)]
    line = refused(capfd, "pretrain", "--data=digits", f"--output={tmp_path / 'run'}", *flags)
    assert message in line, line
    assert not os.path.exists(tmp_path / "run") or not os.listdir(tmp_path / "run")


@pytest.fixture(scope="module")
def settings():
    return changed(CONFIG, CROSS)


@pytest.fixture(scope="module")
def whole(arrays, settings, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("runs") / "whole")
    return run.RunFolder(output), pretrain(settings, arrays, output)


@pytest.mark.medium
def test_interrupted_and_resumed_gives_the_same_weights(whole, settings, arrays, tmp_path):
    output = rewound(whole[0].path, str(tmp_path / "run"), 2 * STEPS)
    resumed = pretrain(settings, arrays, output, resume=True)
    assert int(resumed.optimizer.iterations) == 3 * STEPS
    for one, other in zip(weights_of(resumed), weights_of(whole[1]), strict=True):
        # bitwise equal on most machines; round-off of sums that threads split in another way is below 1e-6
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    losses = [[record["loss"] for record in log_of(folder)] for folder in (run.RunFolder(output), whole[0])]
    assert losses[0] == pytest.approx(losses[1], abs=2e-6)  # six decimals


@pytest.mark.medium
def test_the_run_folder_serves_every_command(whole, capfd, tmp_path):
    folder, trained = whole
    assert os.listdir(folder / "reconstructions")
    loaded = keras.saving.load_model(folder / "model.keras")
    assert (loaded.predict_ratio, loaded.decoder.encoder_layers) == (0.5, (1, 2))
    for one, other in zip(weights_of(loaded), weights_of(trained), strict=True):
        np.testing.assert_array_equal(one, other)
    assert cli.main(["report", f"--run={folder.path}", f"--output={tmp_path / 'report.html'}"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "predict_ratio" in page and "encoder_layers" in page
    assert cli.main(["card", f"--run={folder.path}", f"--output={tmp_path / 'card'}"]) == 0
    capfd.readouterr()


@pytest.mark.medium
def test_an_exported_autoencoder_reconstructs_all_patches(whole, tmp_path):
    folder, trained = whole
    assert cli.main(["export", f"--run={folder.path}", f"--output={tmp_path / 'served'}", "--model=autoencoder"]) == 0
    (version,) = os.listdir(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served" / version))
    images = random_images(2, (16, 16, 3))
    mask = np.array([[1, 0, 1, 1] * 4, [0, 1, 1, 1] * 4], "float32")
    outputs = served.signatures["reconstruct"](images=tf.constant(images), mask=tf.constant(mask))
    expected = trained.reconstruct(images, mask=mask)
    for name, value in outputs.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-2)  # float32 round-off at levels up to 255
