"""Small files of weights to begin runs with: an encoder, an autoencoder, a SimMIM; every tensor is random."""

import keras
import numpy as np

from keras_mae.checkpoints import save_checkpoint
from keras_mae.models import MAEDecoder, MaskedAutoencoder
from keras_mae.trainers.recipes import mae_continue
from keras_mae.trainers.settings import changed
from tests.base import fill_randomly, random_images, small_encoder, small_simmim

SIZES = {"image_shape": (16, 16, 3), "num_layers": 2, "position_embedding": "learned"}
LICENCE = "cc-by-nc-4.0"
DECODER = ("decoder.hidden_dim=8", "decoder.num_layers=1", "decoder.num_heads=2")
# of a run of three steps in three epochs
QUICK = ("batch_size=8", "epochs=3", "warmup_epochs=1", "jit_compile=False", "pictures_every=100")
SHORT = changed(mae_continue.config(), [*QUICK, *DECODER])


def small_autoencoder():
    """With a decoder whose MLPs have the usual width, so that settings can tell it."""
    decoder = MAEDecoder(hidden_dim=8, num_layers=1, num_heads=2, position_embedding="learned")
    return fill_randomly(MaskedAutoencoder(small_encoder(**SIZES), decoder))


def write_weights(folder):
    """Writes files of every kind and images of one, three and four channels; returns the models by name."""
    models = {
        "encoder": small_encoder(**SIZES),
        "mae": small_autoencoder(),
        "simmim": small_simmim(image_shape=(16, 16, 3), num_layers=2),
        "four": small_encoder(**{**SIZES, "image_shape": (16, 16, 4)}, mean=(0.5,) * 4, std=(0.5,) * 4),
    }
    for block in models["simmim"].encoder.blocks:  # SimMIM's names have no biases of keys
        queries, keys, values = np.split(keras.ops.convert_to_numpy(block.attention.qkv.bias), 3)
        block.attention.qkv.bias.assign(np.concatenate([queries, 0 * keys, values]))
    save_checkpoint(models["encoder"], folder / "encoder.safetensors", "timm", licence=LICENCE)
    save_checkpoint(models["mae"], folder / "mae.safetensors", "mae_torch")
    save_checkpoint(models["simmim"], folder / "simmim.pth", "simmim_torch")
    models["mae"].save(folder / "mae.keras")
    for channels in (1, 3, 4):
        labels = np.arange(24) % 3
        np.savez(folder / f"{channels}.npz", images=random_images(24, (16, 16, channels)), labels=labels)
    return models
