"""Damaged files, files of other things, code in a pickle, NaN; and PyTorch that is not installed."""

import argparse
import functools
import os
import pickle
import shutil
import sys
import zipfile

import keras
import numpy as np
import pytest
import torch

import keras_mae
from tests.base import weights_of
from tests.checkpoints import published
from tests.checkpoints.small import small_encoder as encoder_of_any_size
from tests.checkpoints.test_strictness import refused, tensors_of

# files written without our help do not say their grid: a square one needs no saying
small_encoder = functools.partial(encoder_of_any_size, (8, 8, 3))
ENDINGS = ["safetensors", "pth", "keras"]


def saved(folder, ending):
    format = "keras" if ending == "keras" else "timm"
    keras_mae.save_checkpoint(small_encoder(), str(folder / f"good.{ending}"), format)
    return str(folder / f"good.{ending}"), format


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_truncated(ending, share, tmp_path):
    path, format = saved(tmp_path, ending)
    os.truncate(path, int(os.path.getsize(path) * share))
    refused(small_encoder(), path, format, path, "truncated")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("content", [b"<html>404: not found</html>", bytes(range(256)) * 40, b"\x89PNG\r\n\x1a\n"])
def test_not_a_checkpoint(ending, content, tmp_path):
    path = tmp_path / f"bad.{ending}"
    path.write_bytes(content)
    refused(small_encoder(), str(path), "keras" if ending == "keras" else "timm", str(path), "is not a")


def test_a_file_under_the_ending_of_another_kind(tmp_path):
    for ending, other in (("safetensors", "pth"), ("pth", "safetensors"), ("pth", "keras")):
        path, format = saved(tmp_path, ending)
        renamed = str(tmp_path / f"renamed.{other}")
        shutil.copy(path, renamed)
        refused(small_encoder(), renamed, format, "is not a")


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("way", ["torch", "legacy torch", "pickle", "pickle beside tensors"])
@pytest.mark.parametrize("ending", ["pth", "bin"])
def test_a_pickle_with_code_is_refused_and_not_executed(way, ending, tmp_path):
    path, witness = tmp_path / f"evil.{ending}", tmp_path / "executed"
    evil = Malicious(witness)
    if way == "pickle":
        path.write_bytes(pickle.dumps({"model": evil}))
    elif way == "pickle beside tensors":
        torch.save({"model": tensors_of(small_encoder(), tmp_path), "args": evil}, path)
    else:
        torch.save({"blocks.0.attn.qkv.weight": evil}, path, _use_new_zipfile_serialization=way == "torch")
    refused(small_encoder(), str(path), "mae_torch", "could run code", "nothing was executed")
    assert not witness.exists()
    torch.load(path, weights_only=False) if way != "pickle" else pickle.loads(path.read_bytes())
    assert witness.exists(), "a trap that does not work proves nothing"


def test_a_training_checkpoint_of_the_official_code(tmp_path):
    """It stores its command line, an argparse namespace, and the optimizer beside the model."""
    content = {
        "model": tensors_of(small_encoder(), tmp_path),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]},
        "epoch": 3,
        "args": argparse.Namespace(model="mae_vit_base_patch16", blr=1.5e-4),
    }
    torch.save(content, tmp_path / "checkpoint-3.pth")
    encoder = small_encoder(seed=4)
    keras_mae.load_checkpoint(encoder, str(tmp_path / "checkpoint-3.pth"), "mae_torch")
    for variable, expected in zip(weights_of(encoder), weights_of(small_encoder()), strict=True):
        np.testing.assert_array_equal(variable, expected)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", ["model", "state_dict", None])
def test_wrapped_or_not_and_old_files_of_torch(zipped, wrapper, tmp_path):
    content = tensors_of(small_encoder(), tmp_path)
    path = tmp_path / "file.pth"
    torch.save({wrapper: content} if wrapper else content, path, _use_new_zipfile_serialization=zipped)
    assert zipfile.is_zipfile(path) == zipped
    assert keras_mae.load_checkpoint(small_encoder(), str(path), "mae_torch").encoder_only


