"""Files of models that no `ViTEncoder` can be: what says so, tensors and configs."""

import contextlib
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_mae
from keras_mae.checkpoints import describe_checkpoint, load_encoder
from tests.checkpoints.small import small_encoder


@pytest.mark.parametrize(
    "extra, cause",
    [
        ({"dist_token": (1, 1, 16)}, "distillation token"),
        ({"attn_pool.q.weight": (16, 16)}, "attention pooling"),
        ({"blocks.0.mlp.norm.weight": (24,)}, "norms inside of attention or MLPs"),
        ({"blocks.0.moe.weight": (24,)}, "tensors that no ViTEncoder has: blocks.0.moe.weight"),
    ],
)
def test_what_no_vit_encoder_is(extra, cause, tmp_path):
    keras_mae.save_checkpoint(small_encoder(), str(tmp_path / "a.safetensors"), "timm")
    content = load_file(tmp_path / "a.safetensors") | {name: np.ones(shape, "float32") for name, shape in extra.items()}
    save_file(content, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=cause) as caught:
        describe_checkpoint(str(tmp_path / "a.safetensors"))
    assert "\n" not in str(caught.value)


def test_other_norms_and_none(tmp_path):
    encoder = small_encoder((16, 16, 3), position_embedding="learned")
    keras_mae.save_checkpoint(encoder, str(tmp_path / "a.safetensors"), "timm")
    content, path = load_file(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    rms = r"norms without biases, as RMSNorm's, which no model here has.* take another checkpoint"
    biases = tuple(name for name in content if name.endswith(("norm1.bias", "norm2.bias", "norm.bias")))
    for cause, gone in ((rms, biases), ("no final norm, .* take another checkpoint$", ("norm.weight", "norm.bias"))):
        save_file({name: value for name, value in content.items() if name not in gone}, path)
        with pytest.raises(ValueError, match=cause):
            load_encoder(path, num_heads=2)
        with pytest.raises(ValueError, match=cause.rstrip("$")):
            keras_mae.load_checkpoint(encoder, path, "timm")


@pytest.mark.parametrize(
    "config, cause",
    [
        ({"model_type": "vit", "hidden_act": "quick_gelu"}, "MLPs with 'quick_gelu'"),
        ({"model_type": "dinov3_vit", "hidden_act": "gelu", "use_gated_mlp": True}, "gated MLPs with 'gelu'"),
        ({"architecture": "vit_base_patch16_clip_quickgelu_224"}, "quick_gelu"),
        ({"architecture": "vit_base_patch16_siglip_gap_224"}, "gelu_tanh"),
        (
            {"model_type": "dinov2", "hidden_size": 16, "image_size": [8, 12], "patch_size": 4},
            "positions of images of 8 x 12, which its class resizes as those of a square",
        ),
        ({"architecture": "eva02_tiny_patch14_224"}, "rotary positions beside absolute ones"),
        ({"architecture": "vit_base_patch16_rpn_224"}, "norms after attention and MLPs"),
        ({"architecture": "vit_base", "model_args": {"act_layer": "quick_gelu"}}, "MLPs with 'quick_gelu'"),
        ({"architecture": "vit_base", "model_args": {"act_layer": "silu"}}, "MLPs with 'silu'"),
    ],
)
def test_a_config_that_says_another_activation(config, cause, tmp_path):
    keras_mae.save_checkpoint(small_encoder(), str(tmp_path / "a.safetensors"), "timm")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=cause):
        describe_checkpoint(str(tmp_path / "a.safetensors"))
    with pytest.raises(ValueError, match=cause):
        keras_mae.load_checkpoint(small_encoder(), str(tmp_path / "a.safetensors"), "timm")


def test_gated_mlps_and_their_activation(tmp_path):
    path = str(tmp_path / "a.safetensors")
    encoder = small_encoder((16, 16, 3), position_embedding="learned", gated_mlp=True)
    keras_mae.save_checkpoint(encoder, path, "timm")
    for act, refusal in (("silu", None), ("gelu", "gated MLPs with 'gelu', and those here have 'silu'")):
        config = {"architecture": "vit_base", "model_args": {"act_layer": act}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        for call in (load_encoder, lambda path: keras_mae.load_checkpoint(encoder, path, "timm")):
            with pytest.raises(ValueError, match=refusal) if refusal else contextlib.nullcontext():
                call(path)
    (tmp_path / "b").mkdir()
    eva = {name.replace(".qkv.bias", ".q_bias"): value for name, value in load_file(path).items()}
    for index in range(2):  # timm's eva02_tiny, whose rotary positions are no tensor
        query = f"blocks.{index}.attn.q_bias"
        eva[query], eva[f"blocks.{index}.attn.v_bias"] = eva[query][:16], eva[query][32:].copy()
    save_file(eva, tmp_path / "b" / "a.safetensors")
    for model in (small_encoder((16, 16, 3), position_embedding="learned", gated_mlp=gated) for gated in (True, False)):
        with pytest.raises(ValueError, match="gated MLPs, and the models of the format 'simmim_torch' never: .*EVA-02"):
            keras_mae.load_checkpoint(model, str(tmp_path / "b" / "a.safetensors"), "simmim_torch")
    with pytest.raises(ValueError, match="gated MLPs, and the models of the format 'simmim_torch' never: .*EVA-02"):
        load_encoder(str(tmp_path / "b" / "a.safetensors"), num_heads=2)
