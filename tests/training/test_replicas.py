"""1, 2 and 4 replicas, 2 processes, and a batch in parts take the same steps; in processes of their own."""

import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.models import ImageClassifier, ImageSegmenter
from keras_mae.optimizers import adamw
from keras_mae.trainers.step_callbacks import fit_steps
from keras_mae.training import StopOnSkippedSteps, step_record
from tests.base import (
    LossPerStep,
    fill_randomly,
    random_images,
    run_forked,
    small_encoder,
    small_mae,
    small_simmim,
    weights_of,
)
from tests.training.one_number import Levels, shallow_mae
from tests.training.planted import State, compiled_parts, plant, share_a_variable

STEPS, BATCH = 10, 8
IMAGES = random_images(2 * BATCH, (8, 12, 3))

# What each run is told apart by: a kind of model, and how it is trained
SGD = {"optimizer": "sgd"}
CLIPPED = {"optimizer": "sgd", "clip_norm": 0.3}
NORMAL = [
    *({"kind": "shallow", "replicas": replicas, **SGD} for replicas in (1, 2)),
    {"kind": "shallow", "replicas": 2, "accumulation_steps": 2, "evaluated": False, **SGD},
    *({"kind": "levels", "replicas": n, "accumulation_steps": n, **CLIPPED} for n in (1, 2)),
    {"kind": "levels", "replicas": 2, "optimizer": "sgd", "planted": 1, "dtype": "mixed_float16"},
    {"kind": "levels", "replicas": 2, "optimizer": "sgd", "uneven": True},
    *({"kind": "levels", "replicas": replicas, "optimizer": "sgd", "spike": 6} for replicas in (1, 2)),
]
MORE = [
    *({"kind": "mae", "replicas": replicas, **SGD} for replicas in (1, 4)),
    *({"kind": "mae", "replicas": 1, "accumulation_steps": parts, **CLIPPED} for parts in (1, 4)),
    {"kind": "mae", "replicas": 2, "accumulation_steps": 2, **CLIPPED},
    {"kind": "mae", "replicas": 2, "optimizer": "sgd", "planted": 1, "dtype": "mixed_float16"},
    *({"kind": "mae", "replicas": replicas, "optimizer": "sgd", "spike": 6} for replicas in (1, 2)),
    *({"kind": "mae", "replicas": replicas, "optimizer": "adamw"} for replicas in (1, 2, 4)),
    *({"kind": "mae", "replicas": replicas, "optimizer": "late", "clip_norm": 0.3} for replicas in (1, 2)),
    {"kind": "mae", "replicas": 2, "optimizer": "sgd", "rematerialize": True},
    *({"kind": "simmim", "replicas": n, "accumulation_steps": n, "rematerialize": n > 1, **SGD} for n in (1, 2)),
    # no threads for replicas: the branch is taken in each replica's function, as on a TPU
    {"kind": "mae", "replicas": 1, "optimizer": "sgd", "planted": 1, "one_device": True},
]
SLOW = [
    {"kind": kind, "replicas": replicas, "accumulation_steps": parts, **SGD}
    for kind, most in (("classifier", 2), ("weighted", 2), ("probe", 1), ("attentive", 1), ("segmenter", 2))
    for replicas, parts in ((1, 1), (2, 1), (4, 1), (2, 2))
    if parts <= most  # a probe's BatchNorm synchronises its statistics, and is not accumulated
]


def make_model(kind, dtype="float32"):
    if kind == "levels":
        return Levels(IMAGES.shape[1:], dtype)
    if kind == "shallow":
        return shallow_mae()
    if kind == "mae":
        return small_mae(num_layers=2, drop_path_rate=0.3, seed=3, dtype=dtype)
    if kind == "simmim":
        return small_simmim(num_layers=2, drop_path_rate=0.3, seed=3)
    if kind == "segmenter":
        return fill_randomly(ImageSegmenter(small_encoder(), 4, "mask_transformer"))
    pooling, count = {"probe": ("mean", 0), "attentive": ("attentive", 0)}.get(kind, ("mean", None))
    return fill_randomly(ImageClassifier(small_encoder(), 4, pooling, count, num_queries=4))


