"""Everything that does not fit is an error that lists both sides; what is left out is in the report."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import keras_mae
from tests.base import weights_of
from tests.checkpoints import published
from tests.checkpoints.small import small_classifier, small_encoder, small_mae


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One model of each kind in each format, by (kind, format)."""
    folder = tmp_path_factory.mktemp("files")
    models = {
        "encoder": small_encoder(),
        "mae": small_mae(),
        "cls": small_classifier("cls"),
        "mean": small_classifier("mean"),
    }
    formats = {
        "encoder": ("mae_torch", "timm", "hf", "keras"),
        "mae": ("mae_torch", "hf", "keras"),
        "cls": ("mae_torch", "timm", "hf", "keras"),
        "mean": ("mae_torch", "timm", "keras"),
    }
    paths = {}
    for kind, model in models.items():
        for format in formats[kind]:
            ending = "keras" if format == "keras" else "safetensors"
            paths[kind, format] = str(folder / f"{kind}-{format}.{ending}")
            keras_mae.save_checkpoint(model, paths[kind, format], format)
    return paths


def tensors_of(model, folder):
    """Its tensors under the official names."""
    path = str(folder / "tensors.safetensors")
    keras_mae.save_checkpoint(model, path, "mae_torch")
    return load_file(path)


def refused(model, path, format, *parts, **options):
    """The load raises with all `parts` in its message, and leaves the model as it was."""
    before = weights_of(model)
    with pytest.raises(ValueError) as caught:
        keras_mae.load_checkpoint(model, path, format, **options)
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    for old, new in zip(before, weights_of(model), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("format", ["mae_torch", "hf", "keras"])
def test_an_encoder_leaves_the_decoder_behind_and_says_so(files, format):
    encoder = small_encoder(seed=5)
    report = keras_mae.load_checkpoint(encoder, files["mae", format], format)
    assert len(report.tensors) == len(encoder.weights) and not report.encoder_only
    assert report.dropped and all("mask_token" in name or "decoder" in name for name in report.dropped)
    assert "not part of a ViTEncoder, so not read: " in str(report)
    for variable, saved in zip(weights_of(encoder), weights_of(small_mae().encoder), strict=True):
        np.testing.assert_array_equal(variable, saved)


@pytest.mark.parametrize("format", ["mae_torch", "timm", "hf", "keras"])
def test_an_encoder_leaves_the_head_behind_and_says_so(files, format):
    report = keras_mae.load_checkpoint(small_encoder(), files["cls", format], format)
    assert len(report.dropped) == 2 and not report.notes[1:]


def test_the_pooler_of_hugging_face_is_left_behind(tmp_path):
    theirs = published.hf_vit()
    theirs.vit.pooler = torch.nn.ModuleDict({"dense": torch.nn.Linear(24, 24)})
    encoder = published.our_encoder(theirs.config)
    path = published.write(tmp_path / "vit.safetensors", theirs.vit.state_dict())  # names without the prefix
    report = keras_mae.load_checkpoint(encoder, path, "hf")
    assert report.dropped == ("pooler.dense.bias", "pooler.dense.weight") and report.encoder_only


@pytest.mark.parametrize("format", ["mae_torch", "hf", "keras"])
def test_a_mae_needs_a_decoder_unless_it_is_skipped(files, format):
    mae = small_mae(seed=5)
    refused(mae, files["encoder", format], format, "Missing in the file", "holds no decoder", "skip=('decoder.*',)")
    kept = weights_of(mae.decoder)
    report = keras_mae.load_checkpoint(mae, files["encoder", format], format, skip=("decoder.*",))
    assert report.encoder_only and "which holds an encoder only" in str(report)
    assert set(report.tensors) == {name for name in report.tensors if name.startswith("encoder.")}
    assert "decoder.mask_token" in report.skipped and "skipped by request" in str(report)
    for old, new in zip(kept, weights_of(mae.decoder), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "kind, format, pooling",
    [
        ("encoder", "timm", "cls"),
        ("encoder", "hf", "mean"),
        ("mae", "mae_torch", "mean"),
        ("mae", "hf", "cls"),
        ("mae", "keras", "mean"),
    ],
)
def test_pretrained_weights_for_fine_tuning_need_the_head_skipped(files, kind, format, pooling):
    classifier = small_classifier(pooling)
    refused(classifier, files[kind, format], format, "holds no classifier", "skip=('head.*',)")
    report = keras_mae.load_checkpoint(classifier, files[kind, format], format, skip="head.*")
    assert set(report.skipped) == {"head.kernel", "head.bias"}
    np.testing.assert_array_equal(classifier.encoder.norm.gamma, small_encoder().norm.gamma)


@pytest.mark.parametrize("format, names", [("timm", ("head.weight", "head.bias")), ("hf", ("classifier.weight",))])
def test_another_number_of_classes(files, format, names):
    classifier = small_classifier(num_classes=7)
    refused(classifier, files["cls", format], format, "(5, 16) in the file, (7, 16) in the model", "skip=('head.*',)")
    report = keras_mae.load_checkpoint(classifier, files["cls", format], format, skip=("head.*",))
    assert {"head.kernel", "head.bias", *names} <= set(report.skipped)


@pytest.mark.parametrize("format", ["mae_torch", "timm"])
def test_the_other_pooling_is_another_classifier(files, format):
    refused(small_classifier("cls"), files["mean", format], format, "'fc_norm'", "pooling='mean'")
    refused(small_classifier("mean"), files["cls", format], format, "'norm'", "pooling='cls'")
    for pooling, file in (("cls", "mean"), ("mean", "cls")):
        report = keras_mae.load_checkpoint(small_classifier(pooling), files[file, format], format, skip="head.*")
        assert any("the final norm starts from the file's" in note for note in report.notes)
    encoder = small_encoder()
    assert any("fc_norm" in note for note in keras_mae.load_checkpoint(encoder, files["mean", format], format).notes)


def test_hugging_face_has_no_average_pooling(files):
    refused(small_classifier("mean"), files["cls", "hf"], "hf", "pooling='cls'")


def test_a_missing_and_an_unexpected_name_are_both_listed(tmp_path):
    tensors = tensors_of(small_encoder(), tmp_path)
    tensors["blocks.0.ls1.gamma"] = torch.ones(16)
    del tensors["blocks.1.mlp.fc2.bias"]
    path = published.write(tmp_path / "other.safetensors", tensors)
    expected = ("Missing in the file (1): blocks.1.mlp.fc2.bias", "Unexpected in the file (1): blocks.0.ls1.gamma")
    refused(small_encoder(), path, "timm", *expected, resize_positions=(2, 3))
    skip = ("*.ls1.*", "blocks.1.mlp.fc2.bias")
    report = keras_mae.load_checkpoint(small_encoder(), path, "timm", skip, resize_positions=(2, 3))
    assert set(report.skipped) == {"blocks.0.ls1.gamma", "encoder.blocks.1.mlp_output.bias"}


def test_names_of_the_file_and_ours_can_be_skipped(files):
    for pattern in ("vit.layernorm.*", "encoder.norm.*"):
        encoder = small_encoder(seed=7)
        gamma = encoder.norm.gamma.numpy()
        report = keras_mae.load_checkpoint(encoder, files["encoder", "hf"], "hf", skip=(pattern,))
        assert {"encoder.norm.gamma", "vit.layernorm.weight"} <= set(report.skipped)
        np.testing.assert_array_equal(encoder.norm.gamma, gamma)


def test_a_pattern_that_matches_nothing_is_an_error(files):
    refused(small_encoder(), files["encoder", "timm"], "timm", "skip='heads.*' matches no name", skip=("heads.*",))


@pytest.mark.parametrize(
    "overrides, parts",
    [
        ({"hidden_dim": 24}, ("2 blocks of width 16 in the file, 2 of 24 here", "Other shapes")),
        ({"num_layers": 3}, ("2 blocks of width 16 in the file, 3 of 16 here", "blocks.2.norm1.weight")),
        ({"num_layers": 1}, ("2 blocks of width 16 in the file, 1 of 16 here", "Unexpected in the file (12)")),
        ({"mlp_dim": 32}, ("blocks.0.mlp.fc1.weight (24, 16) in the file, (32, 16) in the model",)),
        ({"patch_size": 2, "image_shape": (4, 6, 3)}, ("(16, 3, 4, 4) in the file, (16, 3, 2, 2) in the model",)),
        ({"image_shape": (8, 12, 1)}, ("(16, 3, 4, 4) in the file, (16, 1, 4, 4) in the model",)),
        ({"num_cls_tokens": 0}, ("cls_token", "(1, 7, 16) in the file, (1, 6, 16) in the model")),
    ],
)
def test_another_architecture(files, overrides, parts):
    refused(small_encoder(**overrides), files["encoder", "timm"], "timm", "nothing was loaded", *parts)


def test_another_decoder(files):
    mae = small_mae(decoder={"num_layers": 2})
    refused(mae, files["mae", "mae_torch"], "mae_torch", "decoder_blocks.1.norm1.weight")


@pytest.mark.parametrize("kind", ["encoder", "mae", "cls"])
@pytest.mark.parametrize("wrong", ["mae_torch", "timm", "hf", "keras"])
def test_the_right_format_is_suggested_and_not_taken(files, kind, wrong):
    model = {"encoder": small_encoder, "mae": small_encoder, "cls": small_classifier}[kind]()
    for (each, format), path in files.items():
        names_agree = {wrong, format} <= {"mae_torch", "timm"} and kind != "mae"
        if each == kind and wrong != format and not names_agree:
            refused(model, path, wrong, f"not in the format '{wrong}'", f"format='{format}'")


def test_an_unknown_format_is_refused_with_a_suggestion(files):
    refused(
        small_encoder(),
        files["encoder", "hf"],
        "huggingface",
        "'hf', 'mae_torch', 'timm', 'simmim_torch', 'keras'",
        "format='hf'",
    )
    with pytest.raises(ValueError, match="no format is called 'pytorch'"):
        keras_mae.save_checkpoint(small_encoder(), "never-written.safetensors", "pytorch")


def test_a_file_of_something_else_is_refused(tmp_path):
    path = published.write(tmp_path / "resnet.pth", {"layer1.0.conv1.weight": torch.ones(3)})
    refused(small_encoder(), path, "timm", "looks like none of them", "layer1.0.conv1.weight")


def test_one_tensor_under_two_names(tmp_path):
    theirs = published.hf_vit()
    tensors = {**theirs.state_dict(), **published.published_hf_names(theirs.state_dict())}
    path = published.write(tmp_path / "twice.safetensors", tensors)
    refused(published.our_classifier(theirs.config), path, "hf", "one tensor under two names")


def test_a_decoder_with_attention_has_no_place_in_simmim(tmp_path):
    path = tmp_path / "mae.safetensors"
    with pytest.raises(ValueError, match="'simmim_torch' has no place for decoder.*save its encoder"):
        keras_mae.save_checkpoint(small_mae(), path, "simmim_torch")
    assert not path.exists()
    keras_mae.save_checkpoint(small_encoder(), path, "simmim_torch")
    refused(small_mae(seed=2), path, "simmim_torch", "decoder", "skip")
