"""Our folders in the newest transformers 4, in a virtual environment of its own, and its folders here."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch

import keras_mae
from keras_mae.checkpoints import load_encoder
from keras_mae.masking import RandomMasking, UnitMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder, SimMIM, ViTEncoder
from tests.base import fill_randomly, random_images, weights_of
from tests.checkpoints import published, with_transformers_4
from tests.checkpoints.small import vit_encoder
from tests.reference.hf_models import KINDS, our_arguments

VERSION = "4.57.6"
OF_VERSION_4 = [kind for kind in KINDS if kind != "pixio"]  # which only transformers 5 has


def models():
    """One model of ours for each class there, by folder."""
    for index, kind in enumerate(OF_VERSION_4):
        yield f"encoder{index}", vit_encoder(our_arguments(kind), index)
    vit = our_arguments("vit")
    yield "mae", fill_randomly(MaskedAutoencoder(ViTEncoder(**vit), MAEDecoder(24, 1, 2), RandomMasking(0.0)))
    yield "simmim", fill_randomly(SimMIM(ViTEncoder(**vit), UnitMasking(unit=8)))


@pytest.mark.slow
def test_transformers_4_reads_what_we_write_and_we_what_it_writes(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    wanted = [f"transformers=={VERSION}", f"torch=={torch.__version__.split('+')[0]}"]
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    images, ours = random_images(2, (16, 16, 3)), dict(models())
    for name, model in ours.items():
        keras_mae.save_checkpoint(model, str(tmp_path / name / "model.safetensors"), "hf")
    np.save(tmp_path / "pixels.npy", published.pixels_for(ours["mae"].encoder, images).numpy())
    script = pathlib.Path(with_transformers_4.__file__)
    done = subprocess.run([python, script, tmp_path], capture_output=True, text=True)
    assert done.stdout.split() == sorted(ours), done.stdout + done.stderr  # no key is missing or unexpected
    for name, model in ours.items():
        encoder = getattr(model, "encoder", model)
        outputs = np.load(tmp_path / name / "outputs.npy")
        tokens = np.concatenate(encoder.encode(images), axis=1)
        if name.startswith("encoder"):  # theirs are before the last norm
            np.testing.assert_allclose(np.array(encoder.norm(outputs)), tokens, atol=1e-5, rtol=1e-5)
        again = str(tmp_path / name / "again" / "model.safetensors")
        read, _ = load_encoder(again)
        for variable, same in zip(weights_of(encoder), weights_of(read), strict=True):
            np.testing.assert_array_equal(variable, same)
        before = weights_of(model)
        keras_mae.load_checkpoint(fill_randomly(model, seed=9), again, "hf")
        for variable, same in zip(before, weights_of(model), strict=True):
            np.testing.assert_array_equal(variable, same)
