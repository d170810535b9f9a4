"""The cross decoder against PyTorch in float64, and what no other decoder has: queries alone, and several memories."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mae.encoders import Encoder, Tokens
from keras_mae.example_seed import ExampleSeed
from keras_mae.masking import Mask, RandomMasking
from keras_mae.models import CrossDecoder, MAEDecoder, MaskedAutoencoder
from tests.base import fill_randomly, geometry, random_images, random_noise, small_encoder, weights_of
from tests.contracts import DecoderContract
from tests.models.partial import assert_same_step, make
from tests.reference import from_keras, numpy_mae, torch_mae
from tests.toys import ConvEncoder

IMAGES, NOISE = random_images(3, (8, 16, 3)), random_noise(3, 8)  # 2 x 4 patches, of which 5 are masked
MASKS = (NOISE * 8 >= 3).astype("float32")
INPUTS = {"images": IMAGES, "noise": NOISE}
SIZES = {"hidden_dim": 12, "num_layers": 2, "num_heads": 3, "mlp_dim": 20}
of_memories = pytest.mark.parametrize("layers", [None, (3,), (1, 3)])


class TestCrossDecoder(DecoderContract):
    def make(self, **arguments):
        return CrossDecoder(**SIZES, **arguments)


class TestInterBlockAttention(DecoderContract):
    def make(self, **arguments):
        return CrossDecoder(**SIZES, encoder_layers=(1, 2, 4), position_embedding="learned", **arguments)


def make_cross(layers=None, num_layers=3, encoder=None, **arguments):
    """A masked autoencoder with an encoder of three layers, every weight random."""
    if encoder is None:
        encoder = small_encoder((8, 16, 3), num_layers=num_layers, position_embedding="learned")
    return make("cross", encoder=encoder, settings={"encoder_layers": layers}, **arguments)


# each value of one with each of the two others
CASES = [
    (layers, ("sincos", "learned")[(number + prefix) % 2], prefix)
    for number, layers in enumerate([None, (3,), (1, 3)])
    for prefix in (0, 1, 3)
]


@pytest.mark.parametrize(("layers", "positions", "prefix"), CASES)
def test_prediction_against_pytorch(layers, positions, prefix):
    """For all patches, and for some in any order, several times the same among them."""
    encoder = small_encoder((8, 16, 3), num_layers=3, num_cls_tokens=prefix, position_embedding=positions)
    mae = make("cross", encoder=encoder, settings={"encoder_layers": layers, "position_embedding": positions})
    images, mask = mae.mask(INPUTS)
    tokens = mae.encode(images, mask)
    leaves = torch_mae.Leaves()
    weights = from_keras.encoder_weights(encoder, leaves), from_keras.cross_decoder_weights(mae.decoder, leaves)
    for ids in (None, [[7], [0], [3]], [[6, 0, 3], [1, 2, 7], [5, 4, 4]]):
        found = mae.decoder(tokens, mask, ids=None if ids is None else np.array(ids, "int32"))
        for number, image in enumerate(IMAGES):
            pixels = numpy_mae.normalize_pixels(image, encoder.normalize_pixels.mean, encoder.normalize_pixels.std)
            patches = torch_mae.torch.tensor(numpy_mae.patchify(pixels, 4, 4))
            after, final = torch_mae.encode(patches, weights[0], list(np.flatnonzero(MASKS[number] == 0)))
            wanted = range(8) if ids is None else ids[number]
            expected = torch_mae.cross_decode(after, final, weights[1], wanted, layers).detach().numpy()
            # float32, with epsilon 1.2e-7, through three blocks of the encoder and two of the decoder
            np.testing.assert_allclose(found[number], expected, atol=1e-5, rtol=1e-5)


@of_memories
@pytest.mark.parametrize("arguments", [{}, {"predict_ratio": 0.5}, {"mask_tokens_in_encoder": True}])
def test_loss_and_every_gradient_against_pytorch(layers, arguments):
    """Tokens of layers are those before the encoder's final norm, which has no part in the loss then.

    Nor has the weight of a single layer, as a LayerNorm follows: its gradient is round-off.
    """
    mae = make_cross(layers, **arguments)
    unused = [] if layers is None else [variable.path for variable in mae.encoder.norm.weights]
    assert_same_step(mae, INPUTS, MASKS, encoder_layers=layers, unused=unused)


@pytest.fixture(scope="module")
def models():
    return {layers: make_cross(layers) for layers in (None, (1, 3))}


@pytest.mark.parametrize("layers", [None, (1, 3)])
@settings(max_examples=8)
@given(data=st.data())
def test_a_prediction_does_not_depend_on_which_others_are_made(models, layers, data):
    mae = models[layers]
    images, mask = mae.mask(INPUTS)
    tokens = mae.encode(images, mask)
    everything = mae.decoder(tokens, mask).numpy()
    ids = np.array([data.draw(st.permutations(range(8))) for _ in range(3)], "int32")
    ids = ids[:, : data.draw(st.integers(1, 8))]
    found = mae.decoder(tokens, mask, ids=ids)
    # each number is the same sum; a product with fewer rows may take its parts in another order
    np.testing.assert_allclose(found, np.take_along_axis(everything, ids[..., None], axis=1), atol=2e-6)


@of_memories
def test_what_is_hidden_has_no_influence(layers):
    mae, noise = make_cross(layers), np.tile(np.arange(8, dtype="float32"), (3, 1))
    mae.masking.mask_ratio = 0.5
    changed = IMAGES.copy()
    changed[:, 4:] = random_images(3, (4, 16, 3), seed=8)  # the lower row of patches, all hidden
    one, other = (mae({"images": images, "noise": noise})["prediction"] for images in (IMAGES, changed))
    np.testing.assert_array_equal(one, other)
    seen = mae({"images": changed[:, ::-1], "noise": noise})["prediction"]
    assert (np.abs(seen - one) > 1e-3).any(axis=-1).all()  # and what is seen has, on every prediction


def test_hidden_patches_have_no_influence_through_mask_tokens():
    mae, noise = make_cross((1, 3), mask_tokens_in_encoder=True), np.tile(np.arange(8, dtype="float32"), (3, 1))
    mae.masking.mask_ratio = 0.5
    changed = IMAGES.copy()
    changed[:, 4:] = random_images(3, (4, 16, 3), seed=8)
    one, other = (mae({"images": images, "noise": noise})["prediction"] for images in (IMAGES, changed))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("wrong", [(0, 1), (2, 1), (1, 1), (), (-1,), (1.5,), ("1",), (True,), 3, "12"])
def test_layers_that_are_none(wrong):
    with pytest.raises(ValueError, match="encoder_layers") as error:
        CrossDecoder(**SIZES, encoder_layers=wrong)
    assert repr(wrong) in str(error.value) or repr(wrong).strip("()") in str(error.value)


@pytest.mark.parametrize("wrong", [(1, 4), (1, 2), (2,)])
def test_layers_that_are_not_the_encoders(wrong):
    """Beyond its last, or with layers after them, which would not be trained."""
    with pytest.raises(ValueError, match="encoder_layers end with the encoder's last layer, 3") as error:
        make_cross(wrong)
    assert str(wrong) in str(error.value)


def test_an_encoder_that_gives_no_layers():
    """One of one's own serves its output as before."""
    encoder = fill_randomly(ConvEncoder((8, 16, 3)))
    inside = {"mask_tokens_in_encoder": True}
    assert make_cross(None, encoder=encoder, **inside)(INPUTS)["prediction"].shape == (3, 8, 48)
    with pytest.raises(ValueError, match="ConvEncoder") as error:
        make_cross((1, 2), encoder=encoder, **inside)(INPUTS)
    assert "take a decoder of its output alone, with encoder_layers=None" in str(error.value)


