"""The linear probe: a frozen encoder, moving statistics, features computed once, batches as functions of the step."""

import json

import keras
import numpy as np
import pytest

import keras_mae.models  # noqa: F401  registers the classes
from keras_mae.trainers import linear_probe as program
from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.linear_probe import build, feature_data, linear_probe
from keras_mae.trainers.settings import replaced
from tests.trainers.labelled import CLASSES, quick
from tests.trainers.pretraining import log_of


@pytest.fixture
def config(given):
    return quick(ProbeConfig, given, epochs=12, base_learning_rate=100.0)


@pytest.mark.medium
@pytest.mark.parametrize("augmented", [False, True])
def test_a_run(given, config, tmp_path, monkeypatch, augmented):
    """Frozen to the bit, statistics that moved; without augmentation the encoder sees each image once."""
    calls = []
    original = program.features_of
    monkeypatch.setattr(program, "features_of", lambda *a: (calls.append(a[1].num_images), original(*a))[1])
    if augmented:
        config = replaced(config, epochs=2, flip=True)
    results = linear_probe(config, given["data"], str(tmp_path / "run"))
    assert calls == ([] if augmented else [48, 24])
    assert (results["num_classes"], results["train_images"], results["epochs"]) == (
        CLASSES,
        48,
        config.optimizer.epochs,
    )
    assert (results["validation_images"], results["majority_share"]) == (24, round(4 / 24, 6))
    losses = [record["loss"] for record in log_of(tmp_path / "run")]
    assert len(losses) == config.optimizer.epochs
    assert augmented or losses[-1] < losses[0]  # two epochs, one of them warm-up, are too few to ask that of
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    encoder = keras.saving.load_model(given["run"])
    probe = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    for one, other in zip(encoder.weights, probe.encoder.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (np.asarray(probe.batch_norm.moving_mean) != 0).all()
    assert (np.asarray(probe.batch_norm.moving_variance) != 1).all()


def test_the_papers_probe(config):
    """Class token; BatchNorm without affine parameters, momentum 0.9 (PyTorch's 0.1), epsilon 1e-6, synchronised."""
    assert ProbeConfig().head.pooling == "cls"
    probe = build(config, CLASSES)
    norm = probe.batch_norm
    assert (norm.momentum, norm.epsilon, norm.center, norm.scale, norm.synchronized) == (0.9, 1e-6, False, False, True)
    assert [variable.path for variable in probe.trainable_variables] == [
        variable.path for variable in probe.head.weights
    ]


@pytest.mark.medium
def test_features_of_broken_weights_are_refused(given, config, tmp_path):
    encoder = keras.saving.load_model(given["run"])
    encoder.norm.gamma.assign(np.full(encoder.hidden_dim, np.nan))
    encoder.save(tmp_path / "broken.keras")
    with pytest.raises(ValueError, match="features of 48 of 48 images are not finite: its weights hold NaN"):
        linear_probe(replaced(config, run=str(tmp_path / "broken.keras")), given["data"], str(tmp_path / "r"))


def test_feature_data():
    features = np.arange(22, dtype="float32").reshape(11, 2)
    labels = np.arange(11)

    def batches(count, seed, **place):
        return [y.numpy() for _, y in feature_data(features, labels, 4, seed).at(**place).take(count)]

    x, y = next(iter(feature_data(features, labels, 4, seed=0).at()))
    np.testing.assert_array_equal(x, features[y.numpy()])
    steps = batches(6, seed=0)  # two an epoch
    for epoch in range(3):
        assert len(set(np.concatenate(steps[2 * epoch : 2 * epoch + 2]))) == 8  # all different
    assert not np.array_equal(steps[0:2], steps[2:4])  # another order
    np.testing.assert_array_equal(batches(3, seed=0, step=3), steps[3:])
    assert not np.array_equal(batches(6, seed=1), steps)
    shares = [batches(6, seed=0, num_hosts=2, host=host) for host in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), steps)


def test_a_run_is_needed_or_sizes(config):
    with pytest.raises(ValueError, match="there is no encoder: name one with --run, or its sizes .* vit_tiny_patch16"):
        build(replaced(config, run=None), CLASSES)
