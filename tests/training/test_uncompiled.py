"""Models without their optimizer, for as long as they are saved."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mae
from keras_mae.models import ImageClassifier
from keras_mae.optimizers import WarmupCosine, adamw
from keras_mae.trainers import programs, run
from keras_mae.training.uncompiled import uncompiled
from tests.base import small_encoder, small_mae

WIDE = {"hidden_dim": 128, "mlp_dim": 512}  # so that names and tables do not count for much


@pytest.fixture(params=[lambda: small_mae(**WIDE), lambda: ImageClassifier(small_encoder(**WIDE), 3)])
def model(request):
    """A compiled model whose optimizer has its moments."""
    model = request.param()
    model.compile(optimizer=adamw(model, WarmupCosine(1e-3, 1, 10)))
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize(
    "save",
    [
        lambda model, path: programs.save_model(model, run.RunFolder(os.path.dirname(path)), os.path.basename(path)),
        lambda model, path: keras_mae.save_checkpoint(model, path, "keras"),
    ],
)
def test_a_file_is_as_large_as_the_weights_and_the_model_stays_compiled(model, tmp_path, save):
    optimizer, path = model.optimizer, str(tmp_path / "model.keras")
    save(model, path)
    # the rest is some 90 kB; with the two moments it would be three times the weights
    assert 0 < os.path.getsize(path) - 4 * model.count_params() < 120_000 < 4 * model.count_params()
    assert model.optimizer is optimizer and model.compiled
    loaded = keras.saving.load_model(path)
    assert not loaded.compiled
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_runs_checkpoints_are_the_same_afterwards(tmp_path):
    """The optimizer is beside the model in them, and does not come to be in the model as well."""
    model = small_mae()
    model.compile(optimizer="adamw")
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    before = [name for name, _ in tf.train.list_variables(checkpoint.write(str(tmp_path / "before")))]
    with uncompiled(model):
        model.save(tmp_path / "model.keras")
    assert [name for name, _ in tf.train.list_variables(checkpoint.write(str(tmp_path / "after")))] == before


def test_an_error_leaves_the_model_compiled():
    model = small_mae()
    model.compile(optimizer="adamw")
    optimizer = model.optimizer
    with pytest.raises(OSError, match="the disk is full"), uncompiled(model):
        assert model.optimizer is None
        raise OSError("the disk is full")
    assert model.optimizer is optimizer and model.compiled


def test_a_model_that_was_never_compiled():
    model = small_encoder()
    before = dict(vars(model))
    with uncompiled(model):
        pass
    assert vars(model) == before and not model.compiled