def make_optimizer(name, model=None):
    if name == "late":  # the encoder joins after three steps
        return adamw(model, 1e-3, layer_decay=0.75, frozen_steps=3, rising_steps=2)
    if name == "adamw":
        return keras.optimizers.AdamW(1e-3, weight_decay=0.05)
    return keras.optimizers.SGD(0.1, momentum=0.9)


def one_run(case):
    strategy = tf.distribute.get_strategy()
    if case.get("one_device"):
        strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    elif case["replicas"] > 1 or case.get("mirrored"):
        strategy = tf.distribute.MirroredStrategy(
            [f"CPU:{index}" for index in range(case["replicas"])],
            cross_device_ops=tf.distribute.ReductionToOneDevice(),
        )
    with strategy.scope():
        model = make_model(case["kind"], case.get("dtype", "float32"))
        for block in model.encoder.blocks if case.get("rematerialize") else ():
            block.rematerialize = True
        model.compile(
            optimizer=make_optimizer(case["optimizer"], model),
            jit_compile=case.get("jit_compile", False),
            steps_per_execution=case.get("executions", 1),
            accumulation_steps=case.get("accumulation_steps", 1),
            clip_norm=case.get("clip_norm"),
            spike_factor=4.0 if "spike" in case else None,
        )
    data = IMAGES if case["kind"] in ("levels", "shallow", "mae", "simmim") else (IMAGES, np.arange(len(IMAGES)) % 4)
    if case["kind"] == "segmenter":  # the first image has no label
        labels = np.random.default_rng(2).integers(-1, 4, (len(IMAGES), 8, 12))
        data = (IMAGES, np.where(np.arange(len(IMAGES))[:, None, None] == 0, -1, labels))
    if case["kind"] == "weighted":
        data = (*data, np.linspace(0, 3, len(IMAGES), dtype="float32")[:, None])
    if case.get("uneven"):
        return refusal(model, tf.data.Dataset.from_tensor_slices(IMAGES[:11]).batch(BATCH))  # 3 remain, for 2 replicas
    batches = tf.data.Dataset.from_tensor_slices(data).batch(BATCH, drop_remainder=True)
    state, recorder, told = State(), LossPerStep(), []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger("keras_mae").addHandler(handler)
    if case.get("shared"):
        share_a_variable(model)
    if "planted" in case:
        plant(model, case["planted"])
    if "spike" in case:
        step_record._LEAST = 4
        plant(model, case["spike"], 1000.0)
    callbacks = [recorder, state]
    if "executions" in case:
        fit_steps(model, batches.repeat(), [*callbacks, StopOnSkippedSteps()], STEPS)
    else:
        model.fit(batches.repeat(), steps_per_epoch=STEPS, verbose=0, shuffle=False, callbacks=callbacks)
    logging.getLogger("keras_mae").removeHandler(handler)
    # compared by evaluation too, which is another graph
    compared = case.get("evaluated", True) and not {"clip_norm", "planted", "spike"} & set(case)
    logs = model.evaluate(batches, verbose=0, return_dict=True) if compared else {}
    changed = [bool((a != b).any()) for a, b in zip(state.weights, state.weights[1:])]
    return {
        "compiled": compiled_parts(model, strategy, batches) if model.jit_compile else 0,
        "told": told,
        # those of a step are the mean over the replicas, which have unequal numbers of labelled pixels
        "logs": {} if case["kind"] == "segmenter" else state.logs,
        "losses": recorder.losses,
        "evaluation": {name: float(value) for name, value in logs.items()},
        "paths": [weight.path for weight in model.weights],
        "weights": [weight.tolist() for weight in weights_of(model)],
        "changed": changed,
        "skipped": state.skipped,
        "scales": state.scales,
        "steps": [step._asdict() for step in model.step_record.since(0, STEPS)],
    }


def refusal(model, data):
    try:
        model.fit(data, verbose=0)
    except ValueError as error:
        return str(error)
    return None


