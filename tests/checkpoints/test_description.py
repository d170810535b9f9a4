"""What a file says of its model, and the encoder that it makes."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import keras_mae
from keras_mae.checkpoints import describe_checkpoint, load_encoder
from keras_mae.masking import UnitMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder, SimMIM, ViTEncoder
from tests.base import weights_of
from tests.checkpoints import published
from tests.checkpoints.small import small_classifier, small_encoder, small_mae, vit_encoder


def stripped(path, into, rename=lambda name: name):
    """A copy without metadata, as a stranger's file."""
    into.mkdir(exist_ok=True)
    save_file({rename(name): value for name, value in load_file(path).items()}, into / "model.safetensors")
    return str(into / "model.safetensors")


def arguments(encoder):
    return {name: value for name, value in encoder.get_config().items() if name not in ("name", "trainable", "dtype")}


@pytest.mark.parametrize(
    "format, ending", [("timm", "safetensors"), ("hf", "pth"), ("mae_torch", "pth"), ("keras", "keras")]
)
def test_our_files_tell_everything(format, ending, tmp_path):
    sizes = {"image_shape": (8, 12, 3), "patch_size": 4, "hidden_dim": 16, "num_layers": 1, "num_heads": 2}
    own = {} if format == "hf" else {"layer_scale": 0.1, "key_bias": False}
    other = {"mean": (0.1, 0.2, 0.3), "drop_path_rate": 0.1, "position_temperature": 50.0, "layer_norm_epsilon": 1e-4}
    encoder = vit_encoder({**sizes, **own, **other})
    path = str(tmp_path / f"file.{ending}")
    keras_mae.save_checkpoint(encoder, path, format)
    said = describe_checkpoint(path)
    assert said.encoder == arguments(encoder) and said.unknown == ()
    assert said.format == {"mae_torch": "timm"}.get(format, format) and said.method is None and not said.has_head
    other, report = load_encoder(path)
    assert arguments(other) == arguments(encoder) and any("states" in note for note in report.notes)
    for variable, same in zip(weights_of(encoder), weights_of(other), strict=True):
        np.testing.assert_array_equal(variable, same)


@pytest.mark.parametrize("format", ["mae_torch", "hf", "keras"])
def test_a_full_file_tells_its_decoder(format, tmp_path):
    mae = small_mae(image_shape=(16, 16, 3))
    path = str(tmp_path / ("file.keras" if format == "keras" else "file.safetensors"))
    keras_mae.save_checkpoint(mae, path, format)
    said = describe_checkpoint(path)
    assert (said.format, said.method, said.unknown) == (format, "mae", ())
    again = MaskedAutoencoder(ViTEncoder(**said.encoder), MAEDecoder(**said.decoder))
    keras_mae.load_checkpoint(again, path, said.format, prefix=said.prefix)
    for variable, same in zip(weights_of(mae), weights_of(again), strict=True):
        np.testing.assert_array_equal(variable, same)
    assert again.decoder.get_config() == mae.decoder.get_config()


def test_a_stranger_s_full_file(tmp_path):
    mae = small_mae(image_shape=(16, 16, 3), decoder={"hidden_dim": 512, "num_layers": 8, "num_heads": 16})
    keras_mae.save_checkpoint(mae, str(tmp_path / "a.safetensors"), "mae_torch")
    said = describe_checkpoint(stripped(tmp_path / "a.safetensors", tmp_path / "b"))
    assert said.unknown == ("num_heads",) and said.method == "mae"
    expected = {"hidden_dim": 512, "num_layers": 8, "num_heads": 16, "mlp_dim": 20, "layer_norm_epsilon": 1e-6}
    assert said.decoder == {**expected, "position_embedding": "learned"}
    small = small_mae(image_shape=(16, 16, 3))
    keras_mae.save_checkpoint(small, str(tmp_path / "a.safetensors"), "mae_torch")
    said = describe_checkpoint(stripped(tmp_path / "a.safetensors", tmp_path / "b"))
    assert said.unknown == ("num_heads", "decoder.num_heads")


