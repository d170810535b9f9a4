"""The first compiled step: what is said of it, and that a run goes on without XLA where XLA fails."""

import json
import logging
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.training import first_step, unknown_gpu
from tests.base import LossPerStep, random_images, run_forked, small_mae, weights_of
from tests.training.one_number import OneNumber

IMAGES = random_images(10, (8, 12, 3))
ANNOUNCED = "compiling the step with XLA, which takes about a minute for a large model"


class Level(OneNumber):
    """Learns the mean level of what it is given, as one number: its step is traced in no time, whatever first_step.py
    does with it. Each step's loss is another, and tells which batch it was.
    """

    def batch_loss(self, data, seed, training):
        levels = tf.cast(tf.nest.flatten(data)[0], tf.float32) / 255
        return tf.reduce_mean(tf.square(levels - self.number)) + tf.cast(self.batches_seen, tf.float32)


def on_the_host(make=Level):
    """A model whose loss goes through Python, for which XLA has no kernel."""
    model = make()
    original = model.batch_loss

    @tf.custom_gradient
    def through_python(x):
        y = tf.numpy_function(lambda value: value, [x], tf.float32)
        return tf.ensure_shape(y, []), lambda gradient: gradient

    model.batch_loss = lambda data, seed, training: through_python(original(data, seed, training))
    return model


class Fails:
    """Lets the step of a model raise an error, as XLA does when it compiles, unless it is uncompiled."""

    def __init__(self, model, error, always=False):
        self.model, self.error, self.always, self.step, self.traced = model, error, always, model.train_step, []
        model.train_step = self

    def __call__(self, data):
        self.traced.append(self.model.jit_compile)
        if self.model.jit_compile or self.always:
            raise self.error
        return self.step(data)


def fitted(model, data=IMAGES, jit_compile=True, **arguments):
    """The loss of every step of `fit`, of two epochs."""
    model.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)
    recorder = LossPerStep()
    arguments = {"batch_size": 4, "shuffle": False, "epochs": 2, **arguments}
    model.fit(data, callbacks=[recorder], verbose=0, **arguments)
    return recorder.losses


def said(caplog):
    """The warnings of this package, whatever tests before have set the level of its lines to."""
    return [one.getMessage() for one in caplog.records if (one.name, one.levelno) == ("keras_mae", logging.WARNING)]


def generator():
    for _ in range(2):
        yield from ((IMAGES[start : start + 4],) for start in (0, 4, 8))


NOISE = np.random.default_rng(0).random((10, 6), "float32")
DATA = {
    "array": lambda: (IMAGES, {}),
    "data set of dicts": lambda: (
        tf.data.Dataset.from_tensor_slices({"images": IMAGES, "noise": NOISE}).batch(4, drop_remainder=True),
        {"batch_size": None},
    ),
    "generator": lambda: (generator(), {"batch_size": None, "steps_per_epoch": 3}),
}


MODELS = [*((form, Level) for form in DATA), pytest.param("array", small_mae, marks=pytest.mark.slow)]


