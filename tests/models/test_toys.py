"""What a user adds in a file works everywhere: another encoder, and a method with a teacher."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae import export
from keras_mae.example_seed import ExampleSeed
from keras_mae.masking import RandomMasking, UnitMasking
from keras_mae.models import ImageClassifier, LinearDecoder, MAEDecoder, MaskedAutoencoder, SimMIM
from keras_mae.models.saved_files import load_model_file
from keras_mae.optimizers import adamw
from keras_mae.targets import PixelTarget
from tests.base import PLANES, LossPerStep, fill_randomly, random_images, run_forked, small_encoder
from tests.toys import ConvEncoder, TaughtAutoencoder, TeacherTarget

IMAGES = random_images(8, (8, 12, 3))


def mae():
    decoder = MAEDecoder(12, 1, 3)
    return MaskedAutoencoder(conv_encoder(), decoder, RandomMasking(0.5), mask_tokens_in_encoder=True)


def conv_encoder(image_shape=(8, 12, 3)):
    return fill_randomly(ConvEncoder(image_shape))


def simmim():
    return SimMIM(conv_encoder(), UnitMasking(4, 0.5))


@pytest.mark.medium
@pytest.mark.parametrize("make", [mae, simmim])
def test_a_convolutional_encoder_pretrains_resumes_and_comes_back(make, tmp_path):
    def started():
        keras.utils.set_random_seed(0)
        model = make()
        model.compile(adamw(model, 1e-2), run_eagerly=make is mae)
        return model

    def fit(model, initial_epoch=0, callbacks=()):
        losses = LossPerStep()
        arguments = {"batch_size": 4, "shuffle": False, "verbose": 0, "callbacks": [losses, *callbacks]}
        model.fit(IMAGES, epochs=4, initial_epoch=initial_epoch, **arguments)
        return losses.losses

    def checkpoint_of(model):
        return tf.train.Checkpoint(model=model, optimizer=model.optimizer)

    whole = started()
    save = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: checkpoint_of(whole).write(str(tmp_path / f"epoch_{epoch}"))
    )
    expected = fit(whole, callbacks=[save])
    assert expected[-1] < expected[0]
    second = started()
    second.optimizer.build(second.trainable_variables)
    checkpoint_of(second).read(str(tmp_path / "epoch_1")).assert_existing_objects_matched()
    np.testing.assert_array_equal(fit(second, initial_epoch=2), expected[4:])

    second.save(tmp_path / "model.keras")
    loaded = load_model_file(str(tmp_path / "model.keras"))
    np.testing.assert_array_equal(loaded(IMAGES)["prediction"], second(IMAGES)["prediction"])


@pytest.mark.medium
def test_a_convolutional_encoder_is_probed_and_fine_tuned():
    labels = np.arange(8) % 2
    encoder = conv_encoder()
    before = encoder.get_weights()
    for count, moves in ((0, False), (1, True), (None, True)):
        classifier = ImageClassifier(encoder, 2, num_trainable_layers=count)
        classifier.compile(adamw(classifier, 1e-2), run_eagerly=True)
        classifier.fit(IMAGES, labels, batch_size=4, verbose=0)
        moved = any((one != other).any() for one, other in zip(before, encoder.get_weights(), strict=True))
        assert moved == moves


@pytest.mark.medium
def test_a_convolutional_encoder_is_exported(tmp_path, verified_here):
    encoder = conv_encoder(PLANES)  # takes no image files, which would be slow to export
    path = export.export_encoder(encoder, str(tmp_path / "conv"), images=random_images(2, PLANES))
    served = tf.saved_model.load(path)
    images = random_images(2, PLANES, seed=3)
    np.testing.assert_allclose(served(images), encoder.features(images), atol=1e-5)


class NestedEncoder(ConvEncoder):
    """Its layers lie in lists of lists, in a dict, and under a private name."""

    def build(self, input_shape):
        convs = [keras.layers.Conv2D(8, 3, padding="same", name=f"extra_{i}") for i in range(3)]
        self.stages, self.by_name, self._private = [[convs[0]]], {"second": convs[1]}, convs[2]
        for conv in convs:
            conv.build((None, 2, 3, 8))
        super().build(input_shape)


@pytest.mark.medium
def test_layers_in_any_container_are_saved_and_frozen(tmp_path):
    class Decoder(LinearDecoder):
        def build(self, input_shape):
            super().build(input_shape)
            self.stages = [[keras.layers.Dense(4, name="extra")]]
            self.stages[0][0].build((None, 4))

    def make(trainable=True):
        encoder = fill_randomly(NestedEncoder((8, 12, 3), trainable=trainable))
        model = MaskedAutoencoder(encoder, Decoder(), RandomMasking(0.5), mask_tokens_in_encoder=True)
        return fill_randomly(model)

    model, other = make(), make()
    assert sum("extra" in variable.path for variable in model.weights) == 8
    for variable in other.weights:
        variable.assign(variable + 1.0)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=other).restore(path).assert_existing_objects_matched()
    for one, two in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    frozen = make(trainable=False)
    assert not [variable.path for variable in frozen.encoder.weights if variable.trainable]
    assert len(frozen.trainable_variables) == 5  # the decoder's two layers, and the mask token


def test_a_target_gets_no_gradient():
    """Else the network could make what it predicts easy: here the target is its own tokens."""

    class Own(PixelTarget):
        def for_step(self, images, mask, tokens):
            return tokens.patches

        def attach(self, geometry):
            super().attach(geometry)
            self.dim = geometry.hidden_dim

    model = SimMIM(conv_encoder(), RandomMasking(0.5), Own())
    for variable in model.decoder.weights:
        variable.assign(tf.zeros_like(variable))  # the prediction is 0 whatever the encoder gives
    with tf.GradientTape() as tape:
        loss = model.batch_loss(IMAGES, ExampleSeed.of(0, 0), training=True)
    gradients = tape.gradient(loss, [v.value for v in model.encoder.trainable_variables])
    assert loss > 0 and all(g is None or not np.any(g) for g in gradients)


def test_a_target_of_another_width_or_with_a_loss_of_its_own_is_refused():
    class Narrow(PixelTarget):
        def call(self, images):
            return super().call(images)[..., :1]

    with pytest.raises(ValueError, match="the target has 1 numbers a patch, and the prediction 48: target.dim is"):
        SimMIM(conv_encoder(), RandomMasking(0.5), Narrow()).batch_loss(IMAGES, ExampleSeed.of(0, 0), training=True)

    class Own(PixelTarget):
        def loss(self, target, prediction):
            return 0.0

    with pytest.raises(ValueError, match="Own has a method `loss`, which is not used: make it a MaskedLoss"):
        SimMIM(conv_encoder(), RandomMasking(0.5), Own())


def taught():
    keras.utils.set_random_seed(1)
    encoder = small_encoder()
    teacher = small_encoder(name="teacher")
    return fill_randomly(
        TaughtAutoencoder(encoder, MAEDecoder(12, 1, 3, 20), RandomMasking(0.5), TeacherTarget(teacher), seed=2)
    )


def taught_for_a_while(model, jit_compile):
    before = [teacher.numpy() for teacher in model.target.teacher.weights]
    with model.distribute_strategy.scope():
        model.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)
    losses, images = LossPerStep(), IMAGES.astype("float32")  # as those of NaN below, for one graph
    model.fit(images, batch_size=8, epochs=1, shuffle=False, verbose=0, callbacks=[losses])
    after = [0.9 * old + 0.1 * new.numpy() for old, new in zip(before, model.encoder.weights, strict=True)]
    for teacher, expected in zip(model.target.teacher.weights, after, strict=True):
        np.testing.assert_allclose(teacher, expected, atol=1e-6)
    assert not {id(v) for v in model.target.teacher.weights} & {id(v) for v in model.trainable_variables}
    model.fit(np.full(IMAGES.shape, np.nan, "float32"), batch_size=8, verbose=0)  # is skipped
    for teacher, expected in zip(model.target.teacher.weights, after, strict=True):
        np.testing.assert_allclose(teacher, expected, atol=1e-6)
    model.fit(images, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=[losses])
    return losses.losses


@pytest.fixture(scope="module")
def on_one():
    """A model that was taught on one replica, and the loss of each step."""
    model = taught()
    return model, taught_for_a_while(model, jit_compile=True)


@pytest.mark.medium
def test_a_teacher_follows_the_network_and_skips_what_it_skips(on_one, tmp_path):
    model, losses = on_one
    assert len(losses) == 4 and np.isfinite(losses).all()
    model.save(tmp_path / "taught.keras")
    loaded = load_model_file(str(tmp_path / "taught.keras"))
    np.testing.assert_array_equal(loaded(IMAGES)["prediction"], model(IMAGES)["prediction"])


@pytest.mark.medium
def test_a_teacher_is_the_same_on_two_replicas(on_one):
    process = run_forked("-m", "tests.models.test_toys")
    assert process.returncode == 0, process.stderr
    np.testing.assert_allclose([float(loss) for loss in process.stdout.split()], on_one[1], rtol=1e-5)


if __name__ == "__main__":
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        on_two = taught()
    with pytest.raises(ValueError, match="the optimizer was made outside of the strategy of the model"):
        on_two.compile(keras.optimizers.SGD(0.1))
    print(*taught_for_a_while(on_two, jit_compile=False))