def test_an_encoder_that_cannot_tell_its_layers():
    """`encode` alone is enough for a decoder of the output."""

    class Plain(ConvEncoder):
        def layer_groups(self):
            raise NotImplementedError

        num_layers = Encoder.num_layers  # counts the groups

        def __init__(self, image_shape):
            Encoder.__init__(self, image_shape, 4, 8)
            self.projection = keras.layers.Dense(8)
            self.build((None, *image_shape))

        def encode(self, images, ids_keep=None, **_):
            patches = self.projection(tf.gather(self.geometry.normalized_patches(images), ids_keep, batch_dims=1))
            return Tokens(patches[:, :0], patches)

        def build(self, input_shape):
            self.projection.build((None, None, self.geometry.values_per_patch))
            self._finish()

    for decoder in (MAEDecoder(12, 1, 3, 20), CrossDecoder(12, 1, 3, 20)):
        assert MaskedAutoencoder(Plain((8, 16, 3)), decoder)(INPUTS)["prediction"].shape == (3, 8, 48)


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="hidden_dim=12 and num_heads=5"):
        CrossDecoder(12, 1, 5)
    for name in ("hidden_dim", "num_layers", "num_heads", "mlp_dim"):
        with pytest.raises(ValueError, match=name):
            CrossDecoder(**{**SIZES, name: 0})


