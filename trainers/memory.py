"""An estimate of the memory that a training step needs, compared with the memory of the machine."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keras_mae.encoders.pooling import ATTENTIVE
from keras_mae.encoders.presets import encoder_arguments, of_this_version
from keras_mae.models.saved_files import read_encoder_arguments
from keras_mae.trainers import compiled_size
from keras_mae.trainers.classifier_config import FinetuneConfig, ProbeConfig
from keras_mae.trainers.compiled_size import Accelerator
from keras_mae.trainers.config import PretrainConfig, TrainingConfig
from keras_mae.trainers.encoder_choice import missing_arguments, run_of
from keras_mae.trainers.features import ENCODED
from keras_mae.trainers.first_weights import find_weights
from keras_mae.trainers.free_memory import Memory, find_memory
from keras_mae.trainers.segment_config import SegmentConfig
from keras_mae.trainers.settings import replaced
from keras_mae.trainers.step_size import StepSize, bytes_each, encoder_blocks, step_size
from keras_mae.trainers.strategy import any_worker, is_multiworker
from keras_mae.trainers.trained_model import find_model

_log = logging.getLogger("keras_mae")
_ON_PROCESSOR = 0.6  # of the estimate, without attention: the least that a step took where it was measured


def estimate(
    config: TrainingConfig, replicas: int = 1, device: Accelerator | None = None, attention: bool = True
) -> int | None:
    """Bytes on each replica, about: weights, gradients and AdamW's two moments in float32, and activations.

    With `device` it is a step that XLA compiles whole for it, see `compiled_size`; else a graph's, on a processor.

    For the backward pass a graph's transformer block of width D keeps, for each of its N tokens, some 16 D numbers
    (norms, queries, keys and values and their reordered forms, residuals), the MLP's hidden layer three times (before,
    within and after GELU; a gated MLP its two halves twice, the gate and the product), and the attention's logits and
    probabilities, N of each for each head. Rotary positions add 2 D, norms of queries and keys 4 D. A block of
    cross-attention keeps 12 D for each query, and 4 D for each token that it attends to; its own sum of the encoder's
    layers adds that sum and its norm. A rematerialised block keeps its input (D), a frozen one nothing. TensorFlow
    itself and its scratch space come on top. Where layers have their own gradients, a step takes less: two thirds of
    the estimate where it was measured; without a bias, attention's logits and probabilities are computed again.

    Args:
        config: of a run; the model is not built.
        replicas: number of replicas that share a batch.
        device: an accelerator, or None for a processor.
        attention: whether attention's logits and probabilities are counted, on a processor.

    Returns:
        The bytes; None if the encoder or the decoder is not a transformer of this package, or there is no encoder.
    """
    images = config.optimizer.batch_size / (replicas * getattr(config.optimizer, "accumulation_steps", 1))
    if isinstance(config, PretrainConfig) and device is not None:
        return compiled_size.memory(config, images, device)
    sizes = (
        step_size(config, attention) if isinstance(config, PretrainConfig) else _classifier(config, device, attention)
    )
    if sizes is None:
        return None
    if isinstance(config, ProbeConfig) and config.data.is_fixed:
        images = min(images, ENCODED)
    return sizes.memory(images, bytes_each(config.run.dtype_policy))


def _least_on_processor(config: TrainingConfig, replicas: int) -> float:
    return _ON_PROCESSOR * (estimate(config, replicas, attention=False) or 0)


def device_here() -> Accelerator | None:
    """The accelerator on which this process trains; None for a processor."""
    types = {device.device_type for device in tf.config.list_logical_devices()}
    return compiled_size.TPU if "TPU" in types else compiled_size.GPU if "GPU" in types else None


def _classifier(
    config: FinetuneConfig | ProbeConfig | SegmentConfig, device: Accelerator | None = None, attention: bool = True
) -> StepSize | None:
    """As `step_size`; images pass the blocks that are not trained one block at a time."""
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
    encoder, pixels = encoder_blocks(arguments)
    asked = 0 if isinstance(config, ProbeConfig) else config.head.num_trainable_layers
    trained = encoder.layers if asked is None else min(math.ceil(asked), encoder.layers)
    weights = encoder.weights + (pixels + 4 + encoder.tokens) * encoder.dim
    share = weights if asked is None else encoder._replace(layers=trained).weights
    passing = encoder.passing if trained < encoder.layers else 0
    if isinstance(config, ProbeConfig) and config.data.is_fixed and config.head.pooling == ATTENTIVE:
        at_once = max(1, config.optimizer.batch_size // ENCODED)  # batches of tokens, to one that is encoded
        passing = max(passing, 2 * at_once * encoder.tokens * encoder.dim)
    there = encoder if attention else encoder._replace(heads=0)
    kept = there.kept if device is None else compiled_size.kept(encoder, device)
    return StepSize(weights, share, max(trained * kept, passing), 0)


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
    device = None if memory.of_processor else device_here() or compiled_size.GPU
    needed = estimate(config, replicas, device)
    if needed is None or here * needed <= memory.free:
        return
    needed *= here
    todo = _remedy(config, memory.free, replicas, here, device)
    has = f"{memory.place} has {as_text(memory.free)}{' free' if memory.of_processor else ''}"
    if memory.of_processor and here * _least_on_processor(config, replicas) <= memory.free:
        _log.warning("a step may need about %s of memory, and %s: %s", as_text(needed), has, todo)
        return
    raise ValueError(
        f"a step needs about {as_text(needed)} of memory, and {has}: {todo}; or go on all the same with --set "
        "check_memory=False"
    )


def _remedy(config: TrainingConfig, free: int, replicas: int, here: int, device: Accelerator | None) -> str:
    """The settings that change the run least and make it fit, and the memory that it needs with them."""
    for changes in _smaller(config, replicas):
        needed = here * (estimate(replaced(config, **changes), replicas, device) or 0)
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
