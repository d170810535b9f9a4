"""The classifier with attentive pooling: as a probe and in fine-tuning, its groups, files and refusals."""

import keras
import numpy as np
import pytest

from keras_mae import save_checkpoint
from keras_mae.example_seed import ExampleSeed
from keras_mae.models import ImageClassifier
from tests.base import fill_randomly, random_images, small_encoder, weights_of
from tests.reference.numpy_attentive import attentive_pooling

IMAGES, LABELS = random_images(6, (8, 12, 3)), np.array([0, 1, 2, 3, 1, 2])
ROUND_OFF = 1e-5


def attentive(count, encoder=None, **arguments):
    encoder = encoder or small_encoder(num_layers=2, drop_path_rate=0.5)
    return fill_randomly(
        ImageClassifier(encoder, 4, "attentive", num_trainable_layers=count, num_queries=4, **arguments)
    )


@pytest.mark.parametrize("layer", [None, 1])
def test_a_probe_against_numpy(layer):
    """Pooled patch tokens, after the final norm or of a layer; BatchNorm without affine parameters; a linear layer."""
    probe = attentive(0, layer=layer)
    encoder, pooling, norm = probe.encoder, probe.attentive, probe.batch_norm
    tokens = encoder(IMAGES)["patch_tokens"] if layer is None else encoder.tokens_of_layer(IMAGES, layer).patches
    weights = pooling.queries.numpy(), pooling.values.numpy()
    pooled = np.stack([attentive_pooling(one, *weights)[0] for one in tokens.numpy()])
    np.testing.assert_allclose(encoder.features(IMAGES, pooling, layer), pooled, atol=ROUND_OFF)
    mean, variance, kernel, bias = (
        keras.ops.convert_to_numpy(weight) for weight in (*norm.weights, *probe.head.weights)
    )
    logits = (pooled - mean) / np.sqrt(variance + 1e-6) @ kernel + bias
    np.testing.assert_allclose(probe(IMAGES), logits, atol=3 * ROUND_OFF)


def test_queries_and_values_learn_and_the_encoder_does_not():
    """From images and from their tokens, computed once: the same step, and the same logits."""
    probes = [attentive(0) for _ in range(2)]
    encoder, moving = weights_of(probes[0].encoder), [*probes[0].attentive.weights, *probes[0].head.weights]
    before = [weight.numpy() for weight in moving]
    tokens = probes[0].features(IMAGES).numpy()
    assert tokens.shape == (6, 6, 16) and probes[0].example_shapes() == [(8, 12, 3), (6, 16)]
    np.testing.assert_allclose(probes[0](tokens), probes[0](IMAGES), atol=ROUND_OFF)
    for probe, inputs in zip(probes, (IMAGES, tokens), strict=True):
        probe.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
        probe.fit(inputs, LABELS, batch_size=3, epochs=1, shuffle=False, verbose=0)
    for one, other in zip(*(weights_of(probe) for probe in probes), strict=True):
        np.testing.assert_allclose(one, other, atol=ROUND_OFF)
    for old, new in zip(encoder, weights_of(probes[0].encoder), strict=True):
        np.testing.assert_array_equal(old, new)
    assert all((weight.numpy() != old).any() for weight, old in zip(moving, before, strict=True))
    assert {id(variable) for variable in probes[0].trainable_variables} == set(map(id, moving))


@pytest.mark.parametrize("count", [None, 0.5, 0])
def test_layer_groups_cover_every_trainable_variable_once(count):
    classifier = attentive(count)
    groups = classifier.layer_groups()
    assert sorted(id(v) for group in groups for v in group) == sorted(map(id, classifier.trainable_variables))
    assert len(groups) == 1 + 2 + 1  # stem, blocks, norm with pooling and head
    assert {"queries", "values_kernel"} <= {variable.name for variable in groups[-1]}
    excluded = {id(variable) for variable in classifier.no_weight_decay()}
    assert id(classifier.attentive.queries) in excluded and id(classifier.attentive.values) not in excluded


def test_fine_tuning_trains_all():
    classifier = attentive(None)
    before = weights_of(classifier)
    classifier.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    classifier.fit(IMAGES, LABELS, batch_size=6, epochs=1, verbose=0)
    still = {
        weight.name
        for weight, old in zip(classifier.weights, before, strict=True)
        if (keras.ops.convert_to_numpy(weight) == old).all()
    }
    assert still <= {"table"}  # of fixed positions
    draws = [classifier(IMAGES, training=True, seed=ExampleSeed.of(0, step)).numpy() for step in (0, 1)]
    assert (draws[0] != draws[1]).any()  # drop path


def test_first_head():
    """A probe's linear layer starts as in the published code, a fine-tuned one close to zero."""
    kernels = [
        ImageClassifier(small_encoder(hidden_dim=64), 500, "attentive", count).head.kernel.numpy()
        for count in (0, None)
    ]
    assert 0.99 / 8 < np.abs(kernels[0]).max() <= 1 / 8
    np.testing.assert_allclose([kernel.std() for kernel in kernels], [1 / np.sqrt(3 * 64), 2e-5], rtol=0.02)


def test_under_a_mixed_policy_the_head_is_float32():
    probe = attentive(0, small_encoder(num_layers=2, dtype="mixed_bfloat16"), dtype="mixed_bfloat16")
    exact = attentive(0, small_encoder(num_layers=2))
    exact.set_weights(probe.get_weights())
    assert probe.attentive.compute_dtype == "float32" and probe(IMAGES).dtype == "float32"
    # of logits of about 3; the encoder rounds to 8 bits
    np.testing.assert_allclose(probe(IMAGES), exact(IMAGES), atol=0.1)


def test_files(tmp_path):
    """Saved and loaded, the same logits; weights formats of other libraries have no place for the pooling."""
    probe = attentive(0, layer=1)
    probe.save(tmp_path / "probe.keras")
    loaded = keras.saving.load_model(tmp_path / "probe.keras")
    np.testing.assert_array_equal(loaded(IMAGES), probe(IMAGES))
    assert (loaded.pooling, loaded.num_queries, loaded.layer) == ("attentive", 4, 1)
    with pytest.raises(ValueError, match="'timm' has no place for attentive.queries and 3 more of this I"):
        save_checkpoint(probe, str(tmp_path / "probe.safetensors"), "timm")


def test_refusals():
    with pytest.raises(ValueError, match="num_queries must divide 16, got 32; 2, 4, 8, 16 do"):
        ImageClassifier(small_encoder(), 4, "attentive")
    with pytest.raises(ValueError, match="no pooling is called 'atentive'; did you mean attentive"):
        ImageClassifier(small_encoder(), 4, "atentive")
    for wrong in (IMAGES[0], np.zeros((2, 5, 16), "float32"), np.zeros((2, 16), "float32")):  # no image, no tokens
        with pytest.raises(ValueError, match="expected images of shape"):
            attentive(0)(wrong)
    with pytest.raises(ValueError, match="attentive pooling has weights, which a probe or fine-tuning trains"):
        small_encoder().features(IMAGES, "attentive")
