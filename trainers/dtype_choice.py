"""What `dtype_policy=auto` stands for: the policy in which the devices of a run compute fastest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import tensorflow as tf

from keras_mae.trainers import machine
from keras_mae.trainers.auto_facts import COMPILED
from keras_mae.trainers.run import RunFolder
from keras_mae.trainers.settings import Config, replaced
from keras_mae.trainers.strategy import any_worker
from keras_mae.training.skipped_steps import has_accelerator

_log = logging.getLogger("keras_mae")
AUTO = "auto"
_FLOAT32, _FLOAT16, _BFLOAT16 = _POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")  # from the least on
# The compute capabilities of the first GPUs with fast products of these: Volta, Ampere
_OF_FLOAT16, _OF_BFLOAT16 = (7, 0), (8, 0)
_UNKNOWN = (0, 0)

ConfigT = TypeVar("ConfigT", bound=Config)


class Dtype(NamedTuple):
    """A dtype policy, and why it was chosen.

    Attributes:
        policy: `float32`, `mixed_float16` or `mixed_bfloat16`.
        why: a few words that follow the policy's name and a comma.
    """

    policy: str
    why: str


def with_dtype(
    config: ConfigT, strategy: tf.distribute.Strategy | None = None, began: RunFolder | None = None
) -> ConfigT:
    """The config with a dtype policy in place of `auto`, which is logged in one line; every worker must call this.

    Args:
        config: of a run; with another policy than `auto` it is returned as it is.
        strategy: of the run; None for one device.
        began: None, or the folder of a run that is resumed: it keeps its policy.
    """
    settings: Any = config
    if settings.run.dtype_policy != AUTO:
        return config
    there: Any = None if began is None else began.config_if_any()
    policy = getattr(getattr(there, "run", None), "dtype_policy", AUTO)
    chosen = choose_dtype(strategy, settings.run.jit_compile) if policy == AUTO else Dtype(policy, "as the run began")
    _log.info("dtype_policy=auto: %s, %s", *chosen)
    return replaced(config, dtype_policy=chosen.policy)


def choose_dtype(strategy: tf.distribute.Strategy | None = None, jit_compile: bool | None = None) -> Dtype:
    """The dtype policy for the devices of a strategy, the least of all of them; every worker must call this.

    TPUs, and GPUs of compute capability 8.0 or more (Ampere), compute in bfloat16, GPUs of 7.0 or more in float16.

    Args:
        strategy: of a run; None for one device.
        jit_compile: whether XLA compiles the step.
    """
    strategy = strategy or tf.distribute.get_strategy()
    mine = _of_devices(strategy, jit_compile)
    rank = _POLICIES.index(mine.policy)
    lacks_bfloat16, lacks_float16 = any_worker(strategy, [rank < 2, rank < 1])
    least = _FLOAT32 if lacks_float16 else _FLOAT16 if lacks_bfloat16 else _BFLOAT16
    return mine if least == mine.policy else Dtype(least, "as the devices of another worker compute in no other")


def _of_devices(strategy: tf.distribute.Strategy, jit_compile: bool | None) -> Dtype:
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        used = gpus[:1] if strategy.num_replicas_in_sync == 1 else gpus
        details = [tf.config.experimental.get_device_details(gpu) for gpu in used]
        return of_gpus([tuple(one.get("compute_capability") or _UNKNOWN) for one in details])
    if has_accelerator():
        return Dtype(_BFLOAT16, "as TPUs compute in it")
    return of_processor(machine.processor_flags(), jit_compile)


def of_gpus(capabilities: Sequence[tuple[int, ...]]) -> Dtype:
    """The dtype policy for GPUs of these compute capabilities, the least of them."""
    least, one = min(capabilities), len(capabilities) == 1
    named = "this GPU" if one else f"one of {len(capabilities)} GPUs"
    if least == _UNKNOWN:
        return Dtype(_FLOAT32, f"as {named} does not tell its compute capability")
    named += f" (compute capability {'.'.join(map(str, least))})"
    if least >= _OF_BFLOAT16:
        return Dtype(_BFLOAT16, "as this GPU computes in it" if one else f"as all {len(capabilities)} GPUs do")
    if least >= _OF_FLOAT16:
        return Dtype(_FLOAT16, f"as {named} computes in float16 and not in bfloat16")
    return Dtype(_FLOAT32, f"as {named} is no faster in 16 bits")


def of_processor(flags: frozenset[str], jit_compile: bool | None) -> Dtype:
    """The dtype policy for a processor with these flags of `/proc/cpuinfo`.

    On two cores with AVX-512 bf16 (AMD EPYC) a step of a graph takes so many times the processor seconds in bfloat16
    (`python -m benchmarks.accelerator.gpu_checks --processor`): ViT-B/16, batch 8, 0.59; ViT-tiny, 32 px, batch 64,
    0.70; digits, batch 25, 0.85; compiled by XLA ViT-tiny 1.08. AMX, which has faster products, was not measured.
    """
    if not flags & {"amx_bf16", "avx512_bf16"}:
        return Dtype(_FLOAT32, "as this processor has no instructions for bfloat16")
    if jit_compile:
        return Dtype(_FLOAT32, COMPILED)
    return Dtype(_BFLOAT16, "as this processor computes in it")