def test_mixing_weights_begin_with_the_variance_that_keeps_the_tokens():
    """Normal, of standard deviation 1 / sqrt(n), without bias: 64 x 4 draws tell it to 5 / 8 / sqrt(2 x 256)."""
    decoder = CrossDecoder(4, 4, 1, 4, encoder_layers=[*range(1, 65)])
    decoder.attach(geometry(target_dim=3))
    (mix,) = [v for v in decoder.weights if tuple(v.shape) == (64, 4)]
    assert abs(np.std(mix) - 1 / 8) < 0.11 / 4 and abs(np.mean(mix)) < 5 / 8 / 16
    assert np.abs(mix).max() > 1 / 4  # beyond twice the deviation: not truncated there


def test_groups_and_decay_cover_every_variable_once():
    mae = make_cross((1, 3))
    grouped = [id(variable) for group in mae.layer_groups() for variable in group]
    assert sorted(grouped) == sorted(id(variable) for variable in mae.trainable_variables)
    undecayed = {id(variable) for variable in mae.no_weight_decay()}
    decayed = {v.path for v in mae.trainable_variables if id(v) not in undecayed}
    kernels = {v.path for v in mae.weights if v.path.endswith("kernel")}
    assert [path.rpartition("/")[2] for path in decayed - kernels] == ["layer_weights"] and kernels <= decayed


@pytest.mark.medium
@pytest.mark.parametrize("layers", [None, (1,)])
def test_recomputed_activations_give_the_same_gradients(layers):
    def gradients(rematerialize):
        mae = make("cross", encoder=small_encoder((8, 16, 3)), settings={"num_layers": 1, "encoder_layers": layers})
        mae.encoder.rematerialize = mae.decoder.rematerialize = rematerialize
        assert mae.decoder.rematerialize == rematerialize

        def step():
            with tf.GradientTape() as tape:
                loss = mae.batch_loss(INPUTS, ExampleSeed.of(0, 0), training=True)
            return tape.gradient(loss, [v.value for v in mae.trainable_variables], unconnected_gradients="zero")

        return tf.function(step)() if rematerialize else step()

    for one, other in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.medium
@pytest.mark.parametrize(("layers", "policy"), [(None, "mixed_float16"), ((1, 2), "mixed_bfloat16")])
def test_training_in_mixed_precision(layers, policy):
    encoder = small_encoder((8, 16, 3), num_layers=2, dtype=policy)
    decoder = CrossDecoder(**{**SIZES, "num_layers": 1}, encoder_layers=layers, dtype=policy)
    mae = fill_randomly(MaskedAutoencoder(encoder, decoder, RandomMasking(0.6), predict_ratio=0.5))
    before = weights_of(mae)
    mae.compile(keras.optimizers.SGD(0.05), jit_compile=False)
    losses = mae.fit(IMAGES, batch_size=3, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and int(mae.skipped_steps) == 0
    assert all(np.isfinite(weight).all() for weight in weights_of(mae))
    assert any((one != other).any() for one, other in zip(before, weights_of(mae), strict=True))


@pytest.mark.medium
@pytest.mark.parametrize("layers", [None, (1, 3)])
def test_files_and_checkpoints_hold_every_weight(layers, tmp_path):
    mae = make_cross(layers, predict_ratio=0.5)
    mae.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == mae.get_config()
    assert loaded.decoder.encoder_layers == layers  # a tuple again, which JSON has not
    other = make_cross(layers, predict_ratio=0.5)
    for variable in other.weights:
        variable.assign(variable + 1.0)
    path = tf.train.Checkpoint(model=mae).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=other).restore(path).assert_existing_objects_matched()
    for model in (loaded, other):
        for one, two in zip(weights_of(mae), weights_of(model), strict=True):
            np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(model(INPUTS)["prediction"], mae(INPUTS)["prediction"])


def test_tokens_of_layers_are_those_of_a_whole_image_or_of_its_visible_patches():
    encoder = small_encoder((8, 16, 3), num_layers=3)
    maps = encoder.intermediates(IMAGES, [1, 3])
    for one, expected in zip(encoder.encode_layers(IMAGES, (1, 3)), maps, strict=True):
        assert one.prefix.shape == (3, 1, 16)
        np.testing.assert_array_equal(tf.reshape(one.patches, (3, 2, 4, 16)), expected)
    masked = {"ids_keep": Mask.from_noise(NOISE, 3).ids_keep}
    for arguments in (masked, {"mask": MASKS, "mask_token": tf.fill((1, 1, 16), 0.5)}):
        last, output = encoder.encode_layers(IMAGES, (3,), **arguments)[0], encoder.encode(IMAGES, **arguments)
        for one, expected in zip(last, output, strict=True):
            np.testing.assert_allclose(encoder.norm(one), expected, atol=1e-6)  # sums of other rows, in float32
    with pytest.raises(ValueError, match="layers are counted from 1 to 3"):
        encoder.encode_layers(IMAGES, (4,))
