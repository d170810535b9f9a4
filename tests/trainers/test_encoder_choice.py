"""The encoder of a classifier: from a run, a file, or fresh; what differs is listed."""

import keras
import numpy as np
import pytest

from keras_mae.models import ImageClassifier
from keras_mae.trainers import encoder_choice
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.encoder_choice import load_encoder
from keras_mae.trainers.run import RunFolder
from keras_mae.trainers.settings import replaced
from tests.base import small_encoder, small_mae, weights_of


def choose_encoder(config, drop_path_rate=0.0):
    encoder, record = encoder_choice.choose_encoder(config, drop_path_rate)
    assert record is None  # neither --init nor a licence
    return encoder


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("runs") / "encoder.keras")
    small_encoder().save(path)  # 8 x 12 pixels, patches of 4, 16 wide
    return path


def test_from_files_of_every_kind(tmp_path):
    for name, model in (("mae", small_mae()), ("classifier", ImageClassifier(small_encoder(), 3))):
        model.save(tmp_path / f"{name}.keras")
        loaded = load_encoder(str(tmp_path / f"{name}.keras"))
        for one, other in zip(weights_of(model.encoder), weights_of(loaded), strict=True):
            np.testing.assert_array_equal(one, other)
    keras.Sequential([keras.layers.Dense(2)]).save(tmp_path / "dense.keras")
    with pytest.raises(ValueError, match="dense.keras holds a Sequential, and not a model of this package"):
        load_encoder(str(tmp_path / "dense.keras"))


def test_from_a_run(tmp_path):
    RunFolder(str(tmp_path / "run")).start(PretrainConfig(), "digits", resume=False, overwrite=False)
    with pytest.raises(ValueError, match="run holds no encoder.keras: the run has not finished"):
        load_encoder(str(tmp_path / "run"))
    encoder = small_encoder()
    encoder.save(tmp_path / "run" / "encoder.keras")
    np.testing.assert_array_equal(load_encoder(str(tmp_path / "run")).cls_token, encoder.cls_token)
    for missing, message in (("nowhere", "nowhere is not the folder of a run"), ("no.keras", "there is no file")):
        with pytest.raises(ValueError, match=message):
            load_encoder(str(tmp_path / missing))


def test_takes_what_the_run_has_and_the_configs_drop_path_and_dtype(file):
    encoder = choose_encoder(replaced(FinetuneConfig(), run=file, dtype_policy="mixed_bfloat16"), drop_path_rate=0.4)
    assert encoder.drop_path_rate == 0.4 and encoder.compute_dtype == "bfloat16" and encoder.image_shape == (8, 12, 3)
    for one, other in zip(weights_of(keras.saving.load_model(file)), weights_of(encoder), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_image_size_resizes_positions(file):
    encoder = choose_encoder(replaced(FinetuneConfig(), run=file, image_size=(16, 20)))
    assert encoder.image_shape == (16, 20, 3) and encoder.grid == (4, 5)


def test_what_differs_is_listed_with_both_values(file):
    same = replaced(FinetuneConfig(), run=file, patch_size=(4, 4), hidden_dim=16, num_heads=2, channels=3)
    assert choose_encoder(same).hidden_dim == 16
    message = (
        r"encoder.keras is another than the recipe's: channels: 3 there, 1 asked for; num_heads: 2 there, 4 asked for; "
        r"mean: \(0.485, 0.456, 0.406\) there, \(0.5,\) asked for\. Take a recipe for it, such as the program.s "
        r"\.\.\._small_images"
    )
    with pytest.raises(ValueError, match=message):
        choose_encoder(replaced(FinetuneConfig(), run=file, channels=1, num_heads=4, mean=(0.5,)))
    message = (
        r"patch_size: \(4, 4\) there, \(16, 16\) asked for; hidden_dim: 16 there, 768 asked for; "
        "num_layers: 1 there, 12 asked for; num_heads: 2 there, 12 asked for"
    )
    with pytest.raises(ValueError, match=message):
        choose_encoder(replaced(FinetuneConfig(), run=file, preset="vit_base_patch16"))


def test_from_scratch():
    config = replaced(
        FinetuneConfig(),
        preset="vit_tiny_patch16",
        image_size=(8, 8),
        channels=1,
        patch_size=(4, 4),
        hidden_dim=8,
        num_layers=1,
        num_heads=2,
    )
    encoder = choose_encoder(config, drop_path_rate=0.1)
    assert (encoder.image_shape, encoder.patch_size, encoder.mlp_dim) == ((8, 8, 1), (4, 4), 32)