def children(which):
    from tests.forked import Child, two_workers
    from tests.training.workers import one_worker

    # one child for all: a second MirroredStrategy in a process costs less than a second process
    cases = {"normal": NORMAL, "more": MORE, "slow": SLOW}[which]
    runs = Child(lambda: [one_run(case) for case in cases], devices=4).result()
    if which != "normal":
        return runs
    started = [Child(one_worker, "sgd", environment=environment) for environment in two_workers()]
    return [runs, [child.result() for child in started]]


def in_own_process(which, module="tests.training.test_replicas"):
    process = run_forked("-m", "tests.forked", module, which)
    assert process.returncode == 0, process.stderr[-4000:]
    return json.loads(process.stdout.split("RESULT", 1)[1])


@pytest.fixture(scope="module")
def runs_and_workers():
    return in_own_process("normal")


@pytest.fixture(scope="module")
def runs(runs_and_workers):
    return runs_and_workers[0]


@pytest.fixture(scope="module")
def more_runs():
    return in_own_process("more")


@pytest.fixture(scope="module")
def slow_runs():
    return in_own_process("slow")


def find(runs, cases=NORMAL, **wanted):
    found, *_ = [run for run, case in zip(runs, cases, strict=True) if wanted.items() <= case.items()]
    return found


def check(run, expected, tolerance=1e-5, key_biases=True):
    """Losses to 1e-5: float32 sums in other parts, over ten steps. Summed gradients would double each step."""
    assert len(run["losses"]) == STEPS and len(set(run["losses"])) == STEPS
    np.testing.assert_allclose(run["losses"], expected["losses"], rtol=1e-5)
    for path, *both in zip(expected["paths"], run["weights"], expected["weights"], strict=True):
        if path.endswith("qkv/bias") and not key_biases:
            queries, _, values = zip(*(np.split(np.array(bias), 3) for bias in both))
            both = np.concatenate([queries, values], axis=1)
        np.testing.assert_allclose(*both, rtol=0, atol=tolerance, err_msg=path)
    for name, values in run.get("logs", {}).items():  # such as the accuracy of each step, with every replica's examples
        np.testing.assert_allclose(values, expected["logs"][name], rtol=1e-5, err_msg=name)
    if run.get("evaluation"):  # of those that are compared by it
        assert run["evaluation"] == pytest.approx(expected["evaluation"], rel=1e-5)


@pytest.mark.medium
def test_replicas_take_the_step_of_one(runs):
    one, two = (find(runs, replicas=replicas, **SGD) for replicas in (1, 2))
    assert one["evaluation"] and two["evaluation"]
    check(two, one)


@pytest.mark.slow
def test_four_replicas_take_the_step_of_one(more_runs):
    check(find(more_runs, MORE, replicas=4, **SGD), find(more_runs, MORE, replicas=1, **SGD))


@pytest.mark.slow
def test_rematerialised_blocks_on_two_replicas(more_runs):
    check(find(more_runs, MORE, rematerialize=True), find(more_runs, MORE, replicas=1, **SGD))


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_take_the_step_of_one_with_adamw(more_runs, replicas):
    """Every weight but the key biases, whose gradient is pure round-off that Adam normalises, to 2e-5."""
    one, several = (find(more_runs, MORE, replicas=count, optimizer="adamw") for count in (1, replicas))
    check(several, one, 2e-5, key_biases=False)


@pytest.mark.slow
def test_replicas_leave_a_frozen_encoder_alone(more_runs):
    """The norm that clips, and the step from which the encoder is trained, are those of one replica."""
    check(*(find(more_runs, MORE, optimizer="late", replicas=count) for count in (2, 1)), 2e-5, key_biases=False)


@pytest.mark.medium
def test_in_parts_and_clipped_on_two_replicas(runs):
    check(find(runs, kind="shallow", accumulation_steps=2), find(runs, kind="shallow", replicas=1))
    check_clipped(*(find(runs, replicas=n, accumulation_steps=n, **CLIPPED) for n in (1, 2)))


@pytest.mark.slow
def test_a_masked_autoencoder_in_parts_and_clipped_on_two_replicas(more_runs):
    check_clipped(*(find(more_runs, MORE, replicas=n, accumulation_steps=n, **CLIPPED) for n in (1, 2)))