@pytest.mark.medium
@pytest.mark.parametrize(("form", "make"), MODELS)
def test_a_step_that_xla_does_not_know_runs_uncompiled(form, make, caplog):
    """Every batch is seen once, in order: losses and weights are those of a run without XLA."""
    caplog.set_level(logging.INFO, "keras_mae")
    (expected_data, arguments), (data, _) = DATA[form](), DATA[form]()
    reference, model = on_the_host(make), on_the_host(make)
    expected = fitted(reference, expected_data, jit_compile=False, **arguments)
    assert not caplog.messages
    got = fitted(model, data, **arguments)
    assert got == expected and len(got) == (4 if "data set" in form else 6)
    for ours, theirs in zip(weights_of(model), weights_of(reference), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    announced, failed = caplog.messages
    assert announced == ANNOUNCED
    assert failed.startswith("XLA cannot compile the step, which runs uncompiled, and slower: ")
    assert "PyFunc" in failed and failed.endswith("or set jit_compile=False to save the attempt")
    assert "\n" not in failed and model.jit_compile is False


COMPILERS = [
    (tf.errors.InternalError, "libdevice not found at ./libdevice.10.bc", "XLA_FLAGS=--xla_gpu_cuda_data_dir=DIR"),
    (
        tf.errors.UnavailableError,
        "No PTX compilation provider is available. Neither ptxas/nvlink nor nvjtlink is available.",
        'pip install "tensorflow[and-cuda]"',
    ),
    (tf.errors.UnimplementedError, "no such thing on this device", "set jit_compile=False to save the attempt"),
    (
        tf.errors.InvalidArgumentError,
        "2 root error(s) found.\n  (0) INVALID_ARGUMENT:  Detected unsupported operations: AsString (no kernel)",
        "uncompiled, and slower: Detected unsupported operations: AsString (no kernel); replace what XLA does not know",
    ),
]


@pytest.mark.medium
@pytest.mark.parametrize(("kind", "message", "remedy"), COMPILERS, ids=[kind.__name__ for kind, *_ in COMPILERS])
def test_failures_of_the_compiler(kind, message, remedy, caplog):
    model = Level()
    step = Fails(
        model, kind(None, None, f"Graph execution error:\n\nDetected at node x defined at\n{message}\nmore to read")
    )
    assert fitted(model) == fitted(Level(), jit_compile=False)
    assert step.traced == [True, False]
    (failed,) = said(caplog)
    assert message.splitlines()[-1].split(":  ")[-1].rstrip(".") in failed and remedy in failed
    assert "more" not in failed and "root" not in failed


ERRORS = {
    "in Python": ValueError("no such loss"),
    "of the user's own operation": tf.errors.InvalidArgumentError(None, None, "my loss is wrong"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_an_error_that_is_not_the_compilers_ends_fit(error):
    model = Level()
    before = weights_of(model)
    Fails(model, error, always=True)
    with pytest.raises(type(error), match="no such loss|my loss is wrong"):
        fitted(model)
    for ours, theirs in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_too_little_memory_is_no_failure_of_the_compiler(caplog):
    """The uncompiled step needs more of it."""
    model = Level()
    step = Fails(model, tf.errors.ResourceExhaustedError(None, None, "out of memory"))
    with pytest.raises(tf.errors.ResourceExhaustedError):
        fitted(model)
    assert step.traced == [True] and not said(caplog)


def test_on_tpus_and_several_workers_the_error_ends_fit(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "keras_mae")
    monkeypatch.setattr(first_step, "_COMPILED_OR_NOT_TOGETHER", object)
    model = Level()
    step = Fails(model, tf.errors.InternalError(None, None, "no such compiler"))
    with pytest.raises(tf.errors.InternalError, match="no such compiler"):
        fitted(model)
    assert step.traced == [True] and caplog.messages == [ANNOUNCED]


@pytest.mark.medium
@pytest.mark.parametrize(("form", "make"), [each for each in MODELS if "generator" not in each])
def test_a_compiled_step_is_announced_and_traced_as_often_as_ever(form, make, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "keras_mae")
    data, arguments = DATA[form]()
    model, traced = make(), []
    step = model.train_step
    model.train_step = lambda data: [traced.append(tf.nest.flatten(data)[0].shape[0]), step(data)][1]
    losses = fitted(model, data, **arguments)
    assert traced == [4 if "data set" in form else None]
    announced, took = caplog.messages
    assert (
        announced == ANNOUNCED and took.startswith("the first step took ") and took.endswith(" s, most of it for XLA")
    )
    # 1e-5: XLA adds in another order, in up to six steps
    expected = fitted(make(), DATA[form]()[0], jit_compile=False, **arguments)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


class StepsLeft(keras.callbacks.Callback):
    """Tells the model how many of five steps are left, as runs of programs do."""

    def on_train_batch_begin(self, batch, logs=None):
        self.model.steps_left = 5 - batch


@pytest.mark.medium
@pytest.mark.parametrize("callbacks", [[], [StepsLeft()]], ids=["Keras' executions", "cut to the epoch"])
def test_several_batches_in_one_execution(callbacks):
    """The batches of the first execution are all seen, once, with XLA and where it fails; each step is traced once."""
    data = tf.data.Dataset.from_tensor_slices(IMAGES).batch(2, drop_remainder=True)
    reference, failing, compiled, traced = on_the_host(), on_the_host(), Level(), []
    step = compiled.train_step
    compiled.train_step = lambda data: [traced.append(data.shape), step(data)][1]
    for model in (reference, failing, compiled):
        executed = {"jit_compile": model is not reference, "steps_per_execution": 1 if model is reference else 2}
        model.compile(keras.optimizers.SGD(0.1), **executed)
        model.fit(data, shuffle=False, verbose=0, callbacks=[] if model is reference else callbacks)
        assert int(model.batches_seen) == 5
    assert len(traced) == 1
    for ours, exact, close in zip(*map(weights_of, (reference, failing, compiled)), strict=True):
        np.testing.assert_array_equal(exact, ours)
        np.testing.assert_allclose(close, ours, rtol=0, atol=1e-5)  # XLA adds in another order


@pytest.mark.medium
def test_train_on_batch_goes_on_as_well(caplog):
    reference, model = on_the_host(), on_the_host()
    reference.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=True)
    expected = [float(reference.train_on_batch(IMAGES[:4])) for _ in range(2)]
    assert [float(model.train_on_batch(IMAGES[:4])) for _ in range(2)] == expected
    assert len(said(caplog)) == 1


def on_replicas(jit_compile):
    """What `fit` says on two replicas, the losses, and the weights of both."""
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("keras_mae").addHandler(handler)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        model = on_the_host()
        losses = fitted(model, IMAGES[:8], jit_compile)
    weights = [[copy.numpy().tolist() for copy in strategy.experimental_local_results(w.value)] for w in model.weights]
    return {"said": said, "losses": losses, "weights": weights}


def children(_):
    from tests.forked import Child

    both = [Child(on_replicas, jit_compile, devices=2) for jit_compile in (False, True)]
    return [child.result() for child in both]


@pytest.mark.medium
def test_replicas_go_on_without_xla():
    process = run_forked("-m", "tests.forked", "tests.training.test_first_step", "replicas")
    assert process.returncode == 0, process.stderr[-4000:]
    uncompiled, failed = json.loads(process.stdout.split("RESULT", 1)[1])
    assert uncompiled.pop("said") == []
    (said,) = failed.pop("said")
    assert failed == uncompiled
    assert "slower: Detected unsupported operations" in said and "PyFunc" in said
    assert all(first == second for first, second in failed["weights"])


@pytest.fixture
def blackwell(monkeypatch):
    """The facts of a GPU that is newer than TensorFlow, and a function that sets the program by which XLA is tried."""
    run = subprocess.run
    details = {"device_name": "RTX 5060 Ti", "compute_capability": (12, 0)}
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: {"cuda_compute_capabilities": ["sm_80", "compute_90"]})
    monkeypatch.setattr(unknown_gpu, "_gpus", lambda: [details])
    unknown_gpu._attempt.cache_clear()

    yield (
        details,
        lambda program: monkeypatch.setattr(
            unknown_gpu.subprocess, "run", lambda command, **arguments: run([*command[:2], program], **arguments)
        ),
    )
    unknown_gpu._attempt.cache_clear()


ABORTS = "import os, sys; print('LLVM ERROR: PTX version 8.5 does not support sm_120', file=sys.stderr); os.abort()"


@pytest.mark.parametrize(
    ("capability", "program", "expected"),
    [
        ((9, 0), ABORTS, None),
        ((8, 9), ABORTS, None),
        ((12, 0), "", None),
        ((12, 0), ABORTS, "LLVM ERROR: PTX version 8.5 does not support sm_120 (RTX 5060 Ti is newer than this Tensor"),
        ((10, 3), "raise SystemExit(3)", "exit code 3 (RTX 5060 Ti is newer"),
    ],
    ids=["the newest known", "older", "newer, and XLA works", "newer, and XLA aborts", "newer, and nothing is said"],
)
def test_xla_is_tried_elsewhere_on_a_gpu_that_is_newer_than_tensorflow(blackwell, capability, program, expected):
    details, runs = blackwell
    details["compute_capability"] = capability
    runs(program)
    reason = unknown_gpu.why_not_compiled()
    assert reason is None if expected is None else reason.startswith(expected)


@pytest.mark.medium
def test_where_xla_would_end_the_process_it_is_not_tried(blackwell, caplog):
    _, runs = blackwell
    runs(ABORTS)
    model = Level()
    step = Fails(model, RuntimeError("the process would have ended here"))
    assert fitted(model) == fitted(Level(), jit_compile=False)
    assert not any(step.traced)
    (failed,) = said(caplog)
    assert "LLVM ERROR: PTX version 8.5" in failed and "a TensorFlow made for this GPU" in failed


@pytest.mark.medium
def test_the_attempt_elsewhere_works_here(monkeypatch):
    """XLA does on a processor what the program asks of it on a GPU."""
    monkeypatch.setattr(unknown_gpu.subprocess, "run", lambda command, env, **_: run_forked(*command[1:], **env))
    unknown_gpu._attempt.cache_clear()
    assert unknown_gpu._attempt("this processor") is None
