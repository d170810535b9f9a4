"""A model whose step XLA compiles under every strategy, in executions of one step or several."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keras_mae.training.checked_model import CheckedModel
from keras_mae.training.executions import in_executions
from keras_mae.training.first_step import with_compilation
from keras_mae.training.replicas import has_threads
from keras_mae.training.skipped_steps import has_accelerator


class CompiledModel(CheckedModel):
    """A `CheckedModel` for which `jit_compile` holds on several replicas, too.

    Keras compiles the loop over the replicas, and nothing by itself (`"auto"`) under a strategy. XLA cannot compile
    where the threads of replicas meet, such as in an all-reduce; so under `MirroredStrategy` and
    `MultiWorkerMirroredStrategy` the step compiles its parts, if `jit_compile` says so. A `TPUStrategy` compiles every
    step as a whole.

    Attributes:
        steps_left: the number of steps that an epoch has left, so that its last execution of `steps_per_execution`
            steps has no more; None for executions that are whole, as Keras' are.
    """

    train_function: Any  # of Keras, from an iterator to the logs
    steps_left: int | None = None

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """As `CheckedModel.compile`; `jit_compile="auto"` compiles with an accelerator, whatever the strategy."""
        super().compile(*args, **kwargs)
        strategy = self.distribute_strategy
        if isinstance(strategy, tf.distribute.TPUStrategy):
            self.jit_compile = False
        elif kwargs.get("jit_compile", "auto") == "auto" and has_threads(strategy) and not self.run_eagerly:
            self.jit_compile = has_accelerator()

    def make_train_function(self, force: bool = False):
        """As Keras'; builds the optimizer first, as a step may be in a branch, which cannot make variables."""
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        before = self.train_function
        with self._graph_around_replicas():
            super().make_train_function(force)
        if self.train_function is not before:
            function = in_executions(self, self.train_function)
            on_tpu = isinstance(self.distribute_strategy, tf.distribute.TPUStrategy)
            compiles = (self.jit_compile or on_tpu) and not self.run_eagerly
            self.train_function = with_compilation(self, function) if compiles else function
        return self.train_function

    def make_test_function(self, force: bool = False):
        """As Keras'; an evaluation on several replicas is not compiled."""
        with self._graph_around_replicas():
            return super().make_test_function(force)

    def compiles_parts(self) -> bool:
        """Whether the step that is traced now compiles its parts, for this replica's device."""
        return bool(self.jit_compile) and has_threads(tf.distribute.get_strategy()) and not tf.executing_eagerly()

    @contextlib.contextmanager
    def _graph_around_replicas(self) -> Iterator[None]:
        asked = self.jit_compile
        self.jit_compile = asked and not has_threads(self.distribute_strategy)
        try:
            yield
        finally:
            self.jit_compile = asked
