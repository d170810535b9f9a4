"""Keras' own files and TensorFlow's checkpoints state the grid of patches of their tables."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.layers import PositionEmbedding, RelativePositionBias
from tests.base import weights_of
from tests.checkpoints.small import small_encoder

LEARNED = {"position_embedding": "learned"}
SINCOS = {"position_embedding": "sincos"}
RELATIVE = {"position_embedding": None, "relative_position_bias": "per_block"}


def saved(model, path):
    """Saves a model by the ending of the path, and returns the function that loads it into another one."""
    if path.endswith("checkpoint"):
        path = tf.train.Checkpoint(model=model).save(path)
        return lambda other: tf.train.Checkpoint(model=other).restore(path).assert_consumed()
    model.save(path) if path.endswith("keras") else model.save_weights(path)
    return lambda other: other.load_weights(path)


@pytest.mark.parametrize("ending", ["keras", "weights.h5", "checkpoint"])
@pytest.mark.parametrize(
    "kind, of_file, of_model",
    [(LEARNED, (16, 16, 3), (8, 32, 3)), (SINCOS, (8, 12, 3), (12, 8, 3)), (RELATIVE, (8, 12, 3), (12, 8, 3))],
    ids=["learned", "sincos", "relative"],
)
def test_weights_of_another_grid_are_refused(kind, of_file, of_model, ending, tmp_path):
    source, same, other = (small_encoder(shape, **kind, seed=i) for i, shape in enumerate((of_file, of_file, of_model)))
    load = saved(source, str(tmp_path / f"file.{ending}"))
    load(same)
    for ours, theirs in zip(weights_of(same), weights_of(source), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    grids = ["{} x {}".format(*encoder.grid) for encoder in (source, other)]
    with pytest.raises(ValueError, match=f"for {grids[0]} patches, and the model has {grids[1]}.*with_image_shape"):
        load(other)


def test_a_refused_checkpoint_changes_no_weight(tmp_path):
    load = saved(small_encoder((16, 16, 3), **LEARNED), str(tmp_path / "checkpoint"))
    other = small_encoder((8, 32, 3), **LEARNED, seed=1)
    before = weights_of(other)
    with pytest.raises(ValueError, match="for 4 x 4 patches, and the model has 2 x 8"):
        load(other)
    for ours, old in zip(weights_of(other), before, strict=True):
        np.testing.assert_array_equal(ours, old)


@pytest.mark.parametrize(
    "layer", [PositionEmbedding((2, 3), 1, "learned"), RelativePositionBias((2, 3), 4)], ids=lambda layer: layer.name
)
def test_a_file_that_does_not_say_its_grid_is_taken(layer):
    layer.build((None, 6, 8))
    table = np.arange(np.prod(layer.table.shape), dtype="float32").reshape(layer.table.shape)
    layer.load_own_variables({"0": table})
    np.testing.assert_array_equal(layer.table.numpy(), table)
