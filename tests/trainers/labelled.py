"""A small encoder, and images whose class can be seen, for the programs that need labels."""

import numpy as np

from keras_mae.trainers.settings import replaced
from tests.base import small_encoder

IMAGE_SHAPE = (8, 8, 1)
CLASSES = 6


def drawn_images(count, seed):
    """Noise with one bright stripe; its place is the class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % CLASSES)
    images = rng.integers(0, 100, (count, *IMAGE_SHAPE))
    for image, label in zip(images, labels):
        image[:, label : label + 2] += 120
    return images.astype("uint8"), labels


def write_everything(folder):
    """`encoder.keras`, `train.npz` of 48 images and `test.npz` of 24, in a new folder; returns their paths."""
    small_encoder(IMAGE_SHAPE, num_layers=2, hidden_dim=16).save(folder / "encoder.keras")
    for name, count, seed in (("train", 48, 0), ("test", 24, 1)):
        images, labels = drawn_images(count, seed)
        np.savez(folder / f"{name}.npz", images=images, labels=labels)
    return {
        "run": str(folder / "encoder.keras"),
        "data": f"npz:{folder / 'train.npz'}",
        "validation_data": f"npz:{folder / 'test.npz'}",
    }


def quick(kind, given, **settings):
    """A config of this kind, of short epochs on what `write_everything` has written, without augmentation."""
    plain = {"crop_scale": None, "flip": False, "crop_ratio": 1.0, "jit_compile": False}
    sources = {"run": given["run"], "validation_data": given["validation_data"]}
    return replaced(kind(), **{**sources, **plain, "warmup_epochs": 1.0, "batch_size": 16, **settings})
