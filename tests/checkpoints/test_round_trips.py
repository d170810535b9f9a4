"""What is written is read back to the bit, here and in the libraries that the formats come from."""

import json

import keras
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

import keras_mae
from keras_mae.checkpoints.checkpoint_format import slots_of
from keras_mae.models import MAEDecoder, MaskedAutoencoder
from tests.base import fill_randomly, random_images, weights_of
from tests.checkpoints import published
from tests.checkpoints.small import small_classifier, small_encoder, small_mae

MODELS = {
    "encoder": small_encoder,
    "encoder without a class token": lambda: small_encoder(num_cls_tokens=0),
    "encoder, learned positions": lambda: small_encoder(position_embedding="learned"),
    "mae": small_mae,
    "classifier, class token": small_classifier,
    "classifier, mean": lambda: small_classifier("mean"),
    "probe": lambda: small_classifier("mean", num_trainable_layers=0),
}
OFFICIAL_AND_OURS = ("mae_torch", "keras")
FORMATS = {
    "encoder": (*OFFICIAL_AND_OURS, "timm", "hf"),
    "encoder without a class token": (*OFFICIAL_AND_OURS, "timm"),
    "encoder, learned positions": ("hf",),
    "mae": (*OFFICIAL_AND_OURS, "hf"),
    "classifier, class token": (*OFFICIAL_AND_OURS, "timm", "hf"),
    "classifier, mean": (*OFFICIAL_AND_OURS, "timm"),
    "probe": OFFICIAL_AND_OURS,
}
CASES = [  # not slow: each kind and format in one container, and all containers of one kind
    pytest.param(
        kind, format, ending, marks=pytest.mark.slow if ending == "pth" and kind != "classifier, class token" else ()
    )
    for kind, formats in FORMATS.items()
    for format in formats
    for ending in (["keras"] if format == "keras" else ["safetensors", "pth"])
]


@pytest.mark.parametrize("kind, format, ending", CASES)
def test_ours_and_back(kind, format, ending, tmp_path):
    path = str(tmp_path / f"file.{ending}")
    model = fill_randomly(MODELS[kind](), seed=2)
    saved = keras_mae.save_checkpoint(model, path, format)
    other = MODELS[kind]()
    loaded = keras_mae.load_checkpoint(other, path, format)
    for variable, again in zip(weights_of(model), weights_of(other), strict=True):
        np.testing.assert_array_equal(variable, again)
    assert saved.tensors == loaded.tensors and not loaded.dropped and not loaded.skipped
    assert loaded.encoder_only == kind.startswith("encoder")
    assert not [name.name for name in tmp_path.iterdir() if "unfinished" in name.name]


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_half_precision_variables_keep_their_bits(ending, tmp_path):
    policy = keras.dtype_policies.DTypePolicy("bfloat16")
    encoder = small_encoder(dtype=policy)
    keras_mae.save_checkpoint(encoder, str(tmp_path / f"half.{ending}"), "timm")
    other = small_encoder(dtype=policy, seed=3)
    keras_mae.load_checkpoint(other, str(tmp_path / f"half.{ending}"), "timm")
    for variable, again in zip(weights_of(encoder), weights_of(other), strict=True):
        np.testing.assert_array_equal(variable, again)


@pytest.mark.medium
@pytest.mark.parametrize("format", ["mae_torch", "hf"])
def test_theirs_and_back(format, tmp_path):
    theirs = published.hf_mae()
    tensors = theirs.state_dict()
    names = published.official_names(theirs) if format == "mae_torch" else published.published_hf_names(tensors)
    mae = published.our_mae(theirs.config)
    keras_mae.load_checkpoint(mae, published.write(tmp_path / "a.safetensors", names), format)
    keras_mae.save_checkpoint(mae, str(tmp_path / "b.safetensors"), format)
    written = load_file(tmp_path / "b.safetensors")
    assert set(written) == set(names)
    for name, tensor in names.items():
        np.testing.assert_array_equal(written[name], tensor.numpy(), err_msg=name)


def hugging_face_reads(folder, kind, **options):
    model, info = kind.from_pretrained(folder, output_loading_info=True, **options)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()


