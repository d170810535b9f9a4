"""Folders as runs leave them, written without training."""

import gzip
import json
import os

import numpy as np
from PIL import Image

from keras_mae.trainers import recipes
from keras_mae.trainers.config import to_json
from keras_mae.trainers.settings import changed

SEEN = {"num_images": 40, "digest": "a:b", "dtype": "uint8", "class_names": ["cat", "dog"]}
MACHINE = {"system": "Linux x86_64", "processor": "Abacus 9", "cores": 2, "memory": 8e9, "gpus": ["Brush"] * 2}
VERSIONS = {"keras_mae": "0.1.0", "TensorFlow": "2.21.0"}


def epoch(number, loss=None, **more):
    """A line of `log.jsonl`, with ten steps an epoch."""
    loss = 1 / number if loss is None else loss
    common = {"skipped_steps": 0, "learning_rate": 0.001, "seconds": 2.0, "images_per_second": 20.0}
    return {"epoch": number, "step": 10 * number, "loss": loss, **common, **more}


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


def write_run(
    path, epochs=(), recipe="mae_digits", settings=(), results=None, steps=None, finished=True, seen=SEEN, **record
):
    """Writes a folder of a run of the recipe's program, and returns its path."""
    os.makedirs(path, exist_ok=True)
    config = changed(recipes.load(recipe), settings)
    whole = {"data": "digits", "directory": "/home", "config": json.loads(json.dumps(to_json(config))), "seen": seen}
    write(path, "config.json", json.dumps({**whole, "machine": [MACHINE], "versions": [VERSIONS], **record}))
    if epochs:
        write(path, "log.jsonl", lines(epochs))
    if steps is not None:
        write(path, "steps.jsonl", lines(steps))
    if results is not None:
        write(path, "results.json", json.dumps(results))
    if finished:
        write(path, "model.keras", "")
    labels = b"\0".join(b"%d.png\n%b" % (place, b"dog" if place % 4 == 0 else b"cat") for place in range(40))
    with gzip.open(os.path.join(path, "seen.gz"), "wb") as file:
        file.write(labels)
    return str(path)


def write(folder, name, text):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)


def write_picture(path, size=(60, 40), seed=0, noise=True):
    """A PNG file that hardly compresses, or a plain one."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    shape = (size[1], size[0], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape) if noise else np.full(shape, 40 + seed)
    Image.fromarray(pixels.astype("uint8")).save(path)
