"""How much of this package lies on the way from one thing to another: files, functions, and the deepest stack.

    python -m benchmarks.traces

Own functions are those of `keras_mae/`, `trainers/` and `export/`; each counts once, however often it is entered.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from unittest import mock

import keras_mae

# Of the flat configs and the one ViT, before the encoder interface came: commit 89547b2, counted by these functions
BEFORE = {
    "from fit to the loss": (31, 97, 15),
    "from a folder to a batch": (29, 279, 27),
    "from bytes to an embedding": (29, 235, 27),
    "from --set to its effect": (11, 44, 13),
    "from a file to a model": (27, 99, 8),
}


@dataclasses.dataclass
class Trace:
    """What was entered on a way.

    Attributes:
        files: of the functions.
        functions: own functions, by file and name.
        deepest: how many own frames lay on each other at most.
    """

    files: set[str] = dataclasses.field(default_factory=set)
    functions: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    deepest: int = 0

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many files, functions, and frames in the deepest stack."""
        return len(self.files), len(self.functions), self.deepest


def traced(function: Callable[[], object], until: str | None = None) -> Trace:
    """Calls a function and says what of the package it entered, up to the return of an own function, or to its end.

    Args:
        function: what is called.
        until: the last part of that own function's name.
    """
    root = os.path.dirname(os.path.dirname(os.path.abspath(keras_mae.__file__))) + os.sep
    folders = tuple(os.path.join(root, name, "") for name in ("keras_mae", "trainers", "export"))
    trace, depths, done = Trace(), threading.local(), threading.Event()

    def note(frame, event: str, _) -> None:
        code = frame.f_code
        # the code of a module or a class is run when it is imported, and optimizes nothing
        if event not in ("call", "return") or not code.co_flags & inspect.CO_OPTIMIZED or done.is_set():
            return
        if not code.co_filename.startswith(folders) or code.co_name in (
            "<genexpr>",
            "<listcomp>",
            "<setcomp>",
            "<dictcomp>",
        ):
            return
        depths.now = getattr(depths, "now", 0) + (1 if event == "call" else -1)
        if event == "call":
            name = code.co_filename.removeprefix(root)
            trace.files.add(name)
            trace.functions.add((name, f"{code.co_firstlineno}:{code.co_name}"))
            trace.deepest = max(trace.deepest, depths.now)
        elif code.co_name == until:
            done.set()

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return trace


def to_the_loss() -> Trace:
    """From `fit` to the loss, in the first step of `mae_digits`."""
    import numpy as np

    from keras_mae.trainers.pretrain import build
    from keras_mae.trainers.recipes import mae_digits

    config = mae_digits.config()
    model = build(config)
    model.compile(config.optimizer.build(model, 100))
    images = np.random.default_rng(0).integers(0, 256, (25, *config.encoder.image_shape), "uint8")
    return traced(lambda: model.fit(images, batch_size=25, verbose=0), until="batch_loss")


def to_a_batch() -> Trace:
    """From a folder of PNG files to the first batch to train on."""
    from keras_mae.data import Augmentation, TrainingData, open_source

    with tempfile.TemporaryDirectory() as folder:
        write_pngs(folder)
        return traced(
            lambda: next(iter(TrainingData(open_source(f"folder:{folder}"), (16, 16, 3), 4, 0, Augmentation()).at()))
        )


def to_an_embedding() -> Trace:
    """From the bytes of image files to an embedding: what an export traces."""
    from keras_mae import ViTEncoder
    from keras_mae.export.signatures import ServedEncoder

    encoder = ViTEncoder((16, 16, 3), 4, hidden_dim=8, num_layers=1, num_heads=2)
    return traced(lambda: ServedEncoder(encoder).signature("serving_default"))


def to_its_effect() -> Trace:
    """From `keras-mae pretrain --recipe=mae_vit_base --set mask_ratio=0.5` to the sampler."""
    from keras_mae import cli
    from keras_mae.trainers import pretrain

    arguments = ["pretrain", "--data=digits", "--output=unused", "--recipe=mae_vit_base", "--set=mask_ratio=0.5"]
    with mock.patch.object(pretrain, "pretrain", lambda config, *_, **__: config.masking.build()):
        return traced(lambda: cli.main(arguments))


def to_a_model() -> Trace:
    """From a `.keras` file to a model, and from a file of timm's names into it."""
    from keras_mae import ViTEncoder, load_checkpoint, save_checkpoint
    from keras_mae.models.saved_files import load_model_file

    encoder = ViTEncoder((16, 16, 3), 4, hidden_dim=8, num_layers=1, num_heads=2)
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("encoder.keras", "encoder.safetensors")]
        encoder.save(paths[0])
        save_checkpoint(encoder, paths[1], "timm")
        return traced(lambda: load_checkpoint(load_model_file(paths[0]), paths[1], "timm"))


WAYS: dict[str, Callable[[], Trace]] = {
    "from fit to the loss": to_the_loss,
    "from a folder to a batch": to_a_batch,
    "from bytes to an embedding": to_an_embedding,
    "from --set to its effect": to_its_effect,
    "from a file to a model": to_a_model,
}


def write_pngs(folder: str, count: int = 8) -> None:
    """Writes small images, each another one."""
    import numpy as np
    import tensorflow as tf

    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (count, 20, 20, 3), "uint8")):
        tf.io.write_file(os.path.join(folder, f"{number}.png"), tf.io.encode_png(image))


def table(counts: dict[str, tuple[int, int, int]], before: dict[str, tuple[int, int, int]]) -> str:
    """A row for each way: files, functions and the deepest stack, behind what they were before."""

    def row(name: str, old, new) -> str:
        pairs = zip(old, new, (12, 14, 12), strict=True)
        return f"{name:28}" + "".join(f"{f'{one} -> {other}':>{width}}" for one, other, width in pairs)

    lines = [f"{'':28}{'files':>12}{'functions':>14}{'deepest':>12}"]
    lines += [row(way, before.get(way, (0, 0, 0)), now) for way, now in counts.items()]
    sums = ([sum(column) for column in zip(*kind.values(), strict=True)] for kind in (before, counts))
    return "\n".join([*lines, row("sum", *sums)])


def main() -> None:
    """Prints the table; each way goes in a process of its own, where nothing has been traced before."""
    if len(sys.argv) > 1:
        print(*WAYS[sys.argv[1]]().counts)
        return
    counts = {}
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.traces", way]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        files, functions, deepest = map(int, output.splitlines()[-1].split())
        counts[way] = (files, functions, deepest)
    print(table(counts, BEFORE))


if __name__ == "__main__":
    main()
