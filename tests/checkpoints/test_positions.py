"""Position embeddings of another image size: resized on request, computed anew for sin-cos, or an error."""

import logging

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import keras_mae
from keras_mae.layers import sincos_position_embedding
from tests.base import fill_randomly
from tests.checkpoints.small import small_classifier, small_encoder, small_mae
from tests.checkpoints.test_strictness import refused

SQUARE = (16, 16, 3)  # a grid of 4 x 4


def saved(model, folder, format="mae_torch"):
    path = str(folder / "file.safetensors")
    keras_mae.save_checkpoint(model, path, format)
    return path


def pytorch_bicubic(table, old_grid, new_grid, num_prefix_tokens=1):
    """The table resized as the field does."""
    table = torch.tensor(np.asarray(table))
    patches = table[num_prefix_tokens:].reshape(1, *old_grid, -1).permute(0, 3, 1, 2)
    patches = torch.nn.functional.interpolate(patches, size=new_grid, mode="bicubic", align_corners=False)
    return torch.cat([table[:num_prefix_tokens], patches.permute(0, 2, 3, 1).reshape(-1, table.shape[1])]).numpy()


@pytest.mark.parametrize(
    "format, image_shape",
    [("mae_torch", (24, 24, 3)), ("timm", (8, 12, 3)), ("hf", (28, 16, 3)), ("hf", (8, 32, 3)), ("timm", (4, 4, 3))],
)
def test_resized_as_pytorch_does(format, image_shape, tmp_path, caplog):
    source = small_encoder(SQUARE, position_embedding="learned")
    model = small_encoder(image_shape, position_embedding="learned", seed=2)
    with caplog.at_level(logging.INFO, logger="keras_mae"):
        report = keras_mae.load_checkpoint(model, saved(source, tmp_path, format), format, resize_positions=True)
    expected = pytorch_bicubic(source.positions.table, (4, 4), model.grid)
    np.testing.assert_allclose(model.positions.table, expected, atol=1e-5)
    grids = "4 x 4 to {} x {}".format(*model.grid)
    assert any(f"resized from a grid of {grids} (bicubic)" in note for note in report.notes)
    assert "position embeddings resized from a 4 x 4 to a" in caplog.text


def test_both_tables_of_a_mae(tmp_path):
    source = small_mae(image_shape=SQUARE, position_embedding="learned")
    mae = small_mae(image_shape=(24, 24, 3), position_embedding="learned", seed=2)
    keras_mae.load_checkpoint(mae, saved(source, tmp_path), "mae_torch", resize_positions=True)
    for ours, theirs in ((mae.encoder, source.encoder), (mae.decoder, source.decoder)):
        np.testing.assert_allclose(
            ours.positions.table, pytorch_bicubic(theirs.positions.table, (4, 4), (6, 6)), atol=1e-5
        )


def test_not_without_being_asked(tmp_path):
    path = saved(small_encoder(SQUARE), tmp_path)
    expected = ("pos_embed (1, 17, 16) in the file, (1, 7, 16) in the model", "resize_positions=True")
    refused(small_encoder(), path, "mae_torch", *expected)


def test_a_grid_that_is_not_square_has_to_be_named(tmp_path):
    source = small_encoder((8, 12, 3), position_embedding="learned")  # 2 x 3
    path = saved(source, tmp_path)
    save_file(load_file(path), path)  # a stranger's, which does not say its grid
    model = small_encoder(SQUARE, position_embedding="learned", seed=2)
    refused(model, path, "mae_torch", "(rows, columns)", resize_positions=True)
    refused(model, path, "mae_torch", "no grid of 2 x 2", resize_positions=(2, 2))
    keras_mae.load_checkpoint(model, path, "mae_torch", resize_positions=(2, 3))
    np.testing.assert_allclose(
        model.positions.table, pytorch_bicubic(source.positions.table, (2, 3), (4, 4)), atol=1e-5
    )


@pytest.mark.parametrize("resize", [True, (2, 3)])
def test_nothing_changes_where_the_grid_is_the_same(resize, tmp_path):
    source = small_encoder(position_embedding="learned")
    model = small_encoder(position_embedding="learned", seed=2)
    report = keras_mae.load_checkpoint(model, saved(source, tmp_path), "mae_torch", resize_positions=resize)
    np.testing.assert_array_equal(model.positions.table, source.positions.table)
    assert not report.notes


def with_sincos(model):
    """The model with its sin-cos tables in place, which random weights have overwritten."""
    for part in (model.encoder, model.decoder):
        layer = part.positions
        layer.table.assign(sincos_position_embedding(layer.grid, part.hidden_dim, layer.num_prefix_tokens))
    return model


def test_sincos_is_computed_anew(tmp_path):
    path = saved(with_sincos(small_mae(image_shape=SQUARE)), tmp_path)
    mae = small_mae(seed=2)
    refused(mae, path, "mae_torch", "resize_positions=True")
    report = keras_mae.load_checkpoint(mae, path, "mae_torch", resize_positions=True)
    for part in (mae.encoder, mae.decoder):
        np.testing.assert_array_equal(part.positions.table, sincos_position_embedding((2, 3), part.hidden_dim, 1))
    assert sum("computed anew, from a grid of 4 x 4 to 2 x 3" in note for note in report.notes) == 2


def test_sincos_that_will_be_trained_is_resized(tmp_path):
    source = with_sincos(small_mae(image_shape=SQUARE))
    classifier = small_classifier("mean", position_embedding="learned", seed=2)
    keras_mae.load_checkpoint(classifier, saved(source, tmp_path), "mae_torch", "head.*", resize_positions=True)
    table = pytorch_bicubic(source.encoder.positions.table, (4, 4), (2, 3))
    np.testing.assert_allclose(classifier.encoder.positions.table, table, atol=1e-5)


def test_a_trained_table_in_a_sincos_model_is_used_and_told_of(tmp_path):
    source = small_encoder(position_embedding="learned")
    model = small_encoder(seed=2)
    report = keras_mae.load_checkpoint(model, saved(source, tmp_path), "mae_torch")
    np.testing.assert_array_equal(model.positions.table, source.positions.table)
    assert any("are not the sin-cos table of this model" in note and "'learned'" in note for note in report.notes)


def test_models_without_a_class_token(tmp_path):
    source = small_encoder(SQUARE, num_cls_tokens=0, position_embedding="learned")
    model = fill_randomly(small_encoder(num_cls_tokens=0, position_embedding="learned"), seed=2)
    keras_mae.load_checkpoint(model, saved(source, tmp_path, "timm"), "timm", resize_positions=True)
    expected = pytorch_bicubic(source.positions.table, (4, 4), (2, 3), num_prefix_tokens=0)
    np.testing.assert_allclose(model.positions.table, expected, atol=1e-5)
