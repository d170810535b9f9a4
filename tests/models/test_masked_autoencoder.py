"""The masked autoencoder: what it takes, the mask ratio, reconstructions and bad input."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import Patchify, unpatchify
from keras_mae.masking import RandomMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder
from keras_mae.targets import PixelTarget
from tests.base import random_images, random_noise, small_encoder, small_mae

IMAGES = random_images(3, (8, 12, 3))
SEED = ExampleSeed.of(0, 0)


def test_output():
    outputs = small_mae()(IMAGES)
    assert sorted(outputs) == ["mask", "prediction"]
    assert outputs["prediction"].shape == (3, 6, 48) and outputs["prediction"].dtype == tf.float32
    assert outputs["mask"].shape == (3, 6) and outputs["mask"].dtype == tf.float32
    np.testing.assert_array_equal(np.sum(outputs["mask"], axis=1), 3)


def test_masks_are_drawn_from_the_seed():
    mae, other = small_mae(seed=0), small_mae(seed=1)
    first = mae(IMAGES)["mask"].numpy()
    np.testing.assert_array_equal(first, mae(IMAGES)["mask"])  # without a seed: those of step 0
    assert (first != other(IMAGES)["mask"].numpy()).any()
    assert (first != mae(IMAGES, seed=ExampleSeed.of(0, 1))["mask"].numpy()).any()


def test_noise_and_mask_say_which_patches_are_hidden():
    mae, noise = small_mae(), random_noise(3, 6, seed=4)
    outputs = mae({"images": IMAGES, "noise": noise})
    np.testing.assert_array_equal(outputs["mask"], noise >= 0.5)  # ranks 3, 4 and 5 of 6
    for dtype in ("float32", "int32", "bool"):
        mask = (noise >= 0.5).astype(dtype)
        masked = mae({"images": IMAGES, "mask": mask})
        np.testing.assert_array_equal(masked["mask"], mask.astype("float32"))
        # the visible patches come in another order, which attention does not see but for rounding
        np.testing.assert_allclose(masked["prediction"], outputs["prediction"], atol=1e-5)


def test_what_is_hidden_has_no_influence_on_the_prediction():
    mae, noise = small_mae(), np.array([[0, 1, 2, 3, 4, 5]] * 3, "float32")
    changed = IMAGES.copy()
    changed[:, 4:] = random_images(3, (4, 12, 3), seed=8)  # the lower row of patches, all hidden
    inputs = [{"images": images, "noise": noise} for images in (IMAGES, changed)]
    np.testing.assert_array_equal(*(mae(one)["prediction"] for one in inputs))


def test_the_mask_ratio_can_be_changed_on_a_built_model():
    mae, noise = small_mae(mask_ratio=0.5), random_noise(3, 6)
    for ratio, masked in ((0.0, 0), (0.34, 3), (0.8, 5)):  # int(6 * 0.66) = 3 stay visible
        for inputs in (IMAGES, {"images": IMAGES, "noise": noise}):
            np.testing.assert_array_equal(np.sum(mae(inputs, mask_ratio=ratio)["mask"], axis=1), masked)
        assert np.sum(mae.reconstruct(IMAGES, mask_ratio=ratio)["mask"]) == 3 * masked
    np.testing.assert_array_equal(np.sum(mae(IMAGES)["mask"], axis=1), 3)
    mae.masking.mask_ratio = 0.8
    np.testing.assert_array_equal(np.sum(mae(IMAGES)["mask"], axis=1), 5)


def test_decoding_masked_patches_only_is_the_same_prediction():
    mae = small_mae()
    images, mask = mae.mask(IMAGES)
    tokens = mae.encode(images, mask)
    everything = mae.decode(tokens, mask).numpy()
    masked = mae.decode(tokens, mask, mask.ids_masked)
    expected = np.take_along_axis(everything, mask.ids_masked.numpy()[..., None], axis=1)
    np.testing.assert_allclose(masked, expected, atol=1e-6)  # a product with fewer rows may sum in another order


def test_loss_is_zero_if_nothing_is_masked():
    mae = small_mae(mask_ratio=0.0)
    assert float(mae.batch_loss(IMAGES, SEED, training=True)) == 0.0


def test_labels_are_ignored():
    mae, labels = small_mae(), np.arange(3)
    noise = random_noise(3, 6)
    for inputs in (IMAGES, {"images": IMAGES, "noise": noise}):
        with_labels = mae.batch_loss((inputs, labels), SEED, training=True)
        np.testing.assert_array_equal(with_labels, mae.batch_loss(inputs, SEED, training=True))


@pytest.mark.parametrize("normalize", [False, True])
def test_a_perfect_prediction_reconstructs_the_image(normalize, monkeypatch):
    mae = small_mae(normalize=normalize)
    monkeypatch.setattr(mae, "decode", lambda tokens, mask: mae.target(IMAGES))
    mask = np.array([[1, 0, 0, 1, 1, 0]] * 3)
    result = mae.reconstruct(IMAGES, mask=mask)
    assert result["reconstruction"].dtype == tf.float32
    # float32 numbers up to 255, out of the network's range and back: far below half a level
    np.testing.assert_allclose(result["reconstruction"], IMAGES.astype("float32"), atol=2e-3)
    np.testing.assert_array_equal(result["mask"], mask)


@pytest.mark.parametrize("normalize", [False, True])
def test_reconstruct_shows_visible_patches_as_they_came(normalize):
    mae, noise = small_mae(normalize=normalize), random_noise(3, 6)
    result = mae.reconstruct(IMAGES, noise=noise)
    hidden = np.repeat(noise[..., None] >= 0.5, 48, axis=-1)
    hidden = unpatchify(hidden, (8, 12, 3), 4).numpy()
    np.testing.assert_array_equal(result["reconstruction"].numpy()[~hidden], IMAGES[~hidden])
    np.testing.assert_array_equal(result["masked_images"].numpy()[~hidden], IMAGES[~hidden])
    np.testing.assert_array_equal(result["masked_images"].numpy()[hidden], 127.5)
    assert (result["reconstruction"].numpy()[hidden] != IMAGES[hidden]).any()
    assert np.min(result["reconstruction"]) >= 0 and np.max(result["reconstruction"]) <= 255


def test_reconstruct_shows_images_of_16_bits_as_levels():
    mae, noise = small_mae(normalize=True), random_noise(3, 6)
    images = np.random.default_rng(1).integers(0, 2**16, IMAGES.shape).astype("uint16")
    expected = mae.reconstruct(images / np.float32(257), noise=noise)
    for name, value in mae.reconstruct(images, noise=noise).items():
        np.testing.assert_array_equal(value, expected[name])
    assert 0 <= np.min(expected["masked_images"]) and 250 < np.max(expected["masked_images"]) <= 255


def test_reconstruct_shows_the_prediction_where_patches_are_hidden():
    mae, noise = small_mae(), random_noise(3, 6)
    prediction = mae({"images": IMAGES, "noise": noise})["prediction"]
    expected = np.clip(mae.encoder.normalize_pixels.inverse(prediction), 0, 255)
    shown = Patchify(4)(mae.reconstruct(IMAGES, noise=noise)["reconstruction"]).numpy()
    np.testing.assert_array_equal(shown[noise >= 0.5], expected[noise >= 0.5])


def test_normalised_targets_use_the_statistics_of_the_original_patch():
    """A prediction of zeros is then each patch's mean."""
    mae = small_mae(normalize=True, mean=(0.0,) * 3, std=(1.0,) * 3)  # one scale for all
    mae.decoder.head.kernel.assign(np.zeros((12, 48)))
    mae.decoder.head.bias.assign(np.zeros(48))
    mask = np.array([[1, 1, 1, 1, 1, 0]] * 3)
    shown = Patchify(4)(mae.reconstruct(IMAGES, mask=mask)["reconstruction"]).numpy()
    means = Patchify(4)(IMAGES).numpy().astype("float64").mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(shown[:, :5], np.broadcast_to(means[:, :5], (3, 5, 48)), atol=1e-3)  # float32 at 255


