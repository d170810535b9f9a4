"""An estimate of the memory that a training step needs, compared with the memory of the machine."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_mae.encoders.pooling import ATTENTIVE
from keras_mae.encoders.presets import encoder_arguments, of_this_version
from keras_mae.models.saved_files import read_encoder_arguments
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.config import PretrainConfig, TrainingConfig
from keras_mae.trainers.encoder_choice import missing_arguments, run_of
from keras_mae.trainers.encoder_parts import ViT
from keras_mae.trainers.features import ENCODED
from keras_mae.trainers.first_weights import find_weights
from keras_mae.trainers.free_memory import Memory, find_memory
from keras_mae.trainers.model_parts import MAE, Transformer
from keras_mae.trainers.segment_config import SegmentConfig
from keras_mae.trainers.settings import replaced
from keras_mae.trainers.strategy import any_worker, is_multiworker
from keras_mae.trainers.trained_model import find_model

_log = logging.getLogger("keras_mae")
_ON_PROCESSOR = 0.6  # of the estimate: the least that a step took on a processor where it was measured


class Blocks(NamedTuple):
    """Transformer blocks: how many, how wide, of what kind, and how many tokens they see."""

    layers: int
    dim: int
    mlp_dim: int
    heads: int
    tokens: int
    gated: bool = False
    has_rotation: bool = False
    has_qk_norm: bool = False

    @property
    def weights(self) -> int:
        """Numbers in the weights."""
        hidden = (2 if self.gated else 1) * self.mlp_dim
        return self.layers * (4 * self.dim**2 + self.dim * (hidden + self.mlp_dim) + 9 * self.dim + hidden)

    @property
    def kept(self) -> int:
        """Numbers that one block keeps for its gradient, for an image."""
        dims = 16 + 2 * self.has_rotation + 4 * self.has_qk_norm
        hidden = (6 if self.gated else 3) * self.mlp_dim
        return self.tokens * (dims * self.dim + hidden + 2 * self.heads * self.tokens)

    @property
    def passing(self) -> int:
        """Numbers that one block holds at once for an image if it keeps nothing: in attention, or in the MLP."""
        hidden = (4 if self.gated else 2) * self.mlp_dim
        return self.tokens * (2 * self.dim + max(hidden, 4 * self.dim + 2 * self.heads * self.tokens))


def estimate(config: TrainingConfig, replicas: int = 1) -> int | None:
    """Bytes on each replica, about: weights, gradients and AdamW's two moments in float32, and activations.

    For the backward pass a transformer block of width D keeps, for each of its N tokens, some 16 D numbers (norms,
    queries, keys and values and their reordered forms, residuals), the MLP's hidden layer three times (before, within
    and after GELU; a gated MLP its two halves twice, the gate and the product), and the attention's logits and
    probabilities, N of each for each head. Rotary positions add 2 D, norms of queries and keys 4 D. A rematerialised
    block keeps its input (D), a frozen one nothing. TensorFlow itself and its scratch space come on top. On a
    processor, where layers have their own gradients, a step takes less: two thirds of the estimate where it was
    measured.

    Args:
        config: of a run; the model is not built.
        replicas: number of replicas that share a batch.

    Returns:
        The bytes; None if the encoder or the decoder is not a transformer of this package, or there is no encoder.
    """
    sizes = _pretraining(config) if isinstance(config, PretrainConfig) else _classifier(config)
    if sizes is None:
        return None
    weights, trainable, numbers = sizes
    images = config.optimizer.batch_size / (replicas * getattr(config.optimizer, "accumulation_steps", 1))
    if isinstance(config, ProbeConfig) and config.data.is_fixed:
        images = min(images, ENCODED)
    size = 4 if keras.DTypePolicy(config.run.dtype_policy).compute_dtype == "float32" else 2
    return 4 * weights + 12 * trainable + math.ceil(images) * numbers * size


def _pretraining(config: PretrainConfig) -> tuple[int, int, int] | None:
    """Numbers in all weights, in those that are trained, and kept for each image."""
    vit, decoder = config.encoder, config.decoder
    if not isinstance(vit, ViT) or not isinstance(decoder, Transformer | None):
        return None
    encoder, pixels = _encoder(encoder_arguments(vit.preset, vit.arguments()))
    prefix = vit.num_cls_tokens + vit.num_registers
    patches = encoder.tokens - prefix
    fixed = 2 * vit.channels
    positions = encoder.tokens * encoder.dim
    trainable = encoder.weights + (pixels + 3 + prefix) * encoder.dim
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
            encoder = encoder._replace(tokens=visible + prefix)
        parts = [encoder, blocks]
    again = config.run.rematerialize
    numbers = (p.layers * p.tokens * p.dim + p.kept if again else p.layers * p.kept for p in parts)
    return trainable + fixed, trainable, sum(numbers)


def _classifier(config: FinetuneConfig | ProbeConfig | SegmentConfig) -> tuple[int, int, int] | None:
    """As `_pretraining`; images pass the blocks that are not trained one block at a time."""
    own = config.encoder
    run = run_of(own)
    if run is not None:
        arguments = of_this_version(read_encoder_arguments(find_model(run).path))
    elif own.init is not None:
        found = find_weights(own)
        arguments = {**found.description.encoder, **missing_arguments(own, found, "type {}")}
    elif own.preset is not None:
        arguments = encoder_arguments(own.preset, own.arguments())
    else:
        return None  # `choose_encoder` refuses it
    if not {"image_shape", "patch_size", "hidden_dim", "num_layers", "num_heads"} <= set(arguments):
        return None
    if own.image_size is not None and "image_shape" in arguments:
        arguments = {**arguments, "image_shape": (*own.image_size, arguments["image_shape"][-1])}
    encoder, pixels = _encoder(arguments)
    asked = 0 if isinstance(config, ProbeConfig) else config.head.num_trainable_layers
    trained = encoder.layers if asked is None else min(math.ceil(asked), encoder.layers)
    weights = encoder.weights + (pixels + 4 + encoder.tokens) * encoder.dim
    share = weights if asked is None else encoder._replace(layers=trained).weights
    passing = encoder.passing if trained < encoder.layers else 0
    if isinstance(config, ProbeConfig) and config.data.is_fixed and config.head.pooling == ATTENTIVE:
        at_once = max(1, config.optimizer.batch_size // ENCODED)  # batches of tokens, to one that is encoded
        passing = max(passing, 2 * at_once * encoder.tokens * encoder.dim)
    return weights, share, max(trained * encoder.kept, passing)


def _encoder(arguments: dict[str, Any]) -> tuple[Blocks, int]:
    """An encoder's blocks, and the number of values in a patch."""
    height, width, channels = arguments["image_shape"]
    size = arguments["patch_size"]
    rows, columns = (size, size) if isinstance(size, int) else size
    prefix = arguments.get("num_cls_tokens", 1) + arguments.get("num_registers", 0)
    dim = arguments["hidden_dim"]
    blocks = Blocks(
        arguments["num_layers"],
        dim,
        arguments.get("mlp_dim") or 4 * dim,
        arguments["num_heads"],
        (height // rows) * (width // columns) + prefix,
        gated=arguments.get("gated_mlp", False),
        has_rotation=arguments.get("rotary_temperature") is not None,
        has_qk_norm=arguments.get("qk_norm", False),
    )
    return blocks, rows * columns * channels


def check_memory(config: TrainingConfig, strategy: tf.distribute.Strategy) -> None:
    """Refuses a run for which there is not enough memory, before data are opened.

    It does nothing if the setting `check_memory` is off. Every worker must call this.

    Raises:
        ValueError: if not even the least that a step takes fits; with a setting that makes it fit.
    """
    if not config.run.check_memory:
        return
    memory, error, replicas = find_memory(), None, strategy.num_replicas_in_sync
    if memory is not None:
        here = replicas if memory.of_processor and not is_multiworker(strategy) else 1
        try:
            check_fits(config, memory, replicas, here)
        except ValueError as raised:
            error = raised
    if any_worker(strategy, [error is not None])[0]:
        raise error or ValueError("a worker of this run could not go on: its message says why")


def check_fits(config: TrainingConfig, memory: Memory, replicas: int = 1, here: int = 1) -> None:
    """Raises a `ValueError` if a step on `here` of the replicas does not fit into the memory.

    On a processor a step may take less than the estimate: it warns of a step that may fit.
    """
    needed = estimate(config, replicas)
    if needed is None or here * needed <= memory.free:
        return
    needed *= here
    todo = _remedy(config, memory.free, replicas, here)
    has = f"{memory.place} has {as_text(memory.free)}{' free' if memory.of_processor else ''}"
    if memory.of_processor and needed * _ON_PROCESSOR <= memory.free:
        _log.warning("a step may need about %s of memory, and %s: %s", as_text(needed), has, todo)
        return
    raise ValueError(
        f"a step needs about {as_text(needed)} of memory, and {has}: {todo}; or go on all the same with --set "
        "check_memory=False"
    )


def _remedy(config: TrainingConfig, free: int, replicas: int, here: int) -> str:
    """The settings that change the run least and make it fit, and the memory that it needs with them."""
    for changes in _smaller(config, replicas):
        needed = here * (estimate(replaced(config, **changes), replicas) or 0)
        if needed <= free:
            settings = " ".join(f"--set {key}={value}" for key, value in changes.items())
            return f"{settings} needs about {as_text(needed)}"
    return "its weights alone need most of that; take a smaller preset or image_size, or another machine"


def _smaller(config: TrainingConfig, replicas: int) -> Iterator[dict[str, Any]]:
    """Settings that need less memory, those that change the run least first.

    The same batch in more parts computes the same; then blocks compute their activations twice, too; then the batch
    is smaller.
    """
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
