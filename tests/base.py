"""Small models, images and weights that tests share."""

import contextlib
import os
import subprocess
import sys
from unittest import mock

import keras
import numpy as np

from keras_mae.layers.geometry import Geometry
from keras_mae.masking import RandomMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder, SimMIM, ViTEncoder
from keras_mae.targets import PixelTarget
from tests import fork_server

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Settings of a demo of seconds
TINY_DEMO = (
    "encoder.hidden_dim=16",
    "encoder.num_layers=1",
    "decoder.hidden_dim=8",
    "epochs=2",
    "warmup_epochs=1",
    "batch_size=200",
    "jit_compile=False",
)


def random_images(batch, image_shape, seed=0, dtype="uint8"):
    """Images whose every pixel differs from its neighbours', in [0, 255]."""
    return np.random.default_rng(seed).integers(0, 256, (batch, *image_shape)).astype(dtype)


def geometry(image_shape=(8, 12, 3), patch_size=(4, 4), mean=None, std=None, **sizes):
    """The sizes of an encoder 16 wide with a class token."""
    grid = (image_shape[0] // patch_size[0], image_shape[1] // patch_size[1])
    mean, std = (mean or (0.5,) * image_shape[-1]), (std or (0.25,) * image_shape[-1])
    return Geometry(image_shape, grid, **{"hidden_dim": 16, "num_prefix_tokens": 1, "mean": mean, "std": std, **sizes})


def random_noise(batch, num_patches, seed=0):
    """Float32 noise `(batch, num_patches)` without ties."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(num_patches) for _ in range(batch)]).astype("float32") / num_patches


def fill_randomly(model, seed=1):
    """Gives every weight, tokens, tables and LayerNorm gains included, seeded random numbers of a sensible size.

    Fresh weights test little: biases are zero and gains one, so that mixing them up would not be seen.
    """
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        values = rng.normal(size=variable.shape)
        if variable.path.endswith("kernel"):
            values /= np.sqrt(variable.shape[0])
        elif variable.path.endswith("gamma"):
            values = 1 + 0.2 * values
        elif variable.path.endswith("variance"):
            values = 1 + np.abs(values)
        else:
            values *= 0.3
        variable.assign(values)
    for block in getattr(getattr(model, "encoder", model), "blocks", ()):
        if getattr(block, "qkv_bias", False) and not block.key_bias:  # cross-attention has all biases
            block.attention.qkv.bias.assign(without_keys(block.attention.qkv.bias.numpy()))
    return model


def without_keys(bias):
    """The bias of queries, keys and values with zeros for the keys."""
    query, key, value = np.split(bias, 3)
    return np.concatenate([query, 0 * key, value])


@contextlib.contextmanager
def without_draws():
    """Models made inside begin with zeros where `fill_randomly` follows: drawing takes a quarter of making one."""

    def zeros(self, shape, dtype=None):
        return keras.ops.zeros(shape, dtype)

    with contextlib.ExitStack() as stack:
        for kind in (keras.initializers.VarianceScaling, keras.initializers.RandomNormal):
            stack.enter_context(mock.patch.object(kind, "__call__", zeros))
        yield


PLANES = (8, 12, 2)  # of a model that takes no image files, which is exported in a third of the time


@without_draws()
def small_encoder(image_shape=(8, 12, 3), patch_size=4, **overrides):
    """An encoder with a 2 x 3 grid, every weight random."""
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 24}
    return fill_randomly(ViTEncoder(image_shape, patch_size, **{**sizes, **overrides}))


@without_draws()
def small_mae(encoder=None, mask_ratio=0.5, normalize=False, decoder=None, seed=0, **encoder_overrides):
    """A masked autoencoder with a decoder of another width than its encoder, every weight random."""
    encoder = small_encoder(**encoder_overrides) if encoder is None else encoder
    sizes = {"hidden_dim": 12, "num_layers": 1, "num_heads": 3, "mlp_dim": 20, "dtype": encoder.dtype_policy}
    mae = MaskedAutoencoder(
        encoder,
        MAEDecoder(**{**sizes, **(decoder or {})}),
        RandomMasking(mask_ratio),
        PixelTarget(normalize=normalize),
        seed=seed,
        dtype=encoder.dtype_policy,
    )
    return fill_randomly(mae)


@without_draws()
def small_simmim(mask_ratio=0.5, normalize=False, seed=0, **encoder_overrides):
    """A SimMIM in the published form: shared relative positions, gains, no absolute positions; every weight random."""
    form = {"position_embedding": None, "relative_position_bias": "shared", "layer_scale": 0.1}
    encoder = small_encoder(**{**form, **encoder_overrides})
    return fill_randomly(
        SimMIM(encoder, RandomMasking(mask_ratio), PixelTarget(normalize), seed=seed, dtype=encoder.dtype_policy)
    )


class LossPerStep(keras.callbacks.Callback):
    """Keeps the loss of every single step, where the progress bar shows the mean since the epoch began."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(logs["loss"]))
        self.model.reset_metrics()


def weights_of(model):
    """Copies of all weights."""
    return [keras.ops.convert_to_numpy(weight).copy() for weight in model.weights]


def run_python(*arguments, **environment):
    """Runs this Python in a new process at the repository's root, as users do; returns the process, with its text."""
    path = os.pathsep.join([ROOT, *filter(None, sys.path)])  # under Bazel every package has a folder of its own there
    variables = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", "XLA_FLAGS": "", **environment}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=900, check=False
    )


def run_forked(*arguments, **environment):
    """As `run_python`, of what imports TensorFlow and Keras anyway: the new process begins with both imported."""
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return fork_server.run([*map(str, arguments)], ["tensorflow", "keras"], variables)
