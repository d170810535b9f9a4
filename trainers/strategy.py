"""The devices of a run: one, several, several machines, or TPUs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

_LONGEST_TEXT = 262_144  # bytes
NAMES = ("auto", "single", "mirrored", "multiworker", "tpu")


def make_strategy(name: str = "auto", tpu: str = "local") -> tf.distribute.Strategy:
    """The strategy that `--strategy` names. Call this before any tensor is made.

    Args:
        name: `single`: one device. `mirrored`: every GPU of this machine, or every logical processor device.
            `multiworker`: the machines in the environment's `TF_CONFIG`, with every GPU of each. `tpu`: the TPU that
            `tpu` names. `auto`: multiworker if `TF_CONFIG` has several workers, mirrored if there are several GPUs,
            else single.
        tpu: name or address of a TPU for TensorFlow's resolver; `local` is that of this machine.

    Raises:
        ValueError: for another name, or if its devices are missing.
    """
    if name not in NAMES:
        raise ValueError(f"a strategy is one of {', '.join(NAMES)}; got {name!r}")
    if name == "auto":
        several_gpus = len(tf.config.list_physical_devices("GPU")) > 1
        name = "multiworker" if len(_workers()) > 1 else "mirrored" if several_gpus else "single"
    if name == "single":
        return tf.distribute.get_strategy()
    return {"mirrored": _mirrored, "multiworker": _multiworker, "tpu": lambda: _tpu(tpu)}[name]()


def _mirrored() -> tf.distribute.Strategy:
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise ValueError(
            f"--strategy=mirrored needs at least two devices, and there is one {devices[0].device_type}; use "
            "--strategy=single"
        )
    # The default collective does not always finish on processors
    reduction = None if gpus else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy([device.name for device in devices], cross_device_ops=reduction)


def _multiworker() -> tf.distribute.Strategy:
    if not _workers():
        raise ValueError(
            "--strategy=multiworker needs the machines in the environment variable TF_CONFIG, on each with its own "
            'index: {"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ValueError(f"--strategy=multiworker: workers must be set up before anything else ({error})") from error


def _workers() -> list[str]:
    """The addresses of the workers in `TF_CONFIG`, the chief first."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        record = json.loads(text or "{}")
        cluster, task = record.get("cluster", {}), record.get("task", {})
        workers = [*cluster.get("chief", []), *cluster.get("worker", [])]
        if workers:
            cluster[task["type"]][task["index"]]
    except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"TF_CONFIG is JSON with a cluster, and a task (type and index) in it; got {text!r}"
        ) from error
    return workers


def _tpu(name: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except Exception as error:  # the resolver and its transport raise many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"--strategy=tpu: cannot reach the TPU {name!r} ({reason}); name one with --tpu") from error
    return tf.distribute.TPUStrategy(resolver)


def is_multiworker(strategy: tf.distribute.Strategy) -> bool:
    """Whether several processes train together."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and len(_workers()) > 1


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run's files: it is the only one, the chief, or the first worker."""
    if not is_multiworker(strategy):
        return True
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or ("chief" not in cluster and resolver.task_id == 0)


def on_chief(strategy: tf.distribute.Strategy, act: Callable[[], None]) -> None:
    """Calls `act` on the chief alone, while the other workers wait.

    Raises:
        ValueError, OSError: the error of `act` on the chief; on the others a ValueError that refers to it.
    """
    error: ValueError | OSError | None = None
    if is_chief(strategy):
        try:
            act()
        except (ValueError, OSError) as raised:
            error = raised
    if any_worker(strategy, [error is not None])[0]:
        raise error or ValueError("the first worker could not go on: its message says why")


def check_batch(batch_size: int, accumulation_steps: int, strategy: tf.distribute.Strategy) -> None:
    """Raises a ValueError if a batch cannot be divided among the replicas and their parts."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % (replicas * accumulation_steps):
        raise ValueError(
            f"a batch must be divisible by {replicas} replicas x accumulation_steps={accumulation_steps}: got "
            f"batch_size={batch_size}; the next larger is {-(-batch_size // (replicas * accumulation_steps))} x "
            f"{replicas * accumulation_steps}"
        )


def distributed(strategy: tf.distribute.Strategy, batch_size: int, make_dataset: Callable[[int, int], tf.data.Dataset]):
    """The input of `fit`: replica r of R gets the r-th of R contiguous shares of every global batch.

    Args:
        strategy: of the run.
        batch_size: of a global batch.
        make_dataset: from (number of hosts, index of this host) to the host's endless stream of contiguous shares.
    """
    if strategy.num_replicas_in_sync == 1:
        return make_dataset(1, 0)

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        dataset = make_dataset(context.num_input_pipelines, context.input_pipeline_id)
        # `repeat`: of an endless data set, replicas need not agree in every step whether there is another batch
        return dataset.rebatch(context.get_per_replica_batch_size(batch_size), drop_remainder=True).repeat()

    return strategy.distribute_datasets_from_function(of_host)


def of_chief(strategy: tf.distribute.Strategy, text: str) -> str:
    """The chief's text, on every worker. Every worker must call this at the same point: it waits for all."""
    if not is_multiworker(strategy):
        return text
    mine = text.encode() if is_chief(strategy) else b""
    padded = np.frombuffer(mine.ljust(_LONGEST_TEXT, b"\0"), np.uint8)
    values = strategy.run(tf.identity, args=(tf.constant(padded, tf.float32),))
    total = strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None).numpy()
    devices = strategy.num_replicas_in_sync // len(_workers())  # of the chief, each of which has added the text
    return bytes((total / devices).round().astype(np.uint8)).rstrip(b"\0").decode()


def any_worker(strategy: tf.distribute.Strategy, flags: Sequence[bool]) -> list[bool]:
    """Which of the flags are set on any worker. Every worker must call this at the same step: it waits for all."""
    if not is_multiworker(strategy):
        return list(flags)
    values = strategy.run(tf.identity, args=(tf.constant(flags, tf.float32),))
    return [bool(count) for count in strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None).numpy()]
