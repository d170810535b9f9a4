"""Pictures that tests draw, folders of them, and the settings of a run that takes seconds."""

import io
import os

import numpy as np
from PIL import Image

# A run on a folder of at least 8 pictures, in place of any recipe's sizes.
TINY = (
    "image_size=(16,16)",
    "patch_size=(4,4)",
    "preset=vit_tiny_patch16",
    "encoder.hidden_dim=16",
    "encoder.num_layers=1",
    "encoder.num_heads=2",
    "decoder.hidden_dim=8",
    "decoder.num_layers=1",
    "decoder.num_heads=2",
    "epochs=3",
    "warmup_epochs=1",
    "batch_size=8",
    "pictures_every=2",
)


def drawn(height, width, channels=3, seed=0):
    """A smooth picture with some noise, in which every pixel and channel differs: uint8 `(H, W, C)`."""
    rng = np.random.default_rng([seed, height, width, channels])
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y + rng.uniform(0, 6)) for _ in range(channels)]
    noise = rng.uniform(-20, 20, (height, width, channels))
    return np.clip(np.round(127.5 + 100 * np.stack(waves, axis=-1) + noise), 0, 255).astype("uint8")


def as_image(pixels):
    """A Pillow image of 1 (gray), 2 (gray and alpha), 3 (RGB) or 4 (RGBA) channels."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def encoded(image, form, **options):
    """The bytes of the file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def write(path, contents):
    """Writes a file, and the folders above it; returns its path as a string."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(contents)
    return str(path)


def write_pictures(folder, count, size=(20, 24), channels=3, form="png", corrupt=()):
    """Writes `000.png`, `001.png`, ... that all differ, of which those numbered in `corrupt` hold no image."""
    for number in range(count):
        contents = encoded(as_image(drawn(*size, channels, seed=number)), form)
        write(os.path.join(folder, f"{number:03}.{form}"), b"no image" if number in corrupt else contents)
    return str(folder)
