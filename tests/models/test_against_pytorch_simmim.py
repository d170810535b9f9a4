"""SimMIM's forward pass, loss and gradients against a PyTorch reference, and its checkpoints' names and layouts."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from keras_mae import load_checkpoint, save_checkpoint
from keras_mae.checkpoints import convert_checkpoint
from keras_mae.checkpoints.checkpoint_format import slots_of
from keras_mae.example_seed import ExampleSeed
from keras_mae.masking import UnitMasking
from keras_mae.models import ImageClassifier, SimMIM, ViTEncoder
from tests.base import random_images
from tests.reference.torch_simmim import Encoder, TorchSimMIM
from tests.reference.torch_weights import randomize

IMAGES = random_images(3, (16, 24, 3))
SIZES = {"depth": 2, "heads": 2, "mlp_dim": 24}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FORMS = {
    "published": {"relative": "shared", "layer_scale": True, "absolute": False},
    "plain": {"relative": None, "layer_scale": False, "absolute": True},
}
GRID = (4, 6)  # which files of SimMIM's do not say
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}  # float32


def encoder_like(relative, layer_scale, absolute):
    return ViTEncoder(
        (16, 24, 3),
        4,
        hidden_dim=16,
        num_layers=2,
        num_heads=2,
        mlp_dim=24,
        position_embedding="learned" if absolute else None,
        relative_position_bias=relative,
        layer_scale=0.1 if layer_scale else None,
    )


def as_seen(images):
    """Images as a PyTorch network takes them: normalised, channels first."""
    return torch.from_numpy(((images / 255.0 - MEAN) / STD).astype("float32")).permute(0, 3, 1, 2)


def unit_mask(seed=5):
    """Masks of the 4 x 6 patches in units of 2 x 2, three of six masked."""
    rng = np.random.default_rng(seed)
    units = np.stack([rng.permutation([1, 1, 1, 0, 0, 0]).reshape(2, 3) for _ in IMAGES])
    return units.repeat(2, axis=1).repeat(2, axis=2).astype("float32")


def saved(model, path):
    torch.save({"model": model.state_dict(), "epoch": 799}, path)
    return path


@pytest.fixture(params=FORMS)
def pair(request, tmp_path):
    """The reference, and our model with its weights."""
    form = FORMS[request.param]
    theirs = randomize(TorchSimMIM(grid=(4, 6), **SIZES, **form))
    ours = SimMIM(encoder_like(**form), UnitMasking(unit=8, mask_ratio=0.5))
    load_checkpoint(ours, saved(theirs, tmp_path / "file.pth"), "simmim_torch", resize_positions=GRID)
    return theirs, ours


def test_forward_loss_and_gradients(pair):
    theirs, ours = pair
    mask = unit_mask()
    loss, images = theirs(as_seen(IMAGES), torch.from_numpy(mask))
    loss.backward()

    inputs = {"images": IMAGES, "mask": mask.reshape(3, 24)}
    expected = ours.encoder.patchify(images.detach().permute(0, 2, 3, 1).numpy())
    np.testing.assert_allclose(ours(inputs)["prediction"], expected, **TOLERANCE)
    variables = ours.trainable_variables
    with tf.GradientTape() as tape:
        ours_loss = ours.batch_loss(inputs, ExampleSeed.of(0, 0), training=True)
    np.testing.assert_allclose(ours_loss, loss.item(), **TOLERANCE)

    gradients = {id(v): tf.convert_to_tensor(g).numpy() for v, g in zip(variables, tape.gradient(ours_loss, variables))}
    named = dict(theirs.named_parameters())
    seen = set()
    for slot in slots_of(ours):
        gradient = gradients[id(slot.variable)]
        for name, piece in of_their_names(slot, gradient):
            np.testing.assert_allclose(piece, named[name].grad.numpy(), **TOLERANCE, err_msg=name)
            seen.add(name)
    assert seen == set(named)


def of_their_names(slot, gradient):
    """A gradient by the reference's names, in its layout."""
    path = slot.name.replace("attention.projection", "attn.proj").replace("attention.qkv", "attn.qkv")
    path = path.replace("mlp_hidden", "mlp.fc1").replace("mlp_output", "mlp.fc2").replace(".kernel", ".weight")
    path = path.replace("attention_scale.gamma", "gamma_1").replace("mlp_scale.gamma", "gamma_2")
    path = (
        re.sub(r"\.gamma$", ".weight", path).replace(".beta", ".bias").replace("patch_projection", "patch_embed.proj")
    )
    path = path.replace("decoder.projection", "decoder.0").replace("positions.table", "pos_embed")
    path = "encoder.mask_token" if path == "mask_token" else path
    if "relative_positions" in slot.name:
        return [("encoder.rel_pos_bias.relative_position_bias_table", gradient)]
    if path.endswith("attn.qkv.bias"):
        query, key, value = np.split(gradient, 3)
        np.testing.assert_allclose(key, 0, atol=1e-6)  # softmax does not see it
        module = path.removesuffix("qkv.bias")
        return [(f"{module}q_bias", query), (f"{module}v_bias", value)]
    return [(path, slot.layout.to_file(gradient))]


def test_a_file_that_is_saved_is_the_file_that_was_loaded(pair, tmp_path):
    theirs, ours = pair
    save_checkpoint(ours, tmp_path / "again.pth", "simmim_torch")
    found = torch.load(tmp_path / "again.pth", weights_only=True)["model"]
    expected = dict(theirs.named_parameters())
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name].numpy(), tensor.detach().numpy(), err_msg=name)


