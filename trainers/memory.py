"""About how much memory a training step needs, and whether there is as much."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_mae.encoders.presets import encoder_arguments
from keras_mae.models.saved_files import read_encoder_arguments
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.features import ENCODED
from keras_mae.trainers.free_memory import Memory, find_memory
from keras_mae.trainers.methods import MAE
from keras_mae.trainers.model_parts import Transformer, ViT
from keras_mae.trainers.settings import replaced
from keras_mae.trainers.strategy import any_worker, is_multiworker
from keras_mae.trainers.trained_model import find_model

Config = PretrainConfig | FinetuneConfig | ProbeConfig

_log = logging.getLogger("keras_mae")
_ON_PROCESSOR = 0.6  # of the estimate, at least: what a step took there where it was measured


class Blocks(NamedTuple):
    """Transformer blocks: how many, how wide, and how many tokens they see."""

    layers: int
    dim: int
    mlp_dim: int
    heads: int
    tokens: int

    @property
    def weights(self) -> int:
        """Numbers in the weights."""
        return self.layers * (4 * self.dim**2 + 2 * self.dim * self.mlp_dim + 9 * self.dim + self.mlp_dim)

    @property
    def kept(self) -> int:
        """Numbers that one block keeps for its gradient, for an image."""
        return self.tokens * (16 * self.dim + 3 * self.mlp_dim + 2 * self.heads * self.tokens)

    @property
    def passing(self) -> int:
        """Numbers that one block has at once for an image if nothing is kept: in attention, or in the MLP."""
        return self.tokens * (2 * self.dim + max(2 * self.mlp_dim, 4 * self.dim + 2 * self.heads * self.tokens))


def estimate(config: Config, replicas: int = 1) -> int:
    """Bytes on each replica, about: weights, gradients and AdamW's two moments in float32, and activations.

    For the backward pass a transformer block of width D keeps, for each of its N tokens, some 16 D numbers (norms,
    queries, keys and values and their reordered forms, residuals), the MLP's hidden layer three times (before, within
    and after GELU), and the attention's logits and probabilities, N of each for each head. A block that is
    rematerialised keeps its input (D); one that is frozen nothing. What TensorFlow itself takes, and its scratch space,
    comes on top. On a processor, where layers have their own gradients, the step takes less: two thirds of it where it
    was measured.

    Args:
        config: model, batch, accumulation, rematerialisation and dtype. The model is not built. Of an encoder or a
            decoder that is no transformer of ours, the size is not known, and taken for 0.
        replicas: how many share a batch.

    Raises:
        ValueError: if there is no encoder of that name.
    """
    weights, trainable, numbers = _pretraining(config) if isinstance(config, PretrainConfig) else _classifier(config)
    images = config.optimizer.batch_size / (replicas * getattr(config.optimizer, "accumulation_steps", 1))
    if isinstance(config, ProbeConfig) and config.data.is_fixed:
        images = min(images, ENCODED)
    size = 4 if keras.DTypePolicy(config.run.dtype_policy).compute_dtype == "float32" else 2
    return 4 * weights + 12 * trainable + math.ceil(images) * numbers * size


def _pretraining(config: PretrainConfig) -> tuple[int, int, int]:
    """Numbers in all weights, in those that are trained, and kept for each image."""
    vit, decoder = config.encoder, config.decoder
    if not isinstance(vit, ViT) or not isinstance(decoder, Transformer | None):
        return 0, 0, 0
    encoder, pixels = _encoder(encoder_arguments(vit.preset, vit.arguments()))
    patches = encoder.tokens - vit.use_cls_token
    fixed = 2 * vit.channels
    positions = encoder.tokens * encoder.dim
    trainable = encoder.weights + (pixels + 4) * encoder.dim
    if vit.position_embedding == "learned":
        trainable += positions
    elif vit.position_embedding is not None:
        fixed += positions
    parts = [encoder]
    if decoder is None:
        trainable += encoder.dim * pixels
    else:
        width = decoder.hidden_dim
        blocks = Blocks(decoder.num_layers, width, 4 * width, decoder.num_heads, encoder.tokens)
        trainable += blocks.weights + (encoder.dim + pixels + 4) * width
        fixed += encoder.tokens * width
        if isinstance(config.method, MAE) and not config.method.mask_tokens_in_encoder:
            visible = max(int(patches * (1 - getattr(config.masking, "mask_ratio", 0.0))), 1)
            encoder = encoder._replace(tokens=visible + vit.use_cls_token)
        parts = [encoder, blocks]
    if config.run.rematerialize:
        numbers = sum(part.layers * part.tokens * part.dim + part.kept for part in parts)
    else:
        numbers = sum(part.layers * part.kept for part in parts)
    return trainable + fixed, trainable, numbers


def _classifier(config: FinetuneConfig | ProbeConfig) -> tuple[int, int, int]:
    """As `_pretraining`; images pass the blocks that are not trained one block at a time."""
    own = config.encoder
    if own.run is not None:
        arguments = read_encoder_arguments(find_model(own.run).path)
    elif own.preset is not None:
        names = ("patch_size", "hidden_dim", "num_layers", "num_heads")
        given = {name: getattr(own, name) for name in names if getattr(own, name) is not None}
        shape = (*(own.image_size or (224, 224)), own.channels or 3)
        arguments = encoder_arguments(own.preset, {**given, "image_shape": shape})
    else:
        return 0, 0, 0  # there is none, which is said where it is looked for
    if not {"patch_size", "hidden_dim", "num_layers", "num_heads"} <= set(arguments):
        return 0, 0, 0
    if own.image_size is not None:
        arguments = {**arguments, "image_shape": (*own.image_size, arguments["image_shape"][-1])}
    encoder, pixels = _encoder(arguments)
    asked = 0 if isinstance(config, ProbeConfig) else config.head.num_trainable_layers
    trained = encoder.layers if asked is None else min(math.ceil(asked), encoder.layers)
    weights = encoder.weights + (pixels + 4 + encoder.tokens) * encoder.dim
    share = weights if asked is None else encoder._replace(layers=trained).weights
    passing = encoder.passing if trained < encoder.layers else 0
    return weights, share, max(trained * encoder.kept, passing)


def _encoder(arguments: dict[str, Any]) -> tuple[Blocks, int]:
    """An encoder's blocks, and how many numbers a patch has."""
    height, width, channels = arguments["image_shape"]
    size = arguments["patch_size"]
    rows, columns = (size, size) if isinstance(size, int) else size
    tokens = (height // rows) * (width // columns) + arguments.get("use_cls_token", True)
    dim = arguments["hidden_dim"]
    mlp_dim = arguments.get("mlp_dim") or 4 * dim
    return Blocks(arguments["num_layers"], dim, mlp_dim, arguments["num_heads"], tokens), rows * columns * channels


def check_memory(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Refuses a run for which there is not enough memory, before data are opened.

    It does nothing if the setting `check_memory` is off. Every worker must call this.

    Raises:
        ValueError: if even the least that a step takes does not fit; it says which setting makes it fit.
    """
    if not config.run.check_memory:
        return
    memory, error = find_memory(), None
    replicas = strategy.num_replicas_in_sync
    if memory is not None:
        multiworker = is_multiworker(strategy)
        here = 1 if multiworker or not memory.of_processor else replicas
        try:
            check_fits(config, memory, replicas, here)
        except ValueError as raised:
            error = raised
    if any_worker(strategy, [error is not None])[0]:
        raise error or ValueError("a worker of this run could not go on: its message says why")


def check_fits(config: Config, memory: Memory, replicas: int = 1, here: int = 1) -> None:
    """Compares what a step needs with the memory that there is.

    On a processor a step may take less than the estimate: what may fit is a warning.

    Args:
        config: the run's.
        memory: what there is.
        replicas: how many share a batch.
        here: how many of them share the memory.

    Raises:
        ValueError: if it does not fit.
    """

    def needs(changed: Config) -> int:
        return here * estimate(changed, replicas)

    needed = needs(config)
    least = needed * _ON_PROCESSOR if memory.of_processor else needed
    if needed <= memory.free:
        return
    todo = remedy(config, needs, memory.free, replicas)
    has = f"{memory.place} has {as_text(memory.free)}{' free' if memory.of_processor else ''}"
    if least <= memory.free:
        _log.warning("a step may need about %s of memory, and %s: %s", as_text(needed), has, todo)
        return
    raise ValueError(
        f"a step needs about {as_text(needed)} of memory, and {has}: {todo}; or go on all the same with --set "
        "check_memory=False"
    )


def remedy(config: Config, needs: Callable[[Config], int], free: int, replicas: int = 1) -> str:
    """What to set so that a run fits, and what it needs then.

    The same batch in more parts, which computes the same; else blocks that compute their activations twice, too; else
    a smaller batch; else a smaller model.

    Args:
        config: the run's, which does not fit.
        needs: from a config to bytes.
        free: bytes that there are.
        replicas: how many share a batch.
    """
    for changes in _smaller(config, replicas):
        needed = needs(replaced(config, **changes))
        if needed <= free:
            settings = " ".join(f"--set {key}={value}" for key, value in changes.items())
            return f"{settings} needs about {as_text(needed)}"
    return "its weights alone need most of that; take a smaller preset or image_size, or another machine"


def _smaller(config: Config, replicas: int) -> Iterator[dict[str, Any]]:
    """What may be set to need less, what changes the run least first."""
    parts, share = getattr(config.optimizer, "accumulation_steps", None), config.optimizer.batch_size // replicas
    more = [n for n in range(parts + 1, share + 1) if share % n == 0] if parts else []
    yield from ({"accumulation_steps": n} for n in more)
    if getattr(config.run, "rematerialize", True) is False:
        yield {"rematerialize": True}
        yield from ({"rematerialize": True, "accumulation_steps": n} for n in more)
    while share > 1:
        share //= 2
        yield {"batch_size": share * replicas, **({"accumulation_steps": 1} if parts and parts > 1 else {})}


def as_text(count: int) -> str:
    """Bytes for people: `12.3 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"
