"""Two replicas take the step of one, and log the mean loss of the global batch; in a process of its own."""

import json

import numpy as np
import pytest

from tests.base import run_python

# Both runs see the same global batches; masks and drop path are drawn by the example's index in the global batch.
SCRIPT = """
import json
import keras, numpy as np, tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from keras_mae.models import ImageClassifier
from tests.base import LossPerStep, fill_randomly, random_images, small_encoder, small_mae, weights_of

IMAGES = random_images(16, (8, 12, 3))
kind = {kind!r}

def run(replicas):
    if replicas == 1:
        strategy = tf.distribute.get_strategy()
    else:
        # the default all-reduce runs a collective that logical CPU devices in one process do not always finish
        strategy = tf.distribute.MirroredStrategy(
            ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
        )
    assert strategy.num_replicas_in_sync == replicas
    with strategy.scope():
        if kind == "mae":
            model, data = small_mae(num_layers=2, drop_path_rate=0.3, seed=3), (IMAGES,)
        else:
            layers = 0 if kind == "probe" else None
            model = fill_randomly(ImageClassifier(small_encoder(), 4, num_trainable_layers=layers))
            data = (IMAGES, np.arange(16) % 4)
        model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), jit_compile=False)
    recorder = LossPerStep()
    batches = tf.data.Dataset.from_tensor_slices(data).batch(8)
    model.fit(batches, epochs=2, verbose=0, shuffle=False, callbacks=[recorder])
    logs = model.evaluate(batches, verbose=0, return_dict=True)
    return {{
        "supports_jit": model.supports_jit,
        "losses": recorder.losses,
        "evaluation": {{name: float(value) for name, value in logs.items()}},
        "weights": np.concatenate([weight.ravel() for weight in weights_of(model)]).tolist(),
    }}

print("RESULT", json.dumps([run(1), run(2)]))
"""


def one_and_two(kind):
    process = run_python("-c", SCRIPT.format(kind=kind))
    assert process.returncode == 0, process.stderr[-4000:]
    return json.loads(process.stdout.split("RESULT", 1)[1])


def check(one, two):
    assert one["supports_jit"] and not two["supports_jit"]
    assert len(one["losses"]) == 4 and len(set(one["losses"])) == 4
    # float32 sums in two halves, over four steps; gradients summed instead of averaged would double the step
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
    np.testing.assert_allclose(two["weights"], one["weights"], atol=1e-5)
    assert two["evaluation"] == pytest.approx(one["evaluation"], rel=1e-5)


@pytest.mark.medium
def test_masked_autoencoder():
    check(*one_and_two("mae"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "probe"])  # the probe's BatchNorm synchronises its statistics
def test_classifier(kind):
    check(*one_and_two(kind))
