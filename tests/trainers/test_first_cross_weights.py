"""Runs that begin with the weights of a model with a cross decoder, and those with one that begin with others."""

import numpy as np
import pytest

from keras_mae.models import CrossDecoder, MaskedAutoencoder
from keras_mae.trainers.first_weights import continued, load_into
from keras_mae.trainers.model_parts import Cross, Transformer
from keras_mae.trainers.pretrain import build
from keras_mae.trainers.training_parts import Weights
from tests.base import fill_randomly, small_encoder, weights_of
from tests.trainers.initial import DECODER, QUICK, SIZES, small_autoencoder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    decoder = CrossDecoder(8, 1, 2, encoder_layers=(1, 2), position_embedding="learned")
    fill_randomly(MaskedAutoencoder(small_encoder(**SIZES), decoder)).save(folder / "cross.keras")
    small_autoencoder().save(folder / "mae.keras")
    return folder


def begun(path, *settings, recipe=None):
    config = continued(Weights(str(path)), [*QUICK, *settings], recipe)
    model = build(config)
    return config, model, weights_of(model.decoder), load_into(model, config)[1]["summary"]["fresh"]


def test_the_file_tells_the_decoder(place):
    config, model, before, fresh = begun(place / "cross.keras")
    assert config.decoder == Cross(hidden_dim=8, num_layers=1, num_heads=2, encoder_layers=(1, 2)) and not fresh
    assert not any((one == other).all() for one, other in zip(before, weights_of(model.decoder), strict=True))
    table = next(weight for weight in model.decoder.weights if weight.name == "layer_weights")
    assert table.shape == (2, 1)


@pytest.mark.parametrize(
    ("name", "settings", "recipe", "kind", "said"),
    [
        ("cross.keras", ("decoder=transformer", *DECODER), None, Transformer, "the file's is of the kind CrossDecoder"),
        ("cross.keras", DECODER, "mae_continue", Transformer, "the file's is of the kind CrossDecoder"),
        ("cross.keras", ("decoder.num_layers=2",), None, Cross, "the file's has num_layers 1"),
        ("cross.keras", ("encoder_layers=(2,)",), None, Cross, "the file's has encoder_layers (1, 2)"),
        ("mae.keras", ("decoder=cross", *DECODER), None, Cross, "the file's is of the kind MAEDecoder"),
    ],
)
def test_another_decoder_starts_fresh(place, caplog, name, settings, recipe, kind, said):
    caplog.set_level("INFO", logger="keras_mae")
    config, model, before, fresh = begun(place / name, *settings, recipe=recipe)
    assert type(config.decoder) is kind
    assert all((one == other).all() for one, other in zip(before, weights_of(model.decoder), strict=True))
    assert sorted(fresh) == sorted(variable.path for variable in model.decoder.trainable_variables)
    assert any(f"the decoder starts fresh, as {said}" in record.getMessage() for record in caplog.records)
    assert not np.array_equal(*(np.asarray(block.mlp_output.kernel) for block in model.encoder.blocks))
