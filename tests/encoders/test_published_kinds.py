"""What other published ViTs have: more prefix tokens, rotary positions, gates and norms, and no biases."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.encoders.prefix import prefix_sizes
from keras_mae.export import export_encoder
from keras_mae.layers.rotary_positions import RotaryPositions
from keras_mae.models import ImageClassifier, ViTEncoder
from tests.base import PLANES, random_images, small_encoder, small_mae, small_simmim, weights_of, without_keys
from tests.contracts import EncoderContract

IMAGES = random_images(3, (8, 12, 3))
LEARNED = {"position_embedding": "learned", "layer_scale": 0.1}
DINOV3 = {
    "num_registers": 2,
    "position_embedding": None,
    "rotary_temperature": 100.0,
    "key_bias": False,
    "layer_scale": 0.1,
}
KINDS = {
    "registers with positions": {**LEARNED, "num_registers": 2, "num_prefix_positions": 3},
    "DINOv2 with registers": {**LEARNED, "num_registers": 2, "gated_mlp": True},
    "no_embed_class": {**LEARNED, "num_prefix_positions": 0},
    "DINOv3": DINOV3,
    "DINOv3, gated": {**DINOV3, "gated_mlp": True},
    "Pixio": {"num_cls_tokens": 3, "position_embedding": "learned"},
    "CLIP": {"pre_norm": True, "position_embedding": "learned"},
    "qk-norm": {"qk_norm": True, "qkv_bias": False, "rotary_temperature": 10.0, "relative_position_bias": "shared"},
    "registers alone": {"num_cls_tokens": 0, "num_registers": 2},
}


@pytest.fixture(scope="module", params=KINDS)
def encoder(request):
    return small_encoder(**KINDS[request.param])


class TestManyOfThem(EncoderContract):
    def make(self, **arguments):
        return made_of_them_all(functools.partial(small_encoder, num_layers=2, **arguments))


def test_patches_in_another_order_are_the_same_patches(encoder):
    ids = np.random.default_rng(0).permuted(np.tile(np.arange(6), (3, 1)), axis=1)
    prefix, patches = encoder.encode(IMAGES)
    shuffled = encoder.encode(IMAGES, ids_keep=ids)
    # sums in another order
    np.testing.assert_allclose(shuffled.patches, np.take_along_axis(patches.numpy(), ids[..., None], 1), atol=1e-5)
    np.testing.assert_allclose(shuffled.prefix, prefix, atol=1e-5)


def test_the_class_token_is_the_mean_of_class_tokens_and_never_a_register(encoder):
    prefix, patches = (part.numpy() for part in encoder.encode(IMAGES))
    count = encoder.num_cls_tokens
    mean = patches.mean(axis=1)
    expected = prefix[:, :count].mean(axis=1) if count else mean
    np.testing.assert_allclose(encoder(IMAGES)["cls_token"], expected, atol=1e-6)
    np.testing.assert_allclose(encoder.features(IMAGES, "cls"), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.features(IMAGES, "both"), np.concatenate([expected, mean], 1), atol=1e-6)
    assert encoder.features(IMAGES, "cls", layer=1).shape == (3, 16)
    assert ImageClassifier(encoder, 3, "both")(IMAGES).shape == (3, 3)


def test_another_image_size(encoder):
    """The same weights at the same grid again, and rotations of the new grid."""
    there = encoder.with_image_shape((16, 8, 3))
    assert there(random_images(1, (16, 8, 3)))["patch_tokens"].shape == (1, 8, 16)
    if encoder.position_embedding != "sincos":  # which here has random numbers, and would be computed anew
        same = encoder.with_image_shape((8, 12, 3))
        np.testing.assert_array_equal(same(IMAGES)["cls_token"], encoder(IMAGES)["cls_token"])
    if encoder.rotary_temperature is not None:
        expected = RotaryPositions((4, 2), 8, encoder.rotary_temperature, encoder.num_prefix_tokens)()
        np.testing.assert_array_equal(there.rotary_positions().sine, expected.sine)
    if encoder.position_embedding == "learned":
        rows = encoder.num_prefix_positions
        np.testing.assert_array_equal(there.positions.table[:rows], encoder.positions.table[:rows])


def test_every_weight_has_one_slot_and_one_group(encoder):
    slots = {slot.name: slot.variable for slot in encoder.slots()}
    statistics = {"vit_encoder/positions/table"}  # of sin-cos
    assert {v.path for v in slots.values()} == {v.path for v in encoder.weights}
    grouped = [variable.path for group in encoder.layer_groups() for variable in group]
    assert sorted(grouped) == sorted(v.path for v in encoder.trainable_variables)
    assert {v.path for v in encoder.weights} - set(grouped) <= statistics
    decayed = set(grouped) - {variable.path for variable in encoder.no_weight_decay()}
    assert all(path.endswith(("kernel", "relative_positions_0/table")) for path in decayed)
    half = {v.path for v in encoder.weights} - {v.path for v in encoder.outside_of_last_layers(0.5)}
    assert {path.split("/")[-2] for path in half} - {"mlp_scale"} == {"norm2", "mlp_hidden", "mlp_output", "norm"}


def test_owners_of_slots():
    owners = {slot.owner: slot.variable.shape for slot in TestManyOfThem().make().slots()}
    assert owners["encoder.cls_token"] == (1, 2, 16) and owners["encoder.registers"] == (1, 2, 16)
    block = "encoder.blocks.1"
    assert {"encoder.norm_pre", f"{block}.attention.q_norm", f"{block}.attention.k_norm"} <= set(owners)
    names = [slot.name for slot in small_encoder(pre_norm=True, qkv_bias=False).slots()]
    assert not {"encoder.patch_projection.bias", "encoder.blocks.0.attention.qkv.bias"} & set(names)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_positions_of_the_first_prefix_tokens(count):
    """A position is added to its token: the same numbers in the tokens give the same features."""
    encoder = small_encoder(num_registers=2, num_prefix_positions=count, position_embedding="learned")
    assert encoder.positions.table.shape == (count + 6, 16)
    other = small_encoder(num_registers=2, num_prefix_positions=0, position_embedding="learned")
    tokens = np.concatenate([encoder.cls_token.numpy(), encoder.registers.numpy()], axis=1)
    tokens[0, :count] += encoder.positions.table.numpy()[:count]
    for variable, source in zip(other.weights, encoder.weights, strict=True):
        variable.assign(source.numpy()[count:] if variable is other.positions.table else source)
    other.cls_token.assign(tokens[:, :1])
    other.registers.assign(tokens[:, 1:])
    for ours, theirs in zip(encoder.encode(IMAGES), other.encode(IMAGES), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_norm_before_the_blocks_normalises_every_token():
    encoder = small_encoder(pre_norm=True, num_registers=2, num_prefix_positions=0, layer_norm_epsilon=1e-3)
    assert encoder.patch_projection.bias is None
    x = encoder.positions(encoder.patch_projection(encoder.normalize_pixels(encoder.patchify(IMAGES)))).numpy()
    prefix = np.concatenate([encoder.cls_token.numpy(), encoder.registers.numpy()], axis=1)
    x = np.concatenate([np.repeat(prefix, 3, axis=0), x], axis=1).astype("float64")
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3)
    x = x * encoder.norm_pre.gamma.numpy() + encoder.norm_pre.beta.numpy()
    expected = encoder.norm(encoder.blocks[0](x.astype("float32")))
    np.testing.assert_allclose(encoder.encode(IMAGES).patches, expected[:, 3:], atol=1e-5)


def test_config_of_an_earlier_version():
    config = small_encoder().get_config()
    for old, new in ((True, 1), (False, 0)):
        there = {key: value for key, value in config.items() if key in _OF_THE_EARLIER} | {"use_cls_token": old}
        assert ViTEncoder.from_config(there).get_config() == small_encoder(num_cls_tokens=new).get_config()


_OF_THE_EARLIER = {
    *(
        "name",
        "trainable",
        "dtype",
        "image_shape",
        "mean",
        "std",
        "patch_size",
        "hidden_dim",
        "num_layers",
        "num_heads",
    ),
    *("mlp_dim", "drop_path_rate", "position_embedding", "position_temperature", "relative_position_bias"),
    *("layer_scale", "layer_norm_epsilon"),
}


def test_bad_arguments():
    message = r"num_prefix_positions is 0, .* \(0, 1, 5 here\), or None; got 2"
    with pytest.raises(ValueError, match=message):
        ViTEncoder((8, 12, 3), 4, num_registers=4, num_prefix_positions=2)
    for wrong in (-1, 1.5, None):
        with pytest.raises(ValueError, match=f"num_registers is an integer from 0, got {wrong}"):
            prefix_sizes(1, wrong, None)
    with pytest.raises(ValueError, match="rotary positions need heads of a width divisible by 4"):
        small_encoder(hidden_dim=12, num_heads=2, rotary_temperature=100.0)


def made_of_them_all(method):
    return method(**DINOV3, num_cls_tokens=2, gated_mlp=True, qk_norm=True, pre_norm=True)


@pytest.mark.medium
@pytest.mark.parametrize("method", [small_mae, small_simmim])
def test_a_step_of_pretraining_trains_all_but_the_keys_bias(method):
    model = made_of_them_all(method)
    before = [variable.numpy() for variable in model.trainable_variables]
    model.compile(optimizer=keras.optimizers.AdamW(1e-2, weight_decay=0.5), run_eagerly=True)  # no graph to build
    model.train_on_batch(IMAGES)
    bias = model.encoder.blocks[0].attention.qkv.bias.numpy()
    np.testing.assert_array_equal(bias, without_keys(bias))
    for old, variable in zip(before, model.trainable_variables, strict=True):
        moved = variable.numpy() != old
        assert moved.all() if variable.path.endswith("kernel") else moved.any(), variable.path


@pytest.mark.slow
def test_steps_in_a_graph_and_compiled_whole():
    """Three steps give the same weights, with kernels and without."""
    weights = []
    for arguments in ({"run_eagerly": True}, {}, {"jit_compile": True}):
        model = made_of_them_all(small_mae)
        model.compile(optimizer=keras.optimizers.SGD(1e-2), **arguments)
        for _ in range(3):
            model.train_on_batch(IMAGES)
        weights.append(weights_of(model))
    for eager, *others in zip(*weights, strict=True):
        for other in others:
            np.testing.assert_allclose(other, eager, rtol=0, atol=1e-5)  # sums in another order


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("format", ["savedmodel", "onnx", "litert", "openvino"])
def test_serving_files(format, tmp_path):
    encoder, images = made_of_them_all(functools.partial(small_encoder, PLANES, num_layers=2)), random_images(3, PLANES)
    path = export_encoder(encoder, str(tmp_path), format=format)  # compares the other formats' files with the encoder
    if format == "savedmodel":
        served = tf.saved_model.load(path).signatures["features"](images=tf.constant(images))
        for name, expected in encoder(images).items():
            np.testing.assert_allclose(served[name], expected, atol=1e-5)


@pytest.mark.medium
def test_blocks_that_compute_their_activations_twice_have_the_same_gradients():
    encoder, ids = made_of_them_all(small_encoder), np.array([[4, 0, 5], [1, 2, 3], [5, 4, 0]], "int32")
    variables, gradients = [variable.value for variable in encoder.trainable_variables], []
    for again in (False, True):
        encoder.rematerialize = again

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(encoder.encode(IMAGES, ids_keep=ids, training=True).patches ** 2)
            return tape.gradient(loss, variables)

        gradients.append(step())
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)  # sums in another order
