"""Which strategy is made, and what is said when its devices are not there."""

import json

import pytest
import tensorflow as tf

from keras_mae.trainers.strategy import check_batch, is_chief, make_strategy

WORKERS = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)


@pytest.mark.parametrize("name", ["auto", "single"])
def test_one_device_needs_no_strategy(name):
    strategy = make_strategy(name)
    assert strategy is tf.distribute.get_strategy() and strategy.num_replicas_in_sync == 1
    assert is_chief(strategy)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("mirror", None, "a strategy is one of auto, single, mirrored, multiworker, tpu; got 'mirror'"),
        ("mirrored", None, "--strategy=mirrored needs at least two devices, and there is one CPU; use --strategy=sin"),
        ("multiworker", None, "--strategy=multiworker needs the machines in the environment variable TF_CONFIG"),
        ("multiworker", "{", "TF_CONFIG is JSON with a cluster, and a task .* in it; got '{'"),
        ("auto", json.dumps({"cluster": WORKERS}), "TF_CONFIG is JSON with a cluster, and a task"),
        (
            "multiworker",
            json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 2}}),
            "TF_CONFIG is JSON with a cluster, and a task",
        ),
    ],
)
def test_what_is_not_there(name, config, message, monkeypatch):
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match=message):
        make_strategy(name)


def test_workers_that_come_too_late(monkeypatch):
    """TensorFlow sets up its workers before anything else."""
    tf.constant(0)
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 0}}))
    with pytest.raises(ValueError, match="--strategy=multiworker: workers must be set up before anything else"):
        make_strategy("auto")


def test_no_tpu():
    with pytest.raises(ValueError, match="--strategy=tpu: cannot reach the TPU 'local' .*; name one with --tpu"):
        make_strategy("tpu")


def test_a_batch_that_cannot_be_divided():
    strategy = tf.distribute.get_strategy()
    check_batch(12, 4, strategy)
    with pytest.raises(ValueError, match="1 replicas x accumulation_steps=5: got batch_size=12; .* is 3 x 5"):
        check_batch(12, 5, strategy)
