"""Features, predictions, losses and logits of loaded files, against the libraries that the files come from."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from safetensors.torch import load_file

import keras_mae
from keras_mae.example_seed import ExampleSeed
from keras_mae.models import ImageClassifier, ViTEncoder
from tests.base import random_images, random_noise
from tests.checkpoints import published, timm_vit

# float32 on both sides, sums in another order; the values compared are of order 1
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}

SHAPES = {
    "small": {},
    "one channel": {"channels": 1},
    "epsilon 1e-12": {"epsilon": 1e-12},
    "base": {"sizes": published.BASE, "image_size": 48, "patch_size": 16},
    "huge": {"sizes": published.HUGE, "image_size": 42, "patch_size": 14},
}


def memory_names(model, path):
    """The names that transformers 5 has in memory."""
    return published.write(path / "memory.safetensors", model.state_dict())


def saved_names(model, path):
    """A file written by transformers itself."""
    model.save_pretrained(path)
    return str(path / "model.safetensors")


def hub_names(model, path):
    """The names of files on the hub, as a PyTorch file."""
    return published.write(path / "pytorch_model.bin", published.published_hf_names(model.state_dict()))


def official_names(model, path):
    """The names of the official code, wrapped as it does."""
    return published.write(path / "official.pth", published.official_names(model), wrapper="model")


def timm_names(model, path):
    """timm's names."""
    return published.write(path / "model.safetensors", published.official_names(model))


def in_each_shape(slow):
    """Cases of files of transformers; the wide shapes take seconds, and each of two tests has the other one."""
    return [pytest.param(saved_names, "hf", shape, marks=pytest.mark.slow if shape == slow else ()) for shape in SHAPES]


def outputs_of_mae(theirs, images, noise, encoder, **options):
    """Their encoder's features of all patches, and predictions and loss with the given noise."""
    pixels = published.pixels_for(encoder, images)
    everything = torch.arange(noise.shape[1], dtype=torch.float32).expand(len(images), -1)  # visible, and in order
    with torch.no_grad():
        theirs.vit.config.mask_ratio = 0.0
        features = theirs.vit(pixels, noise=everything, **options).last_hidden_state
        theirs.vit.config.mask_ratio = published.MASK_RATIO
        outputs = theirs(pixels, noise=torch.tensor(noise), **options)
    return features.numpy(), outputs.logits.numpy(), outputs.loss.item()


def check_mae(mae, images, noise, features, prediction, loss):
    ours = mae.encoder(images)
    np.testing.assert_allclose(ours["cls_token"], features[:, 0], **TOLERANCE)
    np.testing.assert_allclose(ours["patch_tokens"], features[:, 1:], **TOLERANCE)
    inputs = {"images": images, "noise": noise}
    np.testing.assert_allclose(mae(inputs)["prediction"], prediction, **TOLERANCE)
    np.testing.assert_allclose(mae.batch_loss(inputs, ExampleSeed.of(0, 0), training=False), loss, rtol=1e-5)


@pytest.mark.medium
@pytest.mark.parametrize(
    "names, format, shape",
    [
        *in_each_shape(slow="base"),
        (memory_names, "hf", "small"),
        (hub_names, "hf", "small"),
        (official_names, "mae_torch", "small"),
        (official_names, "mae_torch", "one channel"),
    ],
)
def test_mae(names, format, shape, tmp_path):
    theirs = published.hf_mae(**SHAPES[shape])
    mae = published.our_mae(theirs.config)
    images, noise = random_images(2, mae.encoder.image_shape), random_noise(2, mae.encoder.num_patches)
    report = keras_mae.load_checkpoint(mae, names(theirs, tmp_path), format)
    assert len(report.tensors) == len(mae.weights) and not report.dropped and not report.encoder_only
    check_mae(mae, images, noise, *outputs_of_mae(theirs, images, noise, mae.encoder))


@pytest.mark.medium
def test_mae_on_non_square_images(tmp_path):
    theirs = published.hf_mae()
    mae = published.our_mae(theirs.config, image_shape=(8, 32, 3))
    images, noise = random_images(2, (8, 32, 3)), random_noise(2, 16)
    report = keras_mae.load_checkpoint(mae, saved_names(theirs, tmp_path), "hf", resize_positions=True)
    assert sum("from a grid of 4 x 4 to 2 x 8" in note for note in report.notes) == 2
    # ViTMAE resizes its decoder's table as one row of patches, and so not at all where their number stays the same.
    mae.decoder.positions.table.assign(theirs.decoder.decoder_pos_embed[0].detach().numpy())
    expected = outputs_of_mae(theirs, images, noise, mae.encoder, interpolate_pos_encoding=True)
    check_mae(mae, images, noise, *expected)