def test_an_encoder_takes_its_part_of_a_pretrained_file(tmp_path):
    theirs = randomize(TorchSimMIM(grid=(4, 6), **SIZES, **FORMS["published"]))
    path = saved(theirs, tmp_path / "file.pth")
    ours = encoder_like(**FORMS["published"])
    report = load_checkpoint(ours, path, "simmim_torch", resize_positions=GRID)
    assert {"encoder.mask_token", "decoder.0.weight", "decoder.0.bias"} <= set(report.dropped)
    expected = theirs.encoder(as_seen(IMAGES)).flatten(2).transpose(1, 2).detach()
    np.testing.assert_allclose(ours(IMAGES)["patch_tokens"], expected, **TOLERANCE)

    without_prefix = {
        name.removeprefix("encoder."): v for name, v in theirs.state_dict().items() if "decoder" not in name
    }
    torch.save(without_prefix, tmp_path / "encoder.pth")
    other = encoder_like(**FORMS["published"])
    load_checkpoint(other, tmp_path / "encoder.pth", "simmim_torch", resize_positions=GRID)
    for ours_weight, other_weight in zip(ours.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours_weight, other_weight)

    per_block = ours.with_relative_position_bias("per_block")
    save_checkpoint(per_block, tmp_path / "per_block.pth", "simmim_torch")
    names = torch.load(tmp_path / "per_block.pth", weights_only=True)["model"]
    assert "blocks.1.attn.relative_position_bias_table" in names and "rel_pos_bias" not in "".join(names)


def test_a_fine_tuned_file(tmp_path):
    theirs = randomize(
        Encoder((4, 6), 4, 16, **SIZES, relative="per_block", layer_scale=True, absolute=False, num_classes=5)
    )
    ours = ImageClassifier(encoder_like("per_block", True, False), num_classes=5)
    report = load_checkpoint(ours, saved(theirs, tmp_path / "file.pth"), "simmim_torch", resize_positions=GRID)
    assert not report.skipped and "blocks.0.attn.relative_position_index" in report.dropped
    np.testing.assert_allclose(ours(IMAGES), theirs(as_seen(IMAGES)).detach(), **TOLERANCE)
    save_checkpoint(ours, tmp_path / "again.safetensors", "simmim_torch")
    other = ImageClassifier(encoder_like("per_block", True, False), num_classes=5)
    load_checkpoint(other, tmp_path / "again.safetensors", "simmim_torch")
    np.testing.assert_array_equal(other(IMAGES), ours(IMAGES))


def test_files_that_do_not_fit(tmp_path):
    theirs = randomize(TorchSimMIM(grid=(4, 6), **SIZES, **FORMS["published"]))
    path = saved(theirs, tmp_path / "file.pth")
    with pytest.raises(
        ValueError, match="is 'shared', and the model's 'per_block': .* then take encoder.with_relative"
    ):
        load_checkpoint(encoder_like("per_block", True, False), path, "simmim_torch")
    with pytest.raises(ValueError, match="is 'shared', and the model's None: build the model with"):
        load_checkpoint(encoder_like(None, True, True), path, "simmim_torch")
    with pytest.raises(ValueError, match=r"Unexpected in the file \(4\): .*gamma_1"):
        load_checkpoint(encoder_like("shared", False, False), path, "simmim_torch")
    with pytest.raises(ValueError, match="is not in the format 'mae_torch'. .* looks like format='simmim_torch'"):
        load_checkpoint(encoder_like("shared", True, False), path, "mae_torch")
    simmim = SimMIM(encoder_like("shared", True, False), UnitMasking(unit=8))
    for format in ("mae_torch", "timm", "hf"):
        with pytest.raises(ValueError, match=f"format '{format}' (has no place for encoder|.*relative_position)"):
            save_checkpoint(simmim, tmp_path / "no.pth", format)
    plain = SimMIM(encoder_like(None, False, True), UnitMasking(unit=8))
    with pytest.raises(ValueError, match="format 'mae_torch' has no place for mask_token"):
        save_checkpoint(plain, tmp_path / "no.pth", "mae_torch")


def test_a_pretrained_file_is_converted(tmp_path):
    theirs = randomize(TorchSimMIM(patch=16, grid=(4, 4), depth=1, heads=2, mlp_dim=64, **FORMS["published"]))
    path = saved(theirs, tmp_path / "file.pth")
    sizes = {"image_shape": (64, 64, 3), "hidden_dim": 16, "num_layers": 1, "num_heads": 2}
    output = str(tmp_path / "model.keras")
    convert_checkpoint(str(path), "simmim_torch", output, "keras", preset="simmim_vit_base_patch16", **sizes)
    images, mask = random_images(2, (64, 64, 3)), np.array([[1, 0] * 8, [0, 1] * 8], "float32")
    expected, _ = theirs(as_seen(images), torch.from_numpy(mask.reshape(2, 4, 4)))
    model = keras.saving.load_model(output)
    loss = model.masked_loss(*masked(model, images, mask))
    np.testing.assert_allclose(loss, expected.item(), **TOLERANCE)


def masked(model, images, mask):
    """Target and prediction of the masked patches."""
    hidden = mask > 0
    prediction = model({"images": images, "mask": mask})["prediction"].numpy()[hidden]
    return tf.constant(model.target(images).numpy()[hidden][None]), tf.constant(prediction[None])


def test_our_own_files_fill_an_encoder(tmp_path):
    simmim = SimMIM(encoder_like("shared", True, False), UnitMasking(unit=8))
    simmim.save(tmp_path / "model.keras")
    encoder = encoder_like("shared", True, False)
    report = load_checkpoint(encoder, tmp_path / "model.keras", "keras")
    assert set(report.dropped) == {"mask_token", "decoder.projection.kernel", "decoder.projection.bias"}
    np.testing.assert_array_equal(
        *(keras.ops.convert_to_numpy(each.patch_projection.kernel) for each in (encoder, simmim.encoder))
    )