@pytest.mark.medium
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_hugging_face_takes_a_mae(file, tmp_path):
    theirs = published.hf_mae(normalize=True)
    mae = fill_randomly(published.our_mae(theirs.config))
    keras_mae.save_checkpoint(mae, str(tmp_path / file), "hf")
    read = hugging_face_reads(tmp_path, transformers.ViTMAEForPreTraining)
    assert read.config.norm_pix_loss and read.config.mask_ratio == published.MASK_RATIO
    again = published.our_mae(theirs.config)
    keras_mae.load_checkpoint(again, published.write(tmp_path / "again.safetensors", read.state_dict()), "hf")
    for variable, other in zip(weights_of(mae), weights_of(again), strict=True):
        np.testing.assert_array_equal(variable, other)


@pytest.mark.medium
def test_hugging_face_takes_an_encoder_and_a_classifier(tmp_path):
    config = published.hf_vit().config
    ours = fill_randomly(published.our_classifier(config))
    images = random_images(2, (16, 16, 3))
    pixels = published.pixels_for(ours.encoder, images)
    keras_mae.save_checkpoint(ours, str(tmp_path / "classifier" / "model.safetensors"), "hf")
    keras_mae.save_checkpoint(ours.encoder, str(tmp_path / "encoder" / "model.safetensors"), "hf")
    with torch.no_grad():
        read = hugging_face_reads(tmp_path / "classifier", transformers.ViTForImageClassification)
        np.testing.assert_allclose(ours(images), read(pixels).logits, atol=1e-5)
        encoder = transformers.ViTModel.from_pretrained(tmp_path / "encoder", add_pooling_layer=False).eval()
        np.testing.assert_allclose(
            ours.encoder(images)["patch_tokens"], encoder(pixels).last_hidden_state[:, 1:], atol=1e-5
        )


def test_no_config_is_written_for_what_hugging_face_cannot_hold(tmp_path):
    report = keras_mae.save_checkpoint(small_mae(), str(tmp_path / "model.safetensors"), "hf")  # images of 8 x 12
    assert not (tmp_path / "config.json").exists() and "no config.json" in str(report)
    keras_mae.save_checkpoint(small_encoder(), str(tmp_path / "model.safetensors"), "hf")
    assert json.loads((tmp_path / "config.json").read_text())["image_size"] == [8, 12]


def test_the_official_file_is_wrapped_and_timms_is_not(tmp_path):
    encoder = small_encoder()
    keras_mae.save_checkpoint(encoder, str(tmp_path / "a.pth"), "mae_torch")
    keras_mae.save_checkpoint(encoder, str(tmp_path / "b.pth"), "timm")
    official, timm = (torch.load(tmp_path / name, weights_only=True) for name in ("a.pth", "b.pth"))
    assert list(official) == ["model"] and "blocks.0.attn.qkv.weight" in timm
    assert set(official["model"]) == set(timm)


@pytest.mark.parametrize(
    "model, format, message",
    [
        (small_mae, "timm", "'timm' has no place for decoder.mask_token"),
        (lambda: small_classifier("cls", num_trainable_layers=0), "timm", "no place for batch_norm.mean"),
        (lambda: small_classifier("mean"), "hf", "pooling='cls'"),
        (lambda: keras.Sequential(), "timm", "got a Sequential"),
    ],
)
def test_what_a_format_has_no_place_for_is_refused(model, format, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        keras_mae.save_checkpoint(model(), str(tmp_path / "a.safetensors"), format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format, name", [("timm", "a.keras"), ("timm", "a.h5"), ("keras", "a.safetensors")])
def test_another_ending_is_refused(format, name, tmp_path):
    with pytest.raises(ValueError, match=f"got .*{name}"):
        keras_mae.save_checkpoint(small_encoder(), str(tmp_path / name), format)


def test_every_weight_has_one_place_and_a_telling_name():
    mae = small_mae()
    names = [slot.name for slot in slots_of(mae)]
    assert len(set(names)) == len(names) == len(mae.weights)
    assert {"encoder.blocks.1.attention.qkv.kernel", "decoder.mask_token", "decoder.head.bias"} <= set(names)


def test_a_model_with_weights_of_its_own_is_refused():
    class Extended(MaskedAutoencoder):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.extra = keras.Variable(np.zeros(3), name="temperature")

    with pytest.raises(ValueError, match="temperature"):
        slots_of(Extended(small_encoder(), MAEDecoder(8, 1, 2)))
