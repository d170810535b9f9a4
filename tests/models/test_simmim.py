"""SimMIM: its loss by hand, what it takes, how it is assembled, saved and compiled, and bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.encoders import Tokens
from keras_mae.encoders.presets import SIMMIM_PRESETS
from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import unpatchify
from keras_mae.masking import Mask, RandomMasking, UnitMasking
from keras_mae.models import ImageClassifier, LinearDecoder, MAEDecoder, MaskedAutoencoder, SimMIM, ViTEncoder
from keras_mae.optimizers import adamw
from keras_mae.targets import PixelTarget
from tests.base import fill_randomly, geometry, random_images, random_noise, small_encoder, small_simmim, weights_of

IMAGES = random_images(3, (8, 12, 3))
MASK = np.array([[1, 0, 0, 1, 1, 0], [0, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0]], "float32")
SEED = ExampleSeed.of(0, 0)


def test_output():
    simmim = small_simmim()
    outputs = simmim(IMAGES)
    assert sorted(outputs) == ["mask", "prediction"]
    assert outputs["prediction"].shape == (3, 6, 48) and outputs["prediction"].dtype == tf.float32
    np.testing.assert_array_equal(np.sum(outputs["mask"], axis=1), 3)
    noise = random_noise(3, 6)
    np.testing.assert_array_equal(simmim({"images": IMAGES, "noise": noise})["mask"], noise >= 0.5)


@pytest.mark.parametrize("normalize", [False, True])
def test_loss_by_hand(normalize):
    """Every number of the formula written out: the mask has one value a pixel, and the error one a channel."""
    simmim = small_simmim(normalize=normalize)
    prediction = simmim({"images": IMAGES, "mask": MASK})["prediction"]
    target = unpatchify(simmim.target(IMAGES), (8, 12, 3), 4).numpy().astype("float64")
    predicted = unpatchify(prediction, (8, 12, 3), 4).numpy().astype("float64")
    pixels = MASK.reshape(3, 2, 3).repeat(4, axis=1).repeat(4, axis=2).astype("float64")  # (B, H, W)
    assert pixels.sum() == 3 * 3 * 16
    expected = np.sum(np.abs(target - predicted) * pixels[..., None]) / (pixels.sum() + 1e-5) / 3
    loss = simmim.batch_loss({"images": IMAGES, "mask": MASK}, SEED, training=True)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    labelled = simmim.batch_loss(({"images": IMAGES, "mask": MASK}, np.arange(3)), SEED, training=True)
    np.testing.assert_array_equal(labelled, loss)


def test_loss_is_zero_if_nothing_is_masked():
    assert float(small_simmim(mask_ratio=0.0).batch_loss(IMAGES, SEED, training=True)) == 0.0


def test_what_is_hidden_has_no_influence_on_the_prediction():
    simmim, mask = small_simmim(), np.array([[0, 0, 0, 1, 1, 1]] * 3)
    changed = IMAGES.copy()
    changed[:, 4:] = random_images(3, (4, 12, 3), seed=8)  # the lower row of patches
    inputs = [{"images": images, "mask": mask} for images in (IMAGES, changed)]
    np.testing.assert_array_equal(*(simmim(one)["prediction"] for one in inputs))
    # without a mask the encoder sees them, and its output is not that of the mask tokens
    assert np.abs(simmim.encoder(IMAGES)["patch_tokens"] - simmim.encoder(changed)["patch_tokens"]).max() > 0.1


def test_the_mask_token_belongs_to_the_model():
    simmim = small_simmim()
    assert simmim.mask_token.shape == (1, 1, 16)
    assert not [weight for weight in simmim.encoder.weights if weight is simmim.mask_token]
    before = simmim({"images": IMAGES, "mask": MASK})["prediction"].numpy()
    simmim.mask_token.assign(np.zeros((1, 1, 16)))
    assert np.abs(simmim({"images": IMAGES, "mask": MASK})["prediction"] - before).max() > 1e-3


def test_masks_in_units_are_masks_of_patches():
    encoder = small_encoder((16, 24, 3))
    simmim = SimMIM(encoder, UnitMasking(unit=8, mask_ratio=0.5))
    mask = simmim(random_images(4, (16, 24, 3)))["mask"].numpy()
    assert mask.shape == (4, 24)
    np.testing.assert_array_equal(mask.sum(axis=1), 12)
    units = mask.reshape(4, 2, 2, 3, 2).transpose(0, 1, 3, 2, 4).reshape(4, 6, 4)
    np.testing.assert_array_equal(units, units[..., :1].repeat(4, axis=-1))


@pytest.mark.parametrize("normalize", [False, True])
def test_reconstruct(normalize, monkeypatch):
    simmim = small_simmim(normalize=normalize)
    result = simmim.reconstruct(IMAGES, mask=MASK)
    hidden = MASK.reshape(3, 2, 3).repeat(4, axis=1).repeat(4, axis=2) > 0
    np.testing.assert_array_equal(result["reconstruction"].numpy()[~hidden], IMAGES[~hidden])
    np.testing.assert_array_equal(result["masked_images"].numpy()[hidden], 127.5)
    other = simmim.reconstruct(np.where(hidden[..., None], IMAGES // 9, IMAGES), mask=MASK)
    name = "reconstruction_from_visible" if normalize else "reconstruction"  # what is masked plays no part in these
    np.testing.assert_array_equal(result[name], other[name])
    monkeypatch.setattr(simmim, "decode", lambda tokens, mask: simmim.target(IMAGES))
    perfect = simmim.reconstruct(IMAGES, mask=MASK)["reconstruction"]
    np.testing.assert_allclose(perfect, IMAGES.astype("float32"), atol=2e-3)  # float32 at 255, there and back


def test_predicting_masked_patches_only_is_the_same_prediction():
    simmim = small_simmim()
    images, mask = simmim.mask({"images": IMAGES, "mask": MASK})
    tokens = simmim.encode(images, mask)
    everything = simmim.decode(tokens, mask).numpy()
    expected = np.take_along_axis(everything, mask.ids_masked.numpy()[..., None], axis=1)
    np.testing.assert_allclose(simmim.decode(tokens, mask, mask.ids_masked), expected, atol=1e-6)


@pytest.mark.medium
@pytest.mark.parametrize("num_layers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_fit_with_everything(num_layers):
    """Drop path, shared bias, gains, accumulation, clipping: eagerly; compiled, with rematerialised blocks, as well."""
    histories = []
    for compiled in (False, True):
        simmim = small_simmim(num_layers=num_layers)
        simmim.encoder.blocks[-1].drop_path.rate = 0.2
        simmim.encoder.rematerialize = compiled
        how = {"jit_compile": True} if compiled else {"run_eagerly": True}
        simmim.compile(optimizer=adamw(simmim, 1e-2), accumulation_steps=2, clip_norm=5.0, **how)
        history = simmim.fit(IMAGES[:2], epochs=3, batch_size=2, shuffle=False, verbose=0).history["loss"]
        assert history[-1] < history[0]
        histories.append(history)
    np.testing.assert_allclose(*histories, rtol=1e-4)  # three steps of Adam, which amplifies round-off


@pytest.mark.slow
def test_gradients_by_xla():
    simmim = small_simmim(num_layers=2)

    def gradients(images):
        with tf.GradientTape() as tape:
            loss = simmim.batch_loss({"images": images, "mask": MASK}, SEED, training=True)
        return [loss, *map(tf.convert_to_tensor, tape.gradient(loss, simmim.trainable_variables))]

    for one, other in zip(gradients(IMAGES), tf.function(gradients, jit_compile=True)(IMAGES), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_layer_groups_cover_every_trainable_variable_once():
    simmim = small_simmim(num_layers=2)
    groups = simmim.layer_groups()
    named = [id(variable) for group in groups for variable in group]
    assert sorted(named) == sorted(id(variable) for variable in simmim.trainable_variables)
    assert [v.path.rpartition("/")[-1] for v in groups[0]] == ["kernel", "bias", "cls_token"]
    assert [v.path.rpartition("/")[-1] for v in groups[-2]] == ["gamma", "beta", "table"]  # norm, shared positions
    excluded = {id(variable) for variable in simmim.no_weight_decay()}
    decayed = [v.path.rpartition("/")[-1] for v in simmim.trainable_variables if id(v) not in excluded]
    assert set(decayed) == {"kernel", "table"}  # SimMIM decays tables of relative positions


def test_presets():
    small = {"image_shape": (64, 64, 3), "hidden_dim": 24, "num_layers": 1, "num_heads": 2}
    published = SimMIM.from_preset("simmim_vit_base_patch16", seed=4, **small)
    encoder = published.encoder
    assert encoder.positions.weights == [] and encoder.relative_position_bias == "shared" and published.seed == 4
    np.testing.assert_array_equal(encoder.blocks[0].attention_scale.gamma, np.full(24, np.float32(0.1)))
    assert published.masking.get_config() == {"unit": 32, "mask_ratio": 0.6}
    plain = SimMIM.from_preset("simmim_plain_vit_base_patch16", **small)
    assert plain.encoder.position_embedding == "learned" and plain.encoder.relative_positions == []
    assert plain.masking.get_config() == {"unit": 32, "mask_ratio": 0.5}
    other = SimMIM.from_preset("simmim_plain_vit_base_patch16", UnitMasking(16, 0.8), PixelTarget(True), **small)
    assert other.masking.unit == 16 and other.target.normalize
    for name in SIMMIM_PRESETS:  # the encoder alone, for its classifiers
        assert ViTEncoder.from_preset(name, **small).hidden_dim == 24
    classifier = ImageClassifier.from_preset(
        "simmim_vit_base_patch16", 5, relative_position_bias="per_block", **{**small, "num_layers": 3}
    )
    assert len(classifier.encoder.relative_positions) == 3
    with pytest.raises(
        ValueError, match="no SimMIM preset is called 'simmim_vit_bas'; did you mean simmim_vit_base_pa"
    ):
        SimMIM.from_preset("simmim_vit_bas")


def test_size_of_the_published_model():
    """Counted by hand, with key biases, which the published one does not have."""
    simmim = SimMIM.from_preset("simmim_vit_base_patch16", num_layers=1)
    block = 12 * 768**2 + 13 * 768 + 2 * 768
    rest = 769 * 768 + 768 + (27 * 27 + 3) * 12 + 2 * 768  # patches, class token, table, norm
    assert simmim.encoder.count_params() == block + rest
    assert simmim.count_params() == block + rest + 768 + 769 * 768


def test_a_saved_model_comes_back_with_its_units(tmp_path):
    simmim = fill_randomly(SimMIM(small_encoder((16, 24, 3), relative_position_bias="per_block"), UnitMasking(8, 0.5)))
    simmim.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, SimMIM) and loaded.masking.unit == 8
    for ours, theirs in zip(weights_of(simmim), weights_of(loaded), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    images = random_images(2, (16, 24, 3))
    np.testing.assert_array_equal(simmim(images)["prediction"], loaded(images)["prediction"])


def test_bad_input():
    simmim = small_simmim()
    with pytest.raises(ValueError, match="at most one of"):
        simmim({"images": IMAGES, "mask": MASK, "noise": MASK})
    with pytest.raises(ValueError, match=r"mask holds one number a patch, shape \(batch, 6\)"):
        simmim({"images": IMAGES, "mask": MASK[:, :5]})
    with pytest.raises(ValueError, match="same number of ones in every row"):
        simmim({"images": IMAGES, "mask": np.triu(np.ones((3, 6)))})
    with pytest.raises(ValueError, match="a unit is a multiple of the patch's height"):
        SimMIM(small_encoder(), UnitMasking(unit=6))
    with pytest.raises(ValueError, match="units of 32 pixels, 8 x 8 patches, do not fill a grid of 2 x 3"):
        SimMIM(small_encoder())  # the default is for large images


def test_a_linear_decoder_belongs_to_one_model_and_sees_every_patch():
    decoder = LinearDecoder()
    mask = Mask.from_noise(random_noise(2, 6), 3)
    with pytest.raises(ValueError, match="a decoder needs to know the model's sizes: pass it to a model"):
        decoder(Tokens(np.zeros((2, 1, 16), "float32"), np.zeros((2, 6, 16), "float32")), mask)
    decoder = LinearDecoder()
    decoder.attach(geometry(target_dim=48))
    decoder.attach(geometry(target_dim=48))
    with pytest.raises(ValueError, match="cannot serve one with .* make another decoder"):
        decoder.attach(geometry(target_dim=12))
    with pytest.raises(
        ValueError, match="needs a token for each of the 6 patches, and there are 3: give the encoder mask"
    ):
        MaskedAutoencoder(small_encoder(), LinearDecoder(), RandomMasking(0.5))(IMAGES)
    mae = MaskedAutoencoder(small_encoder(), LinearDecoder(), RandomMasking(0.5), mask_tokens_in_encoder=True)
    assert mae(IMAGES)["prediction"].shape == (3, 6, 48)  # with mask tokens in the encoder it does
    assert MAEDecoder is not LinearDecoder
