"""Principal components of patches, under the contract of all targets and against NumPy's singular values."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.models import MAEDecoder, MaskedAutoencoder
from keras_mae.targets import PCATarget
from tests.base import geometry, random_images, small_encoder, small_mae
from tests.contracts import TargetContract

pytestmark = pytest.mark.medium

IMAGES = random_images(40, (8, 12, 3), seed=5)


class TestAllComponents(TargetContract):
    """As many components as values in a patch: nothing is lost."""

    def make(self):
        return PCATarget(12)


class TestSomeComponents(TargetContract):
    invertible = False

    def make(self):
        return PCATarget(5)


def attached(num_components, image_shape=(8, 12, 3), patch_size=(4, 4)):
    target = PCATarget(num_components)
    target.attach(geometry(image_shape, patch_size, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)))
    return target


def test_against_singular_values():
    """40 images of 6 patches of 48 values, of which 7 coefficients; 40 are fitted in batches of 64 or less."""
    target = attached(7)
    ramp = np.linspace(0, 1, 12)[:, None] * [1.0, 0.7, 0.4]  # so that some directions vary more than others
    images = (IMAGES * ramp).astype("uint8")
    target.fit(np.tile(images, (2, 1, 1, 1)))  # 80 images, two batches
    patches = np.asarray(target.geometry.normalized_patches(images), "float64").reshape(-1, 48)
    mean = patches.mean(axis=0)
    _, _, rows = np.linalg.svd(patches - mean, full_matrices=False)
    basis = rows[:7].T
    basis *= np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(7)])
    # float32 components, and coefficients of size 1 to 10 summed over 48 values
    np.testing.assert_allclose(target.components, basis, atol=1e-5)
    np.testing.assert_allclose(np.reshape(target(images), (-1, 7)), (patches - mean) @ basis, atol=2e-5)
    restored = np.reshape(target.to_pixels(target(images), images), (-1, 48))
    expected = target.geometry.levels(((patches - mean) @ basis @ basis.T + mean).astype("float32"))
    np.testing.assert_allclose(restored, expected, atol=2e-3)


def test_components_are_orthonormal_and_sorted():
    target = attached(10)
    target.fit(IMAGES)
    components = target.components.numpy()
    np.testing.assert_allclose(components.T @ components, np.eye(10), atol=1e-6)
    variances = np.reshape(target(IMAGES), (-1, 10)).var(axis=0)
    assert (np.diff(variances) < 0).all()


def test_the_fit_is_saved_with_the_model(tmp_path):
    mae = MaskedAutoencoder(small_encoder(), small_mae().decoder.from_config(small_mae().decoder.get_config()),
                            target=PCATarget(6), seed=3)  # fmt: skip
    with pytest.raises(ValueError, match="call target.fit"):
        mae.batch_loss(IMAGES, None, training=False)
    mae.target.fit(IMAGES)
    assert not mae.target.trainable_variables and mae.decoder.head.kernel.shape[-1] == 6
    mae.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(copy.target(IMAGES), mae.target(IMAGES))
    pictures = copy.reconstruct(IMAGES[:2])
    assert pictures["reconstruction"].shape == (2, 8, 12, 3) and np.isfinite(pictures["reconstruction"]).all()


def test_what_cannot_be():
    for count in (0, 49):
        with pytest.raises(ValueError, match=f"48 values .* at most 48 principal .* num_components={count}"):
            attached(count)
    with pytest.raises(ValueError, match="7 components need more patches than that, these 1 images have 6"):
        attached(7).fit(IMAGES[:1])


def pca_mae(seed=3):
    return MaskedAutoencoder(small_encoder(), MAEDecoder(12, 1, 3), target=PCATarget(6), seed=seed)


def from_weights(fitted, fresh, path):
    fresh.set_weights(fitted.get_weights())
    return fresh


def from_checkpoint(fitted, fresh, path):
    checkpoint = tf.train.Checkpoint(model=fitted).save(f"{path}/state")
    tf.train.Checkpoint(model=fresh).restore(checkpoint).assert_consumed()
    return fresh


def from_weights_file(fitted, fresh, path):
    fitted.save_weights(f"{path}/model.weights.h5")
    fresh.load_weights(f"{path}/model.weights.h5")
    return fresh


def from_file(fitted, fresh, path):
    fitted.save(f"{path}/model.keras")
    return keras.saving.load_model(f"{path}/model.keras")


WAYS = [
    from_weights,
    from_checkpoint,
    from_weights_file,
    from_file,
    lambda fitted, fresh, path: copy.deepcopy(fitted),
    lambda fitted, fresh, path: pickle.loads(pickle.dumps(fitted)),
    lambda fitted, fresh, path: from_weights(fitted, keras.models.clone_model(fitted), path),
]


@pytest.mark.parametrize("way", WAYS)
def test_the_fit_is_part_of_the_weights(way, tmp_path):
    fitted = pca_mae()
    fitted.target.fit(IMAGES)
    got = way(fitted, pca_mae(seed=3), tmp_path)
    assert got is not fitted and got.target.is_fitted
    np.testing.assert_array_equal(got.target(IMAGES), fitted.target(IMAGES))

    def loss(mae):
        return mae.batch_loss(IMAGES, ExampleSeed.of(0, 0), training=False)

    np.testing.assert_allclose(loss(got), loss(fitted), rtol=1e-6)
    if way is from_file:  # in a graph as well
        np.testing.assert_allclose(tf.function(loss)(got), loss(fitted), rtol=1e-5)  # other kernels


@pytest.mark.parametrize("in_graph", [False, True])
def test_without_the_fit_nothing_is_trained(in_graph):
    mae = pca_mae()
    clone = keras.models.clone_model(mae)  # a clone has fresh weights
    for one in (mae, clone):
        one.compile(optimizer="sgd", run_eagerly=not in_graph, jit_compile=False)
        with pytest.raises(ValueError, match="^the principal components are not known yet: call target.fit"):
            one.fit(IMAGES[:4], verbose=0)


def test_what_is_reset_is_fitted_no_more():
    fitted = pca_mae()
    fresh = fitted.get_weights()
    fitted.target.fit(IMAGES)
    fitted.set_weights(fresh)
    with pytest.raises(ValueError, match="call target.fit"):
        fitted.target(IMAGES)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda images: np.where(np.arange(len(images))[:, None, None, None] == 1, np.nan, images), "NaN or infinite"),
        (lambda images: images[:, :4], "expected images of shape"),
        (lambda images: list(images), "images are one array"),
        (lambda images: tf.data.Dataset.from_tensor_slices(images).batch(4), "got a data set"),
    ],
)
@pytest.mark.filterwarnings("ignore:images hold NaN")
def test_what_no_basis_is_learnt_from(change, message):
    mae = pca_mae()
    with pytest.raises(ValueError, match=message):
        mae.target.fit(change(IMAGES))
    assert not mae.target.is_fitted


def test_images_in_another_range_are_warned_of():
    with pytest.warns(UserWarning, match=r"these look like \[0, 1\]"):
        pca_mae().target.fit(IMAGES.astype("float32") / 255)