@pytest.mark.medium
@pytest.mark.parametrize(
    "names, format, shape",
    [
        *in_each_shape(slow="huge"),
        (memory_names, "hf", "small"),
        (hub_names, "hf", "small"),
        (official_names, "mae_torch", "small"),
        (timm_names, "timm", "small"),
        (saved_names, "hf", "non-square"),
        (timm_names, "timm", "non-square"),
    ],
)
def test_classifier_on_the_class_token(names, format, shape, tmp_path):
    theirs = published.hf_vit(**({**SHAPES, "non-square": {"image_size": (8, 16)}}[shape]))
    classifier = published.our_classifier(theirs.config)
    images = random_images(2, classifier.encoder.image_shape)
    grid = (2, 4) if (format, shape) == ("timm", "non-square") else False  # Hugging Face's config.json says it
    keras_mae.load_checkpoint(classifier, names(theirs, tmp_path), format, resize_positions=grid)
    with torch.no_grad():
        logits = theirs(published.pixels_for(classifier.encoder, images)).logits
    np.testing.assert_allclose(classifier(images), logits, **TOLERANCE)


def average_pooled(theirs, images, encoder):
    """Logits as the official code and timm compute them with average pooling, on Hugging Face's blocks."""
    with torch.no_grad():
        hidden = theirs.vit(published.pixels_for(encoder, images), output_hidden_states=True).hidden_states[-1]
        return theirs.classifier(theirs.vit.layernorm(hidden[:, 1:].mean(dim=1))).numpy()


@pytest.mark.parametrize("format, wrapper", [("mae_torch", "model"), ("timm", None)])
def test_classifier_with_average_pooling(format, wrapper, tmp_path):
    theirs = published.hf_vit()
    tensors = published.official_names(theirs)
    tensors |= {f"fc_norm.{leaf}": tensors.pop(f"norm.{leaf}") for leaf in ("weight", "bias")}
    path = published.write(tmp_path / "finetuned.pth", tensors, wrapper)
    classifier = published.our_classifier(theirs.config, pooling="mean")
    keras_mae.load_checkpoint(classifier, path, format)
    images = random_images(2, classifier.encoder.image_shape)
    np.testing.assert_allclose(classifier(images), average_pooled(theirs, images, classifier.encoder), **TOLERANCE)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_linear_probe(pooling, tmp_path):
    theirs = published.hf_vit()
    norm = torch.nn.BatchNorm1d(24, affine=False, eps=1e-6).eval()
    norm.running_mean, norm.running_var = torch.randn(24), 1 + torch.rand(24)
    head = torch.nn.Sequential(norm, theirs.classifier)
    tensors = {k: v for k, v in published.official_names(theirs).items() if not k.startswith("head.")}
    tensors |= {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    probe = published.our_classifier(theirs.config, pooling=pooling, num_trainable_layers=0)
    report = keras_mae.load_checkpoint(probe, published.write(tmp_path / "probe.pth", tensors, "model"), "mae_torch")
    assert report.dropped == ("head.0.num_batches_tracked",)
    images = random_images(2, probe.encoder.image_shape)
    with torch.no_grad():
        tokens = theirs.vit(published.pixels_for(probe.encoder, images)).last_hidden_state
        logits = head(tokens[:, 0] if pooling == "cls" else tokens[:, 1:].mean(dim=1))
    np.testing.assert_allclose(probe(images), logits, **TOLERANCE)


@pytest.mark.parametrize("image_size", [(16, 16), (8, 16)])
@pytest.mark.parametrize(("pool", "class_token"), [("token", True), ("avg", True), ("avg", False)])
def test_timm(pool, class_token, image_size, tmp_path):
    tensors = timm_vit.random_tensors(image_size, pool, class_token)
    sizes = (timm_vit.WIDTH, timm_vit.DEPTH, timm_vit.HEADS, timm_vit.MLP)
    encoder = ViTEncoder(
        (*image_size, 3), timm_vit.PATCH, *sizes, num_cls_tokens=int(class_token), position_embedding="learned"
    )
    classifier = ImageClassifier(encoder, timm_vit.CLASSES, "cls" if pool == "token" else "mean")
    path = published.write(tmp_path / "model.safetensors", tensors)
    keras_mae.load_checkpoint(classifier, path, "timm", resize_positions=encoder.grid)  # no file of theirs says it
    images = random_images(2, encoder.image_shape)
    logits = timm_vit.logits(tensors, published.pixels_for(encoder, images))
    np.testing.assert_allclose(classifier(images), logits, **TOLERANCE)

    keras_mae.save_checkpoint(classifier, str(tmp_path / "ours.safetensors"), "timm")
    written = load_file(tmp_path / "ours.safetensors")
    assert set(written) == set(tensors)
    assert all(torch.equal(written[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_other_dtypes_are_cast(dtype, ending, tmp_path):
    theirs = published.hf_vit()
    tensors = {name: tensor.to(dtype) for name, tensor in theirs.state_dict().items()}
    classifier = published.our_classifier(theirs.config)
    keras_mae.load_checkpoint(classifier, published.write(tmp_path / f"half.{ending}", tensors), "hf")
    kernel = tensors["vit.layers.1.mlp.fc1.weight"].float().numpy().T
    np.testing.assert_array_equal(classifier.encoder.blocks[1].mlp_hidden.kernel, kernel)
    assert all(keras.backend.standardize_dtype(variable.dtype) == "float32" for variable in classifier.weights)
    assert np.isfinite(tf.reduce_sum(classifier(random_images(1, (16, 16, 3)))))