@pytest.mark.parametrize(
    "content, message", [([1, 2], "a list"), ({}, "a dict"), ({"a": 3, "b": "c"}, "no tensors: a, b")]
)
def test_a_torch_file_without_tensors_by_name(content, message, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    refused(small_encoder(), str(tmp_path / "other.pth"), "timm", message, "state_dict()")


@pytest.mark.parametrize(
    "ending, dtype, value",
    [
        ("safetensors", torch.float32, float("nan")),
        ("safetensors", torch.float16, float("inf")),
        ("safetensors", torch.bfloat16, float("nan")),
        ("pth", torch.float32, float("-inf")),
        ("pth", torch.bfloat16, float("nan")),
    ],
)
def test_nan_is_named(ending, dtype, value, tmp_path):
    tensors = {name: tensor.to(dtype) for name, tensor in tensors_of(small_encoder(), tmp_path).items()}
    tensors["blocks.1.attn.proj.weight"][3, 4] = value
    tensors["norm.bias"][:2] = value
    path = published.write(tmp_path / f"nan.{ending}", tensors)
    expected = ("NaN or infinite", "blocks.1.attn.proj.weight (1 of 256)", "norm.bias (2 of 16)")
    refused(small_encoder(), path, "timm", *expected)
    skipped = keras_mae.load_checkpoint(small_encoder(), path, "timm", skip=("*.1.attn.proj.weight", "norm.bias"))
    assert "norm.bias" in skipped.skipped


def test_large_weights_are_not_nan(tmp_path):
    tensors = tensors_of(small_encoder(), tmp_path)
    tensors["norm.bias"][:] = 3e38  # squares overflow
    assert keras_mae.load_checkpoint(small_encoder(), published.write(tmp_path / "a.safetensors", tensors), "timm")


def test_integers_are_no_weights(tmp_path):
    tensors = tensors_of(small_encoder(), tmp_path)
    tensors["norm.bias"] = torch.arange(16)
    path = published.write(tmp_path / "a.safetensors", tensors)
    refused(small_encoder(), path, "timm", "norm.bias holds int64")


def test_a_missing_file_and_an_unknown_ending(tmp_path):
    refused(small_encoder(), str(tmp_path / "a.safetensors"), "timm", "there is no checkpoint file")
    refused(small_encoder(), str(tmp_path), "timm", "holds no file of weights (.safetensors")
    (tmp_path / "weights.h5").write_bytes(b"x")
    refused(small_encoder(), str(tmp_path / "weights.h5"), "keras", "ends in .safetensors", "weights.h5")


def test_a_keras_file_of_another_model(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save(tmp_path / "other.keras")
    refused(small_encoder(), str(tmp_path / "other.keras"), "keras", "holds a Sequential")


@pytest.mark.parametrize("ending", ["pth", "pt", "bin"])
def test_without_pytorch_the_extra_is_named(ending, tmp_path, monkeypatch):
    path, _ = saved(tmp_path, "pth")
    os.rename(path, tmp_path / f"file.{ending}")
    keras_mae.save_checkpoint(small_encoder(), str(tmp_path / "file.safetensors"), "timm")
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it now raises ImportError
    refused(small_encoder(), str(tmp_path / f"file.{ending}"), "timm", "keras-mae[torch]")
    with pytest.raises(ValueError, match=r"keras-mae\[torch\]"):
        keras_mae.save_checkpoint(small_encoder(), str(tmp_path / f"other.{ending}"), "timm")
    assert keras_mae.load_checkpoint(small_encoder(), str(tmp_path / "file.safetensors"), "timm").encoder_only


def test_a_pytorch_that_can_be_made_to_run_code_is_refused(tmp_path, monkeypatch):
    path, format = saved(tmp_path, "pth")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cu124")
    refused(small_encoder(), path, format, "PyTorch 2.6 or newer is needed", "2.5.1+cu124", "keras-mae[torch]")


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_bytes_gone_wrong(ending, tmp_path):
    """Weights with other values are nobody's to notice; anything else is an error that names the file."""
    path, format = saved(tmp_path, ending)
    with open(path, "rb") as file:
        good = file.read()
    encoder, rng, errors = small_encoder(), np.random.default_rng(0), 0
    ends = np.concatenate([np.arange(400), np.arange(-600, 0)])  # where the names are, and the directory of a zip
    for _ in range(60):
        bad = np.frombuffer(good, "uint8").copy()
        bad[rng.choice(ends, 5)] = rng.integers(0, 256, 5)
        bad.tofile(path)
        try:
            keras_mae.load_checkpoint(encoder, path, format)
        except ValueError as error:
            assert path in str(error)
            errors += 1
    assert errors > 10
