"""What keras_mae/_compat.py relies on is still there, and no public way has come: each failure says what to do next."""

import collections
import contextlib
import gc
import importlib.util
import inspect
import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae import _compat
from tests.base import run_forked


def optimizer_of(*variables):
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build(variables)
    return optimizer


def test_the_optimizer_asks_for_the_sum_over_the_replicas():
    variable = keras.Variable([1.0, 2.0])
    optimizer, asked = optimizer_of(variable), []
    with _compat.gradients_are_summed(optimizer):
        found = optimizer._all_reduce_sum_gradients
        optimizer._all_reduce_sum_gradients = lambda pairs: [asked.append(True), found(pairs)][1]
        optimizer.apply([tf.constant([0.5, 0.5])], [variable])
    assert asked and hasattr(type(optimizer), "_all_reduce_sum_gradients"), (
        "Keras' optimizers do not sum gradients by _all_reduce_sum_gradients any more: find where `apply` sums "
        "them over the replicas, and switch that off in gradients_are_summed, see _compat.py"
    )
    np.testing.assert_allclose(variable, [0.5, 1.5])
    assert "_all_reduce_sum_gradients" not in vars(optimizer)


def on_two_replicas():
    """What `apply` makes of gradients of 1 on two replicas: the variable, or the error."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    results = {}
    for case in ("twice", "once", "across"):
        with strategy.scope():
            variable = keras.Variable([0.0])
            optimizer = optimizer_of(variable)

        def apply(gradient, optimizer=optimizer, variable=variable):
            optimizer.apply([gradient], [variable])

        def across(strategy, gradient, apply=apply):
            apply(gradient)

        def step(case=case, apply=apply, across=across):
            if case == "across":
                tf.distribute.get_replica_context().merge_call(across, args=(tf.ones([1]),))
            else:
                apply(tf.ones([1]))

        try:
            with _compat.gradients_are_summed(optimizer) if case == "once" else contextlib.nullcontext():
                strategy.run(tf.function(step, autograph=False))
            results[case] = float(np.asarray(variable)[0])
        except Exception as error:  # whatever it is
            results[case] = f"{type(error).__name__}: {error}"[:200]
    return results


def children(_):
    from tests.forked import Child

    return Child(on_two_replicas, devices=2).result()


@pytest.mark.medium
def test_there_is_no_public_way_to_apply_a_sum():
    process = run_forked("-m", "tests.forked", "tests.test_compat", "replicas")
    assert process.returncode == 0, process.stderr[-4000:]
    results = json.loads(process.stdout.split("RESULT", 1)[1])
    assert (results["twice"], results["once"]) == (-2.0, -1.0), (
        f"Keras' optimizers sum no more, or gradients_are_summed does not keep them from it: {results}"
        "; if the first is 1, take gradients_are_summed out of guarded_update.py and _compat.py"
    )
    assert isinstance(results["across"], str), (
        "Keras' optimizers can be applied in the cross-replica context, where nothing is summed: try that in "
        f"guarded_update.py, with clipnorm too, and remove gradients_are_summed from _compat.py; got {results}"
    )


def model_under_a_strategy():
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        model = Evaluated()
        model.compile("sgd", "mse")
    return model


class Evaluated(keras.Model):
    """Notes what `fit` calls it with."""

    def __init__(self):
        super().__init__()
        self.dense, self.given, self.built_again = keras.layers.Dense(1), [], 0

    def call(self, x):
        return self.dense(x)

    def evaluate(self, *args, **kwargs):
        self.given.append(kwargs)
        return super().evaluate(*args, **kwargs)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        self.built_again += 1
        return super()._maybe_symbolic_build(iterator, data_batch)


def test_fit_builds_models_by_this_method():
    """Whether it still has to be kept from that: test_two_processes_take_the_step_of_one in test_replicas.py."""
    name = "_maybe_symbolic_build"
    model = model_under_a_strategy() if hasattr(keras.Model, name) else None
    if model is not None:
        model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    assert model is not None and model.built_again, (
        f"Keras does not build models by {name} any more: run tests/training/test_replicas.py -k two_processes; if "
        "`fit` takes dicts on two workers, remove built_when_made from _compat.py, else find what builds them now"
    )
    given = inspect.signature(getattr(keras.Model, name)).parameters
    assert set(given) <= {"self", "iterator", "data_batch"}, (
        f"Keras calls {name} with {list(given)}: let built_when_made in _compat.py take them"
    )

    @_compat.built_when_made
    class Ours(Evaluated):
        pass

    assert Ours._maybe_symbolic_build is not Evaluated._maybe_symbolic_build
    assert Ours()._maybe_symbolic_build(iterator=iter(())) is None


@pytest.mark.parametrize(
    "validation", [{"validation_split": 0.5}, {"validation_data": (np.ones((2, 3)), np.ones((2, 1)))}]
)
def test_it_can_be_told_that_fit_evaluates(validation):
    model = Evaluated()
    model.compile("sgd", "mse")
    data = np.ones((4, 3)), np.ones((4, 1))
    model.fit(*data, epochs=2, verbose=0, **validation)
    model.evaluate(*data, verbose=0)
    assert [*map(_compat.called_by_fit, model.given)] == [True, True, False], (
        "Keras' fit does not pass _use_cached_eval_dataset to evaluate any more: look at what it passes "
        f"({[sorted(each) for each in model.given]}), and change called_by_fit in _compat.py; else images are looked "
        "at in every epoch"
    )


def test_a_variable_has_a_number_in_its_optimizer():
    variables = [keras.Variable(np.ones(shape)) for shape in ((2,), (3,), (2,))]
    optimizer = optimizer_of(*variables)
    assert hasattr(optimizer, "_get_variable_index"), (
        "Keras' optimizers have no _get_variable_index any more: see how `update_step` in the documentation of "
        "keras.optimizers.Optimizer finds a variable's momentum now, and change index_of in _compat.py"
    )
    assert [_compat.index_of(optimizer, variable) for variable in variables] == [0, 1, 2]
    assert [_compat.index_of(optimizer, variable.value) for variable in variables] == [
        0,
        1,
        2,
    ]  # as update_step gets it
    public = [name for name in dir(optimizer) if "index" in name and not name.startswith("_")]
    assert not public, f"Keras' optimizers have {public}: use it in the place of index_of, see _compat.py"


def test_a_metric_says_whether_more_is_better():
    found = [_compat.better(metric) for metric in (keras.metrics.AUC(), keras.metrics.MeanAbsoluteError(), None)]
    assert found == ["max", "min", None], (
        "Keras' metrics do not say so by _direction any more: see how keras.callbacks.MonitorCallback finds the mode"
    )
    assert not hasattr(keras.metrics.Metric, "direction"), "there is a public way: take it in _compat.better"
    callback = keras.callbacks.EarlyStopping(monitor="val_auc")
    assert callback.mode == "auto"  # what `fit` replaces


def test_a_variable_can_be_renamed_by_this_alone():
    """Whether a TFSMLayer needs it still: tests/export/test_reuse.py."""
    variable = keras.Variable([1.0], name="kernel:0")
    with pytest.raises(AttributeError):
        variable.name = "kernel"  # else: set names so, and remove `rename` from _compat.py
    _compat.rename(variable, "kernel", "dense/kernel")
    assert (variable.name, variable.path) == ("kernel", "dense/kernel"), (
        "keras.Variable does not keep name and path in _name and _path any more: find where, for `rename` in _compat.py"
        "; or make the weights of a TFSMLayer anew, as keras.Variable(initializer=..., name=...)"
    )
    keras.optimizers.Adam().build([variable])


def test_a_state_dict_says_of_itself_what_we_add():
    torch = pytest.importorskip("torch")
    assert "version" in _compat.note_of(torch.nn.Linear(1, 1).state_dict())[""], (
        "PyTorch's modules do not write _metadata beside a state dict's tensors any more: find where they do, for "
        "note_of and set_note in _compat.py, and read files of both kinds"
    )
    content, file = collections.OrderedDict(weight=torch.ones(1, 1), bias=torch.ones(1)), io.BytesIO()
    assert _compat.note_of(content) == {}
    _compat.set_note(content, {"grid": "2x3"})
    torch.save(content, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert _compat.note_of(loaded) == {"grid": "2x3"}
    torch.nn.Linear(1, 1).load_state_dict(loaded, strict=True)
    with pytest.raises(RuntimeError, match="Unexpected key"):  # the other way: a key of its own
        torch.nn.Linear(1, 1).load_state_dict({**loaded, "grid": torch.ones(1)}, strict=True)


def called_graph(attributes):
    """Runs a graph that calls a function with these attributes; returns what TensorFlow has made of it."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [3], "x")
        function = tf.function(
            lambda y: tf.exp(y) * (tf.constant(2.0) + tf.constant(3.0)),
            autograph=False,
            experimental_attributes=attributes,
        )
        result = tf.identity(tf.identity(function(x)) + 1.0)
        options = tf.compat.v1.RunOptions(output_partition_graphs=True)
        noted = tf.compat.v1.RunMetadata()
        with tf.compat.v1.Session(graph=graph) as session:
            values = session.run(result, {x: [0.0, 1.0, 2.0]}, options, noted)
    np.testing.assert_allclose(values, 5 * np.exp([0, 1, 2]) + 1, rtol=1e-6)
    (partition,) = noted.partition_graphs
    return partition


