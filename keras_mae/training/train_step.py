"""One train step for all models: a function of (weights, global batch, seed, step), whatever the number of replicas."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from keras_mae import _compat
from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import kernels
from keras_mae.layers.kernels import Kernels, use_kernels
from keras_mae.training.batch_parts import batch_size_of, split
from keras_mae.training.checked_model import DataFault
from keras_mae.training.compiled_model import CompiledModel
from keras_mae.training.equal_shares import EqualShares
from keras_mae.training.guarded_update import guarded_update, loss_scale
from keras_mae.training.replicas import compiled_here
from keras_mae.training.skipped_steps import has_accelerator
from keras_mae.training.step_record import StepRecord


@_compat.built_when_made
class GlobalBatchModel(CompiledModel):
    """A `keras.Model` whose `fit` takes the same step on one replica and on many, in one go or in parts.

    The gradient is that of the mean loss over the global batch. A step whose loss or gradient is not finite on any
    replica is skipped on all of them: weights, optimizer and statistics do not change, `skipped_steps` counts it, and
    its loss is not part of the epoch's mean; the mean of no step is NaN. With `spike_factor` a step is skipped, or
    clipped, if its gradient's norm is above that many times the running median, see `StepRecord`. Everything random in
    a step is a function of (`seed`, number of the batch, index of the example in the global batch).

    With `jit_compile` XLA compiles the step. If it fails, the run goes on uncompiled, and says so in one line.

    Subclasses implement `batch_loss`.

    Args:
        seed: int, determines masks and drop path.

    Attributes:
        skipped_steps: int64 variable, the number of skipped steps since `compile`.
        step_record: loss and gradient norm of the last steps.
    """

    skipped_steps: tf.Variable
    step_record: StepRecord
    clip_norm: float | None
    spike_factor: float | None = None
    spike_action: str = "skip"

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self._shares = EqualShares()

    @property
    def batches_seen(self) -> tf.Tensor:
        """The number of batches since `compile`, skipped ones included: int64 scalar.

        It is the number of the next batch, and determines its data, masks and drop path.
        """
        return tf.cast(self.optimizer.iterations, tf.int64) + self.skipped_steps

    @abc.abstractmethod
    def batch_loss(self, data, seed: ExampleSeed, training: bool) -> tf.Tensor:
        """The mean loss over the examples of `data`, a part of the global batch: a float32 scalar.

        Args:
            data: a batch, as the data set yields it.
            seed: for everything random.
            training: False in `evaluate`.
        """

    def after_update(self) -> None:
        """Follows each update of the weights, within the step; a skipped step skips it. Nothing by default.

        It is for teachers, whose weights follow those of the network. On several replicas all assign the same values:
        make the variables with `aggregation="only_first_replica"`.
        """

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        *,
        accumulation_steps: int = 1,
        clip_norm: float | None = None,
        spike_factor: float | None = None,
        spike_action: str = "skip",
        **kwargs: Any,
    ) -> None:
        """As `keras.Model.compile`, with more settings.

        Args:
            optimizer: a Keras optimizer, without `gradient_accumulation_steps`, which fails on several replicas.
            loss, loss_weights, metrics, weighted_metrics: None for the model's own; see `ImageHead.compile` for models
                that take others.
            accumulation_steps: the number of parts of a replica's share of a batch; the result is that of the whole
                batch, the memory for activations that of a part. The share must be divisible by it, except in the
                last, smaller batch of an epoch.
            clip_norm: None, or the upper bound of the gradient's global norm.
            spike_factor: None, or the multiple of the running median above which the gradient's norm is a spike. The
                median begins anew after `compile`.
            spike_action: of a step with a spike: `"skip"`, or `"clip"` to this multiple.
            **kwargs: see `keras.Model.compile`. `jit_compile` compiles under `MirroredStrategy` and
                `MultiWorkerMirroredStrategy` what each replica computes by itself: the forward and backward pass, the
                gradient's norm, and the update of this package's AdamW. "auto" does so with an accelerator.

        Raises:
            ValueError: for settings out of range, a loss or metrics that the model does not take, or accumulation with
                BatchNorm, whose statistics would be those of a part.
        """
        if accumulation_steps < 1:
            raise ValueError(f"accumulation_steps counts the parts of a batch, from 1 on; got {accumulation_steps!r}")
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm is a positive bound on the gradient's norm, or None; got {clip_norm!r}")
        if spike_factor is not None and not spike_factor > 1:
            raise ValueError(
                f"spike_factor is a multiple of the median norm of the gradient, above 1, or None; got {spike_factor!r}"
            )
        if spike_action not in ("skip", "clip"):
            raise ValueError(f"spike_action is 'skip' or 'clip'; got {spike_action!r}")
        if accumulation_steps > 1 and self._batch_norms():
            raise ValueError(
                f"{self.name} has a BatchNorm, whose statistics would be those of a part of the batch: "
                f"set accumulation_steps=1, got {accumulation_steps}"
            )
        self.accumulation_steps, self.clip_norm = accumulation_steps, clip_norm
        self.spike_factor, self.spike_action = spike_factor, spike_action
        super().compile(optimizer, loss, loss_weights, metrics, weighted_metrics, **kwargs)
        inner: Any = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if getattr(inner, "gradient_accumulation_steps", None):
            raise ValueError(
                "give accumulation_steps to compile in place of gradient_accumulation_steps to the optimizer, which "
                "fails on several replicas"
            )
        if self.distribute_strategy.num_replicas_in_sync > 1 and not isinstance(
            inner.iterations.value, tf.distribute.DistributedValues
        ):
            raise ValueError(
                "the optimizer was made outside of the strategy of the model, and would count a step once for each "
                "replica: make it, and call compile, within `with strategy.scope():`"
            )
        self.skipped_steps, self.step_record = self.counter("skipped_steps"), StepRecord(self.distribute_strategy)

    def counter(self, name: str) -> tf.Variable:
        """A new int64 variable, 0, that all replicas change alike."""
        same = tf.VariableAggregation.ONLY_FIRST_REPLICA
        with self.distribute_strategy.scope():
            return tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=same, name=name)

    def data_faults(self) -> list[DataFault]:
        return [self._shares.fault]

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if config:
            names = ("accumulation_steps", "clip_norm", "spike_factor", "spike_action")
            config |= {name: getattr(self, name) for name in names}
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def train_step(self, data) -> dict[str, tf.Tensor]:
        """Forward pass, gradients, one all-reduce, check and update; returns the logs."""
        batch_size, batch = batch_size_of(data), self.batches_seen
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        by_parts = self.compiles_parts()
        moved = [(variable, tf.identity(variable)) for variable in self._moved_by_forward_pass()]

        def of_replica(batch):
            return self._gradients(data, ExampleSeed.for_step(self.seed, batch, batch_size_of(data)), replicas)

        # the statistics of a BatchNorm are those of all replicas, whose threads meet for them
        compiles = by_parts and not self._batch_norms()
        loss, gradients = (compiled_here(of_replica) if compiles else of_replica)(batch)
        if replicas > 1:
            sums = [loss, tf.cast(batch_size, tf.float32), *gradients]
            loss, total, *gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, sums)
            loss = self._shares.checked(loss, total, batch_size)
        inner: Any = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if hasattr(inner, "without_frozen"):  # our AdamW: what is frozen is not part of the norm
            gradients = inner.without_frozen(gradients)
        norm = (compiled_here(tf.linalg.global_norm) if by_parts else tf.linalg.global_norm)(gradients)
        finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        norm /= loss_scale(self.optimizer)
        median = self.step_record.median() if self.spike_factor else tf.constant(math.nan)
        # not NaN: TensorFlow's graphs take `~(norm > limit)` for `norm <= limit`
        limit = tf.where(tf.math.is_nan(median), math.inf, median * (self.spike_factor or math.inf))
        spike, clips = norm > limit, self.spike_action == "clip"
        good = finite if clips else finite & ~spike
        guarded_update(
            self.optimizer,
            gradients,
            self.trainable_variables,
            finite,
            good,
            norm,
            self.clip_norm,
            tf.where(spike, limit, math.inf) if clips and self.spike_factor else None,
            self.skipped_steps,
            self.after_update,
            compiled_here if by_parts else None,
        )
        for variable, before in moved:
            variable.assign(tf.where(good, variable, before))
        self.step_record.write(batch, loss, norm, median, finite, spike, clips)
        return self._logs(tf.where(good, loss, 0.0), tf.where(good, batch_size, 0), otherwise=loss)

    def test_step(self, data) -> dict[str, tf.Tensor]:
        """The loss in inference mode; every batch has the masks of step 0, so that two calls agree."""
        batch_size = batch_size_of(data)
        loss = self.batch_loss(data, ExampleSeed.for_step(self.seed, 0, batch_size), training=False)
        return self._logs(tf.where(batch_size > 0, loss, 0.0), batch_size)  # the last batch may not reach all replicas

    def _gradients(self, data, seed: ExampleSeed, replicas: int) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """This replica's part of the mean loss, and of the gradient of the scaled loss; both float32."""
        # TensorFlow's variables: for a Keras variable without influence on the loss it finds no dtype for the zeros
        variables = [variable.value for variable in self.trainable_variables]
        parts = self.accumulation_steps

        def of(data, seed, count=1):
            with use_kernels(self._kernels(replicas)):
                with tf.GradientTape() as tape:
                    loss = self.batch_loss(data, seed, training=True) / tf.cast(replicas * count, tf.float32)
                    scaled_loss = self.optimizer.scale_loss(loss)
                gradients = tape.gradient(scaled_loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return loss, [tf.cast(tf.convert_to_tensor(gradient), tf.float32) for gradient in gradients]

        if parts == 1:
            return of(data, seed)
        part_of, count, length = split(data, parts)

        def add(part, *sums):
            loss, gradients = of(part_of(part), seed.skip(part * length), count)
            return part + 1, *(total + more for total, more in zip(sums, [loss, *gradients], strict=True))

        zeros = [tf.zeros([]), *(tf.zeros(variable.shape) for variable in variables)]
        # a loop: unrolled, TensorFlow may hold the activations of all parts at once
        _, loss, *gradients = tf.while_loop(lambda part, *_: part < count, add, [0, *zeros], parallel_iterations=1)
        return loss, gradients

    def _kernels(self, replicas: int) -> Kernels | None:
        """Those of the layers in the step that is traced now."""
        if tf.executing_eagerly():
            return None
        if has_accelerator():
            if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
                return kernels.TPU_KERNELS
            return kernels.COMPILED_KERNELS if self.jit_compile else None
        if self.jit_compile:
            return kernels.XLA_KERNELS
        # They compile parts of a graph for a processor; its logical devices have no cores of their own to gain with
        return kernels.GRAPH_KERNELS if replicas == 1 and kernels.compiles_on_processor() else None

    def _batch_norms(self) -> list[keras.layers.Layer]:
        return [layer for layer in _inside(self) if isinstance(layer, keras.layers.BatchNormalization)]

    def _moved_by_forward_pass(self) -> list[keras.Variable]:
        """The variables that `batch_loss` changes: the statistics of BatchNorms and of metrics."""
        metrics = [metric for metric in self.metrics if metric.name != "loss"]
        owners = [*self._batch_norms(), *metrics]
        return [variable for owner in owners for variable in owner.variables if not variable.trainable]

    def _logs(self, loss, batch_size, otherwise=None) -> dict[str, tf.Tensor]:
        """The means so far; `otherwise` for the loss while all steps were skipped."""
        mean_loss = next(metric for metric in self.metrics if metric.name == "loss")  # of Keras' `compile`
        mean_loss.update_state(loss, sample_weight=batch_size)
        logs = {name: metric.result() for name, metric in self.logged_metrics().items()}
        if otherwise is not None:
            nothing = tf.equal(tf.convert_to_tensor(mean_loss.count), 0)
            logs["loss"] = tf.where(nothing, otherwise, logs["loss"])
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            # Keras 3.15 takes the mean over the workers along the first axis, which scalars lack
            logs = {name: tf.convert_to_tensor(value)[None] for name, value in logs.items()}
        return logs


def _inside(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """All layers in a layer, at any depth."""
    if isinstance(layer, keras.Model):
        parts = layer.layers
    else:
        values = (value if isinstance(value, (list, tuple)) else [value] for value in vars(layer).values())
        parts = [item for items in values for item in items if isinstance(item, keras.layers.Layer)]
    for part in parts:
        yield part
        yield from _inside(part)
