"""All private names of other libraries that this package uses, and the public ways that were tried.

tests/test_compat.py tests each, and says what to do when a library changes or offers a public way. No library is
imported before a function is called.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Attributes of a tf.function that keep it out of the graph around it. Without `_noinline` a branch is inlined, and all
# of it is visited where it is not taken. Without `_tf_data_function` TensorFlow rewrites the function for each graph
# that can call it. `tf.config.optimizer` has settings for whole processes only.
STAYS_A_CALL = {"_noinline": True, "_tf_data_function": True}


@contextlib.contextmanager
def gradients_are_summed(optimizer: Any) -> Iterator[None]:
    """Makes `optimizer.apply` take gradients that are summed over the replicas already.

    Keras 2 had `experimental_aggregate_gradients=False`. In the cross-replica context, where nothing is summed, `apply`
    fails, as it looks for a replica's context.
    """
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
    try:
        yield
    finally:
        del optimizer._all_reduce_sum_gradients


def built_when_made(model_class: type) -> type:
    """A class decorator for models that are built when made: `fit` and `evaluate` do not build them again.

    On several workers Keras averages the first batch over the workers to learn its shapes, which fails for dicts and
    tuples, even for a built model, and has no setting for that.
    """
    model_class._maybe_symbolic_build = lambda self, iterator=None, data_batch=None: None  # type: ignore[attr-defined]
    return model_class


def called_by_fit(arguments: Mapping[str, Any]) -> bool:
    """Whether `fit` calls `evaluate(..., **arguments)` with its validation data, in every epoch.

    The data do not tell: with `validation_split`, Keras makes new arrays in each `fit`.
    """
    return bool(arguments.get("_use_cached_eval_dataset"))


def index_of(optimizer: Any, variable: Any) -> int:
    """The index of the variable that `update_step` is given among those of a built Keras optimizer.

    Keras' documentation of `keras.optimizers.Optimizer` uses it too. Under `tf.distribute` the given one is a replica's
    part, neither equal to the variable nor of its name.
    """
    return optimizer._get_variable_index(variable)


def better(metric: Any) -> str | None:
    """The mode of callbacks for a metric, "max" or "min"; None if it does not know.

    Keras' callbacks look for it in the metrics that Keras' own `compile` has kept.
    """
    return {"up": "max", "down": "min"}.get(getattr(metric, "_direction", None) or "")


def rename(weight: Any, name: str, path: str) -> None:
    """Renames a `keras.Variable`, whose public name and path are read-only."""
    weight._name, weight._path = name, path


def note_of(state_dict: Any) -> Mapping[str, Any]:
    """The metadata of a PyTorch state dict; see `set_note`."""
    return getattr(state_dict, "_metadata", {})


def set_note(state_dict: Any, note: Mapping[str, Any]) -> None:
    """Sets the metadata as PyTorch's modules do; strict loading refuses a further key among the tensors."""
    state_dict._metadata = note


def graph_of(function_def: Any, input_shapes: Sequence[Any]) -> Any:
    """The graph of a function in a graph's library, with static shapes, in the default graph.

    `tf.import_graph_def` takes graphs, whose inputs have names of another form than those of functions.
    """
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    return function_def_to_graph(function_def, input_shapes)


def behind_a_barrier(tensors: Sequence[Any]) -> list[Any]:
    """The tensors of a step that XLA compiles, which XLA can take neither apart nor together with others.

    None of them is there before all are. `tf.raw_ops` lacks XLA's barrier. `tf.identity`, `tf.stop_gradient` and
    pairs of casts or bitcasts vanish in XLA.
    """
    from tensorflow.compiler.tf2xla.ops import gen_xla_ops

    return gen_xla_ops.xla_optimization_barrier(list(tensors))


@contextlib.contextmanager
def copies_are_freed() -> Iterator[None]:
    """Makes tf2onnx free a copy of a graph, with all its weights, before it makes the next.

    It makes one for each of some sixty passes, in cycles that Python's collector finds late, as it counts objects and
    not bytes: 20 GB for a ViT-B. Only the passes can be chosen, not the copies. The collector is spared what was there
    before: TensorFlow's own objects are millions.
    """
    import copy
    import gc
    import types

    from tf2onnx import optimizer

    def deepcopy(graph):
        gc.collect()
        return copy.deepcopy(graph)

    frozen_before = gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    optimizer.copy = types.SimpleNamespace(deepcopy=deepcopy)
    try:
        yield
    finally:
        optimizer.copy = copy
        if not frozen_before:
            gc.unfreeze()


def umap_class() -> Any:
    """The class `umap.UMAP` of umap-learn, without its parametric form.

    `import umap` imports that form as well, and with it PyTorch and torchvision if they are installed: this takes
    seconds, and a torchvision that is made for another PyTorch raises a `RuntimeError`. There is no setting for it.
    """
    import sys
    import warnings

    unwanted = "umap.parametric_umap"
    left_out = unwanted not in sys.modules
    if left_out:
        sys.modules[unwanted] = None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # that the form is missing
            import umap
    finally:
        if left_out:
            del sys.modules[unwanted]
    return umap.UMAP
