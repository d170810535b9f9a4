"""About how much memory a training step needs, and whether there is so much."""

from __future__ import annotations

import dataclasses
import os
import subprocess

import keras
import tensorflow as tf

from keras_mae.models import ImageClassifier, MAEDecoder
from keras_mae.models.masked_image_model import MaskedImageModel
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.finetune_config import FinetuneConfig


def estimate(
    model: MaskedImageModel | ImageClassifier, config: PretrainConfig | FinetuneConfig, replicas: int = 1
) -> int:
    """Bytes on each replica, about: weights, gradients and AdamW's two moments in float32, and activations.

    For the backward pass a transformer block of width D keeps, for each of its N tokens, some 16 D numbers (norms,
    queries, keys and values and their reordered forms, residuals), the MLP's hidden layer three times (before, within
    and after GELU), and the attention's logits and probabilities, N of each for each head. A block that is
    rematerialised keeps its input (D). The layers' own gradients, and XLA on accelerators, keep two thirds of it at
    most where it was measured (a half to two thirds), so two thirds are counted. What TensorFlow itself takes, and its
    scratch space, comes on top.

    Args:
        model: the model.
        config: its batch, accumulation, rematerialisation and dtype.
        replicas: how many share a batch.
    """
    trainable = sum(int(variable.shape.num_elements()) for variable in model.trainable_variables)
    weights = sum(int(variable.shape.num_elements()) for variable in model.weights)
    encoder, decoder = model.encoder, getattr(model, "decoder", None)
    every = encoder.num_patches + encoder.num_prefix_tokens
    hides = (
        hasattr(model, "num_visible") and getattr(model, "mask_token", None) is None
    )  # with a mask token, the encoder has all tokens
    parts = [(encoder, model.num_visible() + encoder.num_prefix_tokens if hides else every)]
    parts += [(decoder, every)] if isinstance(decoder, MAEDecoder) else []
    numbers = 0
    for part, tokens in parts:
        of_block = tokens * (16 * part.hidden_dim + 3 * part.mlp_dim + 2 * part.num_heads * tokens)
        if getattr(config, "rematerialize", False):
            numbers += part.num_layers * tokens * part.hidden_dim + of_block
        else:
            numbers += part.num_layers * of_block
    images = config.batch_size // (replicas * config.accumulation_steps)
    size = 4 if keras.DTypePolicy(config.dtype_policy).compute_dtype == "float32" else 2
    return 4 * weights + 12 * trainable + images * numbers * size * 2 // 3


def check(
    model: MaskedImageModel | ImageClassifier,
    config: PretrainConfig | FinetuneConfig,
    replicas: int = 1,
    limit: int | None = None,
) -> None:
    """Refuses a step for which there is not enough memory, and says which setting makes it fit.

    Args:
        model: the model.
        config: its batch, accumulation, rematerialisation and dtype.
        replicas: how many share a batch.
        limit: bytes that there are for all replicas; None: what `available` finds.

    Raises:
        ValueError: if there is less than `estimate` says.
    """
    limit = available() if limit is None else limit
    on_one_machine = replicas if not tf.config.list_physical_devices("GPU") else 1

    def need(**changes) -> int:
        return on_one_machine * estimate(model, dataclasses.replace(config, **changes), replicas)

    if limit is None or not config.check_memory or need() <= limit:
        return
    share = config.batch_size // replicas
    again = {"rematerialize": True} if hasattr(config, "rematerialize") else {}
    parts = [part for part in range(config.accumulation_steps, share + 1) if share % part == 0]
    fitting = ({"accumulation_steps": part, **more} for more in ({}, again) for part in parts)
    smallest = {"accumulation_steps": share, **again}
    remedy = next((changes for changes in fitting if need(**changes) <= limit), None)
    said = f"a step needs about {as_text(need())} of memory, and there are {as_text(limit)}"
    if remedy is None:
        raise ValueError(
            f"{said}; even one image at a time needs about {as_text(need(**smallest))}: take a smaller model, "
            "or --set check_memory=False if the estimate is wrong"
        )
    changed = {key: value for key, value in remedy.items() if getattr(config, key) != value}
    settings = " ".join(f"--set {key}={value}" for key, value in changed.items())
    raise ValueError(
        f"{said}; {' with '.join(f'{key}={value}' for key, value in changed.items())} needs about "
        f"{as_text(need(**remedy))}: type {settings}, or --set check_memory=False to start all the same"
    )


def check_weights(hidden_dim: int, num_layers: int, limit: int | None = None) -> None:
    """Refuses a transformer whose weights alone, with gradients and moments, do not fit, before it is made.

    Raises:
        ValueError: if there is less memory than `16 * 12 * num_layers * hidden_dim**2` bytes.
    """
    limit, need = available() if limit is None else limit, 16 * 12 * num_layers * hidden_dim**2
    if limit is not None and need > limit:
        raise ValueError(
            f"hidden_dim={hidden_dim} and num_layers={num_layers} need about {as_text(need)} of memory for their "
            f"weights alone, and there are {as_text(limit)}: take a smaller model"
        )


def available(root: str = "/") -> int | None:
    """Bytes that a step may take: of the smallest GPU, or what this machine and its control groups have left.

    Args:
        root: where `proc` and `sys` are.

    Returns:
        None if nothing tells.
    """
    if tf.config.list_physical_devices("GPU"):
        return _of_gpus()
    found = [*_of_machine(root), *_of_control_groups(root)]
    return min(found) if found else None


def _of_gpus() -> int | None:
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()
        return min(int(line) for line in lines) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _of_machine(root: str) -> list[int]:
    lines = _read(os.path.join(root, "proc/meminfo")).splitlines()
    return [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]


def _of_control_groups(root: str) -> list[int]:
    """What is left in each group of this process and in those above it; versions 1 and 2."""
    left = []
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        top = os.path.join(root, "sys/fs/cgroup" if not controllers else "sys/fs/cgroup/memory")
        names = (
            ("memory.max", "memory.current") if not controllers else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        folders = path.strip("/").split("/") if path.strip("/") else []
        for depth in range(len(folders) + 1):
            limit, used = (_read(os.path.join(top, *folders[:depth], name)).strip() for name in names)
            if limit.isdecimal() and used.isdecimal() and int(limit) < 2**60:  # version 1 writes a huge one for none
                statistics = dict(
                    line.split() for line in _read(os.path.join(top, *folders[:depth], "memory.stat")).splitlines()
                )
                cache = int(statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))  # is given back
                left.append(max(0, int(limit) - max(0, int(used) - cache)))
    return left


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def as_text(count: int) -> str:
    """Bytes for people: `12.3 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"
