"""Keras' own files say for which grid of patches their tables are."""

import numpy as np
import pytest

from keras_mae.layers import PositionEmbedding, RelativePositionBias
from tests.base import weights_of
from tests.checkpoints.small import small_encoder

LEARNED = {"position_embedding": "learned"}
SINCOS = {"position_embedding": "sincos"}
RELATIVE = {"position_embedding": None, "relative_position_bias": "per_block"}


@pytest.mark.parametrize("ending", ["keras", "weights.h5"])
@pytest.mark.parametrize(
    "kind, of_file, of_model",
    [(LEARNED, (16, 16, 3), (8, 32, 3)), (SINCOS, (8, 12, 3), (12, 8, 3)), (RELATIVE, (8, 12, 3), (12, 8, 3))],
    ids=["learned", "sincos", "relative"],
)
def test_weights_of_another_grid_are_refused(kind, of_file, of_model, ending, tmp_path):
    source, same, other = (small_encoder(shape, **kind, seed=i) for i, shape in enumerate((of_file, of_file, of_model)))
    path = str(tmp_path / f"file.{ending}")
    source.save(path) if ending == "keras" else source.save_weights(path)
    same.load_weights(path)
    for ours, theirs in zip(weights_of(same), weights_of(source), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    grids = ["{} x {}".format(*encoder.grid) for encoder in (source, other)]
    with pytest.raises(ValueError, match=f"for {grids[0]} patches, and the model has {grids[1]}.*with_image_shape"):
        other.load_weights(path)


@pytest.mark.parametrize(
    "layer", [PositionEmbedding((2, 3), 1, "learned"), RelativePositionBias((2, 3), 4)], ids=lambda layer: layer.name
)
def test_a_file_that_does_not_say_its_grid_is_taken(layer):
    layer.build((None, 6, 8))
    table = np.arange(np.prod(layer.table.shape), dtype="float32").reshape(layer.table.shape)
    layer.load_own_variables({"0": table})
    np.testing.assert_array_equal(layer.table.numpy(), table)