def check_clipped(one, two):
    assert max(step["norm"] for step in one["steps"]) > 2 * CLIPPED["clip_norm"]  # clipping bites
    check(two, one)


@pytest.mark.slow
def test_simmim_in_parts_on_two_replicas(more_runs):
    check(*(find(more_runs, MORE, kind="simmim", replicas=replicas) for replicas in (2, 1)))


@pytest.mark.slow
def test_in_four_parts_and_clipped(more_runs):
    one = find(more_runs, MORE, accumulation_steps=1, **CLIPPED)
    check(find(more_runs, MORE, accumulation_steps=4, **CLIPPED), one)


@pytest.mark.medium
def test_an_inf_on_the_last_replica_is_skipped_on_all(runs):
    check_skipped(find(runs, planted=1), replicas=2)


@pytest.mark.medium
def test_a_spike_on_the_last_replica_is_skipped_on_all(runs):
    """The norms, the running median and the fate of every step are those of one replica."""
    check_spike(*(find(runs, replicas=replicas, spike=6) for replicas in (1, 2)))


def check_spike(one, two):
    for run in (one, two):
        assert run["skipped"] == [0] * 6 + [1] * 4 and run["changed"] == [True] * 5 + [False] + [True] * 3
        assert [step["skipped"] for step in run["steps"]] == [None] * 6 + ["spike"] + [None] * 3
    kept = [step for step in range(STEPS) if step != 6]  # where half of the batch was multiplied, or all of it
    for name in ("loss", "norm"):
        values = [np.array([step[name] for step in run["steps"]])[kept] for run in (one, two)]
        np.testing.assert_allclose(*values, rtol=1e-5)
    medians = [[step["median"] for step in run["steps"]] for run in (one, two)]
    assert medians[0][:4] == medians[1][:4] == [None] * 4
    np.testing.assert_allclose(*(np.array(each[4:7]) for each in medians), rtol=1e-5)
    np.testing.assert_allclose(
        *(np.concatenate([np.ravel(w) for w in run["weights"]]) for run in (one, two)), atol=1e-5
    )


@pytest.mark.slow
def test_an_inf_on_one_device_is_skipped(more_runs):
    check_skipped(find(more_runs, MORE, planted=1, one_device=True), replicas=1)


@pytest.mark.slow
def test_an_inf_and_a_spike_of_a_masked_autoencoder(more_runs):
    check_skipped(find(more_runs, MORE, planted=1, replicas=2), replicas=2)
    check_spike(*(find(more_runs, MORE, replicas=replicas, spike=6) for replicas in (1, 2)))


def check_skipped(run, replicas):
    assert run["changed"] == [False] + [True] * (STEPS - 2)  # nothing from step 1 to step 2
    assert run["skipped"] == [0] + [1] * (STEPS - 1)
    if replicas > 1:  # float16
        assert run["scales"] == [2.0**15] + [2.0**14] * (STEPS - 1)
    assert np.isfinite(run["losses"]).tolist() == [step != 1 for step in range(STEPS)]  # its mean has no summand


@pytest.mark.medium
def test_a_batch_that_does_not_divide_is_refused(runs):
    assert find(runs, uneven=True) == (
        "the examples of a training batch must be divisible by the number of replicas: drop the last, smaller one by "
        "batch(..., drop_remainder=True)"
    )


@pytest.mark.medium
def test_two_processes_take_the_step_of_one(runs_and_workers):
    runs, workers = runs_and_workers
    assert [worker["chief"] for worker in workers] == [True, False]
    for worker in workers:
        assert worker["replicas"] == 2
        check(worker, find(runs, replicas=1, **SGD))
        # when one of these is False, `built_when_made` in _compat.py, or the shape of the logs in train_step.py, can go
        assert all(worker["without_us"]), worker["without_us"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "weighted", "probe", "attentive", "segmenter"])
def test_classifiers(slow_runs, kind):
    one = find(slow_runs, SLOW, kind=kind, replicas=1)
    for run, case in zip(slow_runs, SLOW, strict=True):
        if case["kind"] == kind:
            check(run, one)