def test_heads_are_told_only_where_publications_agree(tmp_path):
    tiny = {"hidden_dim": 192, "num_layers": 12, "num_heads": 3, "mlp_dim": 8, "position_embedding": "learned"}
    keras_mae.save_checkpoint(ViTEncoder((8, 8, 3), 4, **tiny), str(tmp_path / "a.safetensors"), "timm")
    path = stripped(tmp_path / "a.safetensors", tmp_path / "b")
    said = describe_checkpoint(path)
    assert said.unknown == ("num_heads",) and any("layer_norm_epsilon=1e-06" in note for note in said.notes)
    with pytest.raises(
        ValueError, match=r"give num_heads=\.\.\. \(published models of 12 blocks .* have 3 or 12 heads"
    ):
        load_encoder(path)
    assert load_encoder(path, num_heads=12)[0].num_heads == 12
    config = {"architecture": "deit_tiny_patch16_224", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    said = describe_checkpoint(path)
    assert (said.encoder["num_heads"], said.encoder["mean"], said.encoder["std"]) == (3, (0.5,) * 3, (0.25,) * 3)
    assert any("num_heads=3, as published models of 12 blocks of width 192 have" in note for note in said.notes)
    (tmp_path / "b" / "config.json").write_text(json.dumps(config | {"model_args": {"num_heads": 6}}))
    assert describe_checkpoint(path).encoder["num_heads"] == 6


def test_a_sincos_table_is_recognised_by_its_numbers(tmp_path):
    for shape, kind in (((8, 8, 3), "learned"), ((8, 8, 3), "sincos"), ((8, 24, 3), "sincos")):
        encoder = ViTEncoder(shape, 4, 16, 2, 2, position_embedding=kind)
        keras_mae.save_checkpoint(encoder, str(tmp_path / "a.safetensors"), "timm")
        said = describe_checkpoint(stripped(tmp_path / "a.safetensors", tmp_path / "b"))
        assert said.encoder["position_embedding"] == kind and said.encoder["image_shape"] == shape


@pytest.mark.parametrize("relative", ["shared", "per_block"])
@pytest.mark.parametrize("method", [None, "simmim"])
def test_a_stranger_s_relative_positions(relative, method, tmp_path):
    own = {"position_embedding": None, "relative_position_bias": relative, "layer_scale": 0.1, "num_layers": 1}
    encoder = vit_encoder({"image_shape": (16, 16, 3), "patch_size": 4, "hidden_dim": 16, "num_heads": 2, **own})
    model = SimMIM(encoder, UnitMasking(unit=8)) if method else encoder
    keras_mae.save_checkpoint(model, str(tmp_path / "a.safetensors"), "simmim_torch")
    said = describe_checkpoint(stripped(tmp_path / "a.safetensors", tmp_path / "b"))
    expected = {**own, "layer_scale": 1.0, "image_shape": (16, 16, 3), "num_heads": 2, "num_cls_tokens": 1}
    assert {name: said.encoder[name] for name in expected} == expected
    assert (said.format, said.method, said.unknown) == ("simmim_torch", method, ())


def test_a_learned_table_of_no_square_grid_leaves_the_size_open(tmp_path):
    encoder = small_encoder(position_embedding="learned")  # 2 x 3
    keras_mae.save_checkpoint(encoder, str(tmp_path / "a.safetensors"), "timm")
    path = stripped(tmp_path / "a.safetensors", tmp_path / "b")
    said = describe_checkpoint(path, encoder={"num_heads": 2})
    assert said.unknown == ("image_shape",) and said.encoder["position_embedding"] == "learned"
    with pytest.raises(ValueError, match="does not tell image_shape of its model: give image_shape="):
        load_encoder(path, num_heads=2)


def test_a_guessed_square_is_never_resized_to_a_grid_of_as_many_patches(tmp_path):
    wide = small_encoder((8, 32, 3), position_embedding="learned")  # 2 x 8
    keras_mae.save_checkpoint(wide, str(tmp_path / "a.safetensors"), "timm")
    path = stripped(tmp_path / "a.safetensors", tmp_path / "b")
    with pytest.raises(ValueError, match=r"16 positions, .*\(8, 32, 3\): .*'timm', resize_positions=\(4, 4\)\), or"):
        load_encoder(path, num_heads=2, image_shape=(8, 32, 3))
    same = small_encoder((8, 32, 3), position_embedding="learned", seed=2)
    keras_mae.load_checkpoint(same, path, "timm", resize_positions=(2, 8))  # the way that it names
    np.testing.assert_array_equal(same.positions.table, wide.positions.table)
    assert load_encoder(path, num_heads=2, image_shape=(24, 8, 3))[1].resized == ("encoder.positions.table",)
    keras_mae.save_checkpoint(wide, str(tmp_path / "a.safetensors"), "hf")  # its config says another size, or nonsense
    path = stripped(tmp_path / "a.safetensors", tmp_path / "b")
    for wrong in ({"image_size": 64, "patch_size": 4}, {"image_size": 16, "patch_size": 0}):
        config = json.loads((tmp_path / "config.json").read_text()) | wrong
        (tmp_path / "b" / "config.json").write_text(json.dumps(config))
        assert describe_checkpoint(path).encoder["image_shape"] == (16, 16, 3)
        keras_mae.load_checkpoint(same, path, "hf", resize_positions=(2, 8))
        np.testing.assert_array_equal(same.positions.table, wide.positions.table)


def test_another_size_and_other_channels(tmp_path):
    encoder = small_encoder((16, 16, 3), position_embedding="learned", mean=(0.1, 0.2, 0.3))
    keras_mae.save_checkpoint(encoder, str(tmp_path / "a.safetensors"), "timm")
    larger, report = load_encoder(str(tmp_path / "a.safetensors"), image_shape=(24, 8, 3))
    assert larger.grid == (6, 2) and report.resized == ("encoder.positions.table",)
    assert larger.normalize_pixels.mean == (0.1, 0.2, 0.3)
    with pytest.raises(ValueError, match="channels_from='mean'"):
        load_encoder(str(tmp_path / "a.safetensors"), image_shape=(16, 16, 1))
    gray, report = load_encoder(str(tmp_path / "a.safetensors"), image_shape=(16, 16, 1), channels_from="mean")
    assert report.resized == ("encoder.patch_projection.kernel",) and gray.normalize_pixels.mean == (0.5,)
    summary = json.loads(json.dumps(report.summary()))
    assert summary["resized"] == ["encoder.patch_projection.kernel"] and summary["fresh"] == []


def test_formats_that_look_alike_and_files_of_nothing(tmp_path):
    save_file({"layer1.0.conv1.weight": np.ones((3, 3), "float32")}, tmp_path / "resnet.safetensors")
    with pytest.raises(ValueError, match="looks like none of them"):
        describe_checkpoint(str(tmp_path / "resnet.safetensors"))
    with pytest.raises(ValueError, match="there is no checkpoint file"):
        describe_checkpoint(str(tmp_path / "none.safetensors"))
    with pytest.raises(ValueError, match="format is one of 'hf', .*got 'huggingface'"):
        describe_checkpoint(str(tmp_path / "resnet.safetensors"), "huggingface")
    both = {}
    for format in ("timm", "hf"):
        keras_mae.save_checkpoint(small_encoder(), str(tmp_path / "a.safetensors"), format)
        both |= {f"{format}.{name}": value for name, value in load_file(tmp_path / "a.safetensors").items()}
    save_file(both, tmp_path / "both.safetensors")
    with pytest.raises(ValueError, match="several formats, by its names: choose format='hf' or format='timm'"):
        describe_checkpoint(str(tmp_path / "both.safetensors"))
    assert describe_checkpoint(str(tmp_path / "both.safetensors"), "hf").prefix == "hf."


def test_a_classifier_and_a_config_of_another_file(tmp_path):
    keras_mae.save_checkpoint(small_classifier(image_shape=(16, 16, 3)), str(tmp_path / "a.safetensors"), "hf")
    assert describe_checkpoint(str(tmp_path / "a.safetensors")).has_head
    config = json.loads((tmp_path / "config.json").read_text()) | {"hidden_size": 32, "num_attention_heads": 8}
    (tmp_path / "c").mkdir()
    path = stripped(tmp_path / "a.safetensors", tmp_path / "c")
    (tmp_path / "c" / "config.json").write_text(json.dumps(config))
    assert describe_checkpoint(path).unknown == ("num_heads",)


@pytest.mark.parametrize(
    "metadata, message",
    [
        ({"hidden_dim": 32}, "its metadata state another hidden_dim than its tensors have"),
        ({"num_heads": "x"}, "num_heads is a positive integer, got 'x'"),
        ({"num_heads": 2, "drop_path_rate": "x"}, "does not make a ViTEncoder"),
        ([1, 2], "does not tell image_shape and num_heads of its model"),
    ],
)
def test_metadata_of_others_may_hold_anything(metadata, message, tmp_path):
    path = str(tmp_path / "a.safetensors")
    keras_mae.save_checkpoint(small_encoder(position_embedding="learned"), path, "timm")
    save_file(load_file(path), path, {"keras_mae.encoder": json.dumps(metadata)})
    with pytest.raises(ValueError, match=message):
        load_encoder(path, **({"image_shape": (8, 12, 3)} if isinstance(metadata, dict) else {}))


def test_a_saved_model_has_no_prefix(tmp_path):
    keras_mae.save_checkpoint(small_encoder(), str(tmp_path / "a.keras"), "keras")
    with pytest.raises(ValueError, match="is one saved model, whose names have no prefix; got prefix='x'"):
        load_encoder(str(tmp_path / "a.keras"), prefix="x")


def test_the_names_of_dinov2_itself(tmp_path):
    encoder = small_encoder((16, 16, 3), position_embedding="learned", layer_scale=1.0, gated_mlp=True)
    keras_mae.save_checkpoint(encoder, str(tmp_path / "a.safetensors"), "timm")

    def theirs(name):
        return name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3")

    path = stripped(tmp_path / "a.safetensors", tmp_path / "b", theirs)
    registers, token = np.ones((1, 4, 16), "float32"), np.ones((1, 16), "float32")
    save_file(load_file(path) | {"register_tokens": registers, "mask_token": token}, path)
    other, report = load_encoder(path, num_heads=2)
    assert (other.num_registers, other.num_prefix_positions, other.gated_mlp) == (4, 1, True)
    assert report.dropped == ("mask_token",)
    np.testing.assert_array_equal(other.blocks[1].mlp_hidden.kernel, encoder.blocks[1].mlp_hidden.kernel)


@pytest.mark.parametrize("own", [{"layer_scale": 1.0}, {"layer_scale": 1.0, "num_registers": 2}, {"num_cls_tokens": 8}])
def test_no_config_where_their_class_resizes_positions_as_a_square(own, tmp_path):
    positions = {"position_embedding": "learned", "num_prefix_positions": own.get("num_cls_tokens", 1)}
    for shape, has in (((8, 12, 3), False), ((16, 16, 3), True)):
        encoder = small_encoder(shape, mlp_dim=32, **own, **positions)
        keras_mae.save_checkpoint(encoder, str(tmp_path / f"{has}" / "a.safetensors"), "hf")
        assert (tmp_path / f"{has}" / "config.json").exists() is has


def test_empty_tensors_are_nothing(tmp_path):
    arguments = {"position_embedding": None, "rotary_temperature": 100.0, "layer_scale": 1.0}
    keras_mae.save_checkpoint(small_encoder((16, 16, 3), **arguments), str(tmp_path / "a.safetensors"), "hf")
    encoder, report = load_encoder(str(tmp_path / "a.safetensors"))
    assert encoder.num_registers == 0 and "embeddings.register_tokens" in report.dropped


@pytest.mark.medium
def test_masked_image_modeling_of_hugging_face(tmp_path):
    import transformers

    from tests.reference.torch_weights import randomize

    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    config = transformers.ViTConfig(image_size=16, patch_size=4, encoder_stride=4, **sizes)
    theirs = randomize(transformers.ViTForMaskedImageModeling(config))
    theirs.save_pretrained(tmp_path)
    path = str(tmp_path / "model.safetensors")
    said = describe_checkpoint(path)
    assert (said.method, said.unknown, said.decoder) == ("simmim", (), None)
    simmim = SimMIM(ViTEncoder(**said.encoder), UnitMasking(unit=8))
    report = keras_mae.load_checkpoint(simmim, path, "hf")
    assert len(report.tensors) == len(simmim.weights) and not report.dropped
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype("uint8")
    mask = np.zeros((2, 16), "int32")
    mask[:, ::2] = 1
    pixels = published.pixels_for(simmim.encoder, images)
    with torch.no_grad():
        image = theirs(pixels, bool_masked_pos=torch.tensor(mask).bool()).reconstruction.numpy()
    patches = image.reshape(2, 3, 4, 4, 4, 4).transpose(0, 2, 4, 3, 5, 1).reshape(2, 16, 48)
    np.testing.assert_allclose(simmim({"images": images, "mask": mask})["prediction"], patches, atol=1e-5, rtol=1e-5)
    keras_mae.save_checkpoint(simmim, str(tmp_path / "ours" / "model.safetensors"), "hf")
    written, tensors = load_file(tmp_path / "ours" / "model.safetensors"), load_file(path)
    assert set(written) == set(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(written[name], value)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["encoder_stride"] == 4
    again = transformers.ViTForMaskedImageModeling.from_pretrained(tmp_path / "ours")
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), theirs.state_dict().values(), strict=True)
    )