@pytest.mark.parametrize("tokens_in_encoder", [False, True])
def test_one_reconstruction_depends_on_nothing_that_is_masked(tokens_in_encoder):
    """The other one does: by the mean and contrast of the patches themselves."""
    mae = small_mae(normalize=True)
    mae = MaskedAutoencoder.from_config({**mae.get_config(), "mask_tokens_in_encoder": tokens_in_encoder})
    mask = np.array([[1, 0, 0, 1, 1, 1]] * 3)
    hidden = unpatchify(mask[..., None].repeat(48, axis=-1), (8, 12, 3), 4).numpy() > 0
    other = np.where(hidden, random_images(3, (8, 12, 3), seed=5) // 9, IMAGES)
    one, two = (mae.reconstruct(images.astype("uint8"), mask=mask) for images in (IMAGES, other))
    np.testing.assert_array_equal(one["reconstruction_from_visible"], two["reconstruction_from_visible"])
    assert np.abs(one["reconstruction"] - two["reconstruction"])[hidden].mean() > 20  # a ninth of the light
    np.testing.assert_array_equal(one["reconstruction_from_visible"].numpy()[~hidden], IMAGES[~hidden])
    assert "reconstruction_from_visible" not in small_mae().reconstruct(IMAGES)


def test_without_the_original_contrast_a_prediction_is_scaled_by_its_neighbours():
    mae = small_mae(normalize=True, mean=(0.0,) * 3, std=(1.0,) * 3)  # one scale for all
    mask = np.array([[1, 1, 1, 1, 1, 0]] * 3)
    prediction = mae({"images": IMAGES, "mask": mask})["prediction"].numpy()
    shown = Patchify(4)(mae.reconstruct(IMAGES, mask=mask)["reconstruction_from_visible"]).numpy()
    seen = Patchify(4)(IMAGES).numpy().astype("float64")[:, 5:]  # the only one: all others are as bright and rich as it
    expected = np.clip(
        prediction * seen.std(axis=-1, ddof=1, keepdims=True) + seen.mean(axis=-1, keepdims=True), 0, 255
    )
    np.testing.assert_allclose(shown[:, :5], expected[:, :5], atol=2e-2)  # float32 at 255, and the variance's epsilon


def test_layer_groups_cover_every_trainable_variable_once():
    mae = small_mae(position_embedding="learned", decoder={"position_embedding": "learned"})
    groups = [id(variable) for group in mae.layer_groups() for variable in group]
    assert sorted(groups) == sorted(id(variable) for variable in mae.trainable_variables)
    excluded = {id(variable) for variable in mae.no_weight_decay()}
    decayed = {v.path for v in mae.trainable_variables if id(v) not in excluded}
    assert decayed == {v.path for v in mae.weights if v.path.endswith("kernel")}


def test_every_layer_norm_has_its_epsilon():
    for epsilon in (1e-6, 1e-5):
        mae = small_mae(num_layers=2, layer_norm_epsilon=epsilon, decoder={"layer_norm_epsilon": epsilon})
        norms = [layer for layer in mae._flatten_layers() if isinstance(layer, keras.layers.LayerNormalization)]
        assert len(norms) == 2 * 2 + 1 + 2 * 1 + 1 and {norm.epsilon for norm in norms} == {epsilon}
    assert small_encoder().layer_norm_epsilon == MAEDecoder(8, 1, 2).layer_norm_epsilon == 1e-6


def test_initial_weights_of_the_decoder():
    mae = MaskedAutoencoder(small_encoder(), MAEDecoder(512, 1, 16))
    kernel = keras.ops.convert_to_numpy(mae.decoder.head.kernel)
    np.testing.assert_allclose(np.abs(kernel).max(), np.sqrt(6 / (512 + 48)), rtol=1e-3)  # the largest of 24,576
    token = keras.ops.convert_to_numpy(mae.decoder.mask_token)
    np.testing.assert_allclose(token.std(), 0.02, rtol=5 / np.sqrt(2 * 512))  # five standard errors
    assert isinstance(mae.target, PixelTarget) and not mae.target.normalize  # the defaults
    assert isinstance(mae.masking, RandomMasking) and mae.masking.mask_ratio == 0.75


NOISE, MASK = random_noise(3, 6), np.array([[1, 0, 0, 1, 1, 0]] * 3)
BAD_INPUTS = [
    ({"image": IMAGES}, 'holds "images" and at most one of "noise" and "mask"; got the keys \'image\''),
    ({"images": IMAGES, "masks": MASK}, "got the keys 'images', 'masks'"),
    ({"noise": NOISE}, "got the keys 'noise'"),
    ({"images": IMAGES, "noise": NOISE, "mask": MASK}, "got the keys 'images', 'noise', 'mask'"),
    ({"images": IMAGES, "noise": NOISE[:, :5]}, r"noise holds one number a patch.*\(batch, 6\) for the 2 x 3 grid"),
    ({"images": IMAGES, "noise": NOISE[0]}, r"noise holds one number a patch.*got \(6,\)"),
    ({"images": IMAGES, "mask": MASK[..., None]}, r"mask holds one number a patch.*got \(3, 6, 1\)"),
    ({"images": IMAGES, "noise": NOISE[:2]}, r"noise holds one number a patch.*got \(2, 6\)"),
    ({"images": IMAGES, "mask": MASK[:1]}, r"mask holds one number a patch.*got \(1, 6\)"),
    ({"images": IMAGES, "mask": np.array([[1, 0, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0], [0] * 6])}, "same number of ones"),
    ({"images": IMAGES, "mask": np.ones((3, 6))}, "at least one visible patch"),
    ({"images": IMAGES, "mask": 0.5 * np.ones((3, 6))}, r"holds 0 \(visible\) and 1 \(masked\)"),
    (IMAGES[..., :1], r"expected images of shape \(batch, 8, 12, 3\), got \(3, 8, 12, 1\)"),
    (IMAGES[0], r"expected images of shape \(batch, 8, 12, 3\), got \(8, 12, 3\)"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD_INPUTS)
def test_bad_inputs(inputs, message):
    mae = small_mae()
    for call in (mae, lambda given: mae.batch_loss(given, SEED, training=True)):
        with pytest.raises(ValueError, match=message):
            call(inputs)


def test_a_mask_in_training_has_the_samplers_count():
    mae, mask = small_mae(mask_ratio=0.5), np.array([[1, 0, 0, 1, 0, 0]] * 3)
    with pytest.raises(ValueError, match=r"3 visible patches a row were expected; got rows with \[4\]"):
        mae.batch_loss({"images": IMAGES, "mask": mask}, SEED, training=True)
    assert mae({"images": IMAGES, "mask": mask})["mask"].shape == (3, 6)  # a call takes any


def test_bad_mask_ratios():
    mae = small_mae()
    for wrong in (1.0, -0.1):
        with pytest.raises(ValueError, match=r"a mask ratio lies in \[0, 1\)"):
            mae(IMAGES, mask_ratio=wrong)
    with pytest.raises(ValueError, match="0.9 leaves none of the 6 patches visible"):
        mae(IMAGES, mask_ratio=0.9)
    with pytest.raises(ValueError, match="0.9 leaves none of the 6 patches visible"):
        small_mae(mask_ratio=0.9)  # known when the model is made, before any data is read


def test_images_in_zero_to_one_are_warned_of_once():
    mae = small_mae()
    with pytest.warns(UserWarning, match=r"these look like \[0, 1\]"):
        mae(IMAGES.astype("float32") / 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mae(IMAGES.astype("float32") / 255)


def masks_of(call, times=4):
    return [call(IMAGES, training=True)["mask"].numpy() for _ in range(times)]


@pytest.mark.parametrize("graph", [False, True])
def test_a_training_loop_of_ones_own_draws_the_masks_of_fit(graph):
    """Call n draws what step n of `fit` draws; calls without `training` draw what they always do."""
    mae = small_mae(seed=4)
    expected = [mae.mask(IMAGES, seed=ExampleSeed.of(4, step))[1].mask for step in range(4)]
    fixed = mae(IMAGES)["mask"].numpy()
    np.testing.assert_array_equal(masks_of(tf.function(mae) if graph else mae), expected)
    assert len({mask.tobytes() for mask in map(np.asarray, expected)}) > 1
    np.testing.assert_array_equal(mae(IMAGES)["mask"], fixed)
    assert int(mae.training_calls) == 4
    given = mae(IMAGES, training=True, seed=ExampleSeed.of(4, 2))["mask"]
    np.testing.assert_array_equal(given, expected[2])
    assert int(mae.training_calls) == 4  # a call with a seed counts for nothing


def test_a_training_loop_of_ones_own_repeats_by_seed():
    runs = [np.array(masks_of(small_mae(seed=seed))) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()


@pytest.mark.medium
def test_drop_path_of_a_loop_of_ones_own_repeats_by_seed():
    first, again = (
        [mae({"images": IMAGES, "noise": NOISE}, training=True)["prediction"].numpy() for _ in range(3)]
        for mae in (small_mae(num_layers=2, drop_path_rate=0.5, seed=3) for _ in range(2))
    )
    np.testing.assert_array_equal(first, again)
    assert len({prediction.tobytes() for prediction in first}) > 1


def test_the_count_of_calls_is_in_a_checkpoint(tmp_path):
    mae, other = small_mae(), small_mae()
    whole = masks_of(small_mae(), 4)
    masks_of(mae, 2)
    path = tf.train.Checkpoint(model=mae).save(str(tmp_path / "state"))
    tf.train.Checkpoint(model=other).restore(path)
    np.testing.assert_array_equal(masks_of(other, 2), whole[2:])
    assert not any("training_calls" in weight.path for weight in mae.weights)


@pytest.mark.medium
def test_a_ratio_that_is_set_between_two_fits_is_taken():
    """Also by functions that were compiled with the one before."""
    mae = small_mae(mask_ratio=0.5)
    mae.compile(optimizer="sgd", jit_compile=False)
    make = (mae.make_train_function, mae.make_test_function, mae.make_predict_function)
    np.testing.assert_array_equal(np.sum(mae.predict(IMAGES, verbose=0)["mask"], axis=1), 3)

    def made():
        """The functions that `fit`, `evaluate` and `predict` would run."""
        for function in make:
            function()
        return mae.train_function, mae.test_function, mae.predict_function

    before = made()
    assert made() == before
    mae.masking.mask_ratio = 0.8
    assert not {*made()} & {*before}
    np.testing.assert_array_equal(np.sum(mae.predict(IMAGES, verbose=0)["mask"], axis=1), 5)
