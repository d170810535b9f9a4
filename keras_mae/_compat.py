"""All private names of other libraries that this package uses, and why no public one does.

A test looks at each: tests/test_compat.py says what to do when a library changes, or offers a public way. This module
imports no library before one of its functions is called.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Attributes of a tf.function: it is neither put into the graph around it, nor rewritten with that graph. Without
# `_noinline` a branch is put there, and all of it is visited where it is not taken. Without `_tf_data_function`
# TensorFlow rewrites it for each graph that can call it. `tf.config.optimizer` has settings for whole processes only.
STAYS_A_CALL = {"_noinline": True, "_tf_data_function": True}


@contextlib.contextmanager
def gradients_are_summed(optimizer: Any) -> Iterator[None]:
    """Within, `optimizer.apply` takes gradients that are the sum over the replicas already, and does not sum again.

    Keras 2 had `experimental_aggregate_gradients=False`. In the cross-replica context, where there is nothing to sum,
    `apply` fails: it looks for the replica's.
    """
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
    try:
        yield
    finally:
        del optimizer._all_reduce_sum_gradients


def built_when_made(model_class: type) -> type:
    """A class decorator: `fit` and `evaluate` do not build the models again, which have all variables from the start.

    On several workers Keras computes the mean over these of the first batch to learn its shapes, which fails for dicts
    and tuples, though the model, its metrics and its optimizer are built: there is nothing to ask it not to.
    """
    model_class._maybe_symbolic_build = lambda self, iterator=None, data_batch=None: None  # type: ignore[attr-defined]
    return model_class


def called_by_fit(arguments: Mapping[str, Any]) -> bool:
    """Whether it is `fit` that calls `evaluate(..., **arguments)` with its validation data, in every epoch.

    The data alone do not tell: with `validation_split` it is Keras that cuts them out, anew in each `fit`.
    """
    return bool(arguments.get("_use_cached_eval_dataset"))


def index_of(optimizer: Any, variable: Any) -> int:
    """Which of the variables that a Keras optimizer was built with `update_step` is given.

    Keras' own documentation of `keras.optimizers.Optimizer` writes `update_step` so. Under `tf.distribute` what is
    given is a replica's part, neither equal to the variable nor of its name.
    """
    return optimizer._get_variable_index(variable)


def rename(weight: Any, name: str, path: str) -> None:
    """Gives a `keras.Variable` another name; its name and path can be read only, and are given when it is made."""
    weight._name, weight._path = name, path


def note_of(state_dict: Any) -> Mapping[str, Any]:
    """What a PyTorch state dict says of itself, beside its tensors; see `set_note`."""
    return getattr(state_dict, "_metadata", {})


def set_note(state_dict: Any, note: Mapping[str, Any]) -> None:
    """Writes it where PyTorch's modules do; a key among the tensors is refused by those that load them strictly."""
    state_dict._metadata = note


def graph_of(function_def: Any, input_shapes: Sequence[Any]) -> Any:
    """The graph of a function in a graph's library, with static shapes, in the graph that is the default.

    `tf.import_graph_def` takes graphs, where an input has another form of name than in functions.
    """
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    return function_def_to_graph(function_def, input_shapes)