def test_a_call_stays_a_call():
    def calls(attributes):
        return [node for node in called_graph(attributes).node if "PartitionedCall" in node.op]

    assert not calls({"_tf_data_function": True}), (
        "TensorFlow leaves calls as they are without _noinline: take it from STAYS_A_CALL in _compat.py"
    )
    assert calls(_compat.STAYS_A_CALL), (
        "TensorFlow puts a function with _noinline into the graph around it: look for the attribute's new name in "
        "tensorflow/core/framework/function.h, for STAYS_A_CALL in _compat.py; else branches not taken cost time"
    )


def test_data_sets_mark_their_functions_as_we_do():
    dataset = tf.data.experimental.to_variant(tf.data.Dataset.range(3).map(lambda x: x + 1))
    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=dataset, external_state_policy=1)
    (function,) = tf.compat.v1.GraphDef.FromString(graph.numpy()).library.function
    marks = {name for name, value in function.attr.items() if value.b}
    assert marks & set(_compat.STAYS_A_CALL), (
        f"tf.data marks its functions, which are not rewritten with a graph around them, by {marks} now: take that "
        "into STAYS_A_CALL in _compat.py; else TensorFlow rewrites a decoder of image files in each iterator"
    )


def test_the_graph_of_a_function_in_a_library():
    inner = tf.function(lambda x: tf.matmul(x, x, transpose_b=True), autograph=False)
    outer = tf.function(lambda x: inner(x) + 1.0, autograph=False)
    graph = outer.get_concrete_function(tf.TensorSpec((2, 3))).graph
    (definition,) = graph.as_graph_def().library.function
    made = _compat.graph_of(definition, [(2, 3)])
    (product,) = [operation for operation in made.get_operations() if operation.type == "MatMul"]
    assert product.outputs[0].shape == (2, 2), (
        "function_def_to_graph gives no static shapes any more: count operations in benchmarks/flops.py otherwise, "
        "such as from as_graph_def(add_shapes=True), and remove graph_of from _compat.py"
    )


