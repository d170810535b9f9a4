"""Drawn bars, whose angle and length are numbers, and what is seen of them are labels."""

import numpy as np

from tests.base import small_encoder

SIDE = 16
NUMBERS, LABELS = ["angle", "length"], ["steep", "long", "bright"]


def bars(count, seed):
    """Bars at random places, of random brightness, in noise.

    Returns:
        Images uint8 `(N, 16, 16, 1)`; angle in degrees, within 60, and length in pixels, 5 to 12, float32 `(N, 2)`; and
        whether each bar is steeper than 15 degrees, longer than 9 pixels, and brighter than most, float32 `(N, 3)`.
    """
    rng = np.random.default_rng(seed)
    angle, length = rng.uniform(-60, 60, count), rng.uniform(5, 12, count)
    centre, light = rng.uniform(6, SIDE - 6, (count, 2)), rng.uniform(120, 250, count)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    y, x = (axis - centre[:, k, None, None] for k, axis in enumerate((rows, columns)))
    radians = np.radians(angle)[:, None, None]
    along, across = x * np.cos(radians) - y * np.sin(radians), x * np.sin(radians) + y * np.cos(radians)
    inside = np.clip(length[:, None, None] / 2 - np.abs(along) + 0.5, 0, 1) * np.clip(1.5 - np.abs(across), 0, 1)
    images = rng.uniform(0, 60, inside.shape) * (1 - inside) + light[:, None, None] * inside
    labels = np.stack([angle > 15, length > 9, light > 200], axis=1)
    numbers = np.stack([angle, length], axis=1)
    return images.round().astype("uint8")[..., None], numbers.astype("float32"), labels.astype("float32")


def write_bars(folder, train, tested):
    """`bars.npz` of these numbers of images, with arrays of all numbers and labels, and `encoder.keras`; flags of both.

    A row of an array belongs to the image of the same row; images to test on lie apart.
    """
    arrays = {}
    for apart, count, seed in (("", train, 0), ("validation_", tested, 1)):
        images, numbers, labels = bars(count, seed)
        columns = dict(zip([*NUMBERS, *LABELS], np.concatenate([numbers, labels], axis=1).T))
        arrays |= {f"{apart}{name}": values for name, values in {"images": images, **columns}.items()}
    np.savez(folder / "bars.npz", **arrays)
    small_encoder((SIDE, SIDE, 1), num_layers=2, hidden_dim=32).save(folder / "encoder.keras")
    return [f"--run={folder / 'encoder.keras'}", f"--data=npz:{folder / 'bars.npz'}"]


def settings(**values):
    """`--set` flags of short epochs without anything that changes images, and these."""
    plain = {"crop_scale": None, "flip": False, "crop_ratio": 1.0, "jit_compile": False, "warmup_epochs": 1.0}
    return [f"--set={name}={value}" for name, value in {**plain, **values}.items()]


AS_THEY_ARE = {"rand_augment": None, "random_erasing": 0.0, "drop_path_rate": 0.0, "layer_decay": None}
OF_LABELS = ["--set=task=labels", f"--label_columns={','.join(LABELS)}"]
OF_NUMBERS = ["--set=task=numbers", f"--label_columns={','.join(NUMBERS)}"]