def test_a_barrier_reaches_xla():
    step = tf.function(lambda x: _compat.behind_a_barrier([x])[0] * 2.0, jit_compile=True, autograph=False)
    x = tf.constant([1.5, -2.0])
    np.testing.assert_array_equal(step(x), [3.0, -4.0])
    assert "opt-barrier(" in step.experimental_get_compiler_ir(x)(stage="hlo"), (
        "XLA's barrier vanishes: look for another, for behind_a_barrier in _compat.py; else steps on TPUs keep float32"
    )


class GraphInACycle:
    """As much of tf2onnx's graph as its optimizer needs; `alive` counts the copies that have not been freed."""

    alive = 0

    def __init__(self):
        self.itself = self

    def __deepcopy__(self, memo):
        GraphInACycle.alive += 1
        return GraphInACycle()

    def __del__(self):
        GraphInACycle.alive -= 1

    def dump_node_statistics(self):
        return collections.Counter()

    def get_nodes(self):
        return []

    def topological_sort(self, nodes):
        pass


class CopiesAlive:
    """A pass of tf2onnx' optimizer that counts the graphs and changes nothing."""

    graph_been_opt = False
    found = []

    def optimize(self, graph, iteration):
        self.found.append(GraphInACycle.alive)
        return graph


def test_tf2onnx_frees_a_copy_before_the_next(monkeypatch):
    optimizer = pytest.importorskip("tf2onnx.optimizer", reason="needs tf2onnx: pip install '.[onnx]'")
    monkeypatch.setattr(CopiesAlive, "found", [])
    monkeypatch.setattr(GraphInACycle, "alive", 1)
    gc.collect()
    with _compat.copies_are_freed():
        optimizer.optimize_graph(GraphInACycle(), optimizers={str(number): CopiesAlive for number in range(5)})
    assert CopiesAlive.found and max(CopiesAlive.found) <= 3, (
        "tf2onnx copies graphs otherwise than by copy.deepcopy in optimizer/__init__.py: see whether an export of a "
        "ViT-B to ONNX takes more than 10 GB, and mend or drop copies_are_freed in _compat.py"
    )
    assert optimizer.copy.__name__ == "copy"


@pytest.mark.medium
@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="needs umap-learn: pip install '.[umap]'")
def test_umap_learn_is_imported_without_its_parametric_form():
    script = (
        "import sys, warnings; warnings.simplefilter('error', ImportWarning); "
        "from keras_mae import _compat; print(_compat.umap_class().__module__, "
        "sorted({'torch', 'torchvision', 'umap.parametric_umap'} & set(sys.modules)))"
    )
    process = run_forked("-c", script, NUMBA_DISABLE_JIT="1")  # to compile takes most of the import
    assert process.stdout.strip() == "umap.umap_ []", (
        "umap-learn imports PyTorch, or fails without its parametric form: see whether `import umap` has become quick, "
        "and drop umap_class, see _compat.py: " + process.stderr[-2000:]
    )
