"""The encoder: outputs, hidden patches, other image sizes, freezing, initial weights and bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.layers import resize_position_embedding, sincos_position_embedding
from keras_mae.models import ViTEncoder
from tests.base import random_images, small_encoder, weights_of

IMAGES = random_images(3, (8, 12, 3))


def test_outputs_are_deterministic_even_in_training():
    encoder = small_encoder()
    outputs = encoder(IMAGES)
    assert outputs["cls_token"].shape == (3, 16) and outputs["patch_tokens"].shape == (3, 6, 16)
    for again in (encoder(IMAGES), encoder(IMAGES, training=True)):  # no drop path unless it is asked for
        np.testing.assert_array_equal(outputs["cls_token"], again["cls_token"])


def test_uint8_and_float_levels_are_the_same():
    encoder = small_encoder()
    for dtype in ("float32", "float64", "int32"):
        np.testing.assert_array_equal(encoder(IMAGES)["cls_token"], encoder(IMAGES.astype(dtype))["cls_token"])


def test_ids_keep_is_selecting_by_hand():
    encoder = small_encoder()
    ids = np.array([[4, 0, 5], [1, 2, 3], [5, 4, 0]], "int32")
    x = encoder.patch_projection(encoder.normalize_pixels(encoder.patchify(IMAGES))) + encoder.positions.table[1:]
    x = np.take_along_axis(x.numpy(), ids[..., None], axis=1)
    prefix = np.repeat((encoder.cls_token + encoder.positions.table[:1]).numpy(), 3, axis=0)
    x = tf.constant(np.concatenate([prefix, x], axis=1))
    for block in encoder.blocks:
        x = block(x)
    x = encoder.norm(x)
    outputs = encoder.encode(IMAGES, ids_keep=ids)
    # sums in another order: the projection multiplies three rows here, six there
    np.testing.assert_allclose(outputs.prefix, x[:, :1], atol=1e-5)
    np.testing.assert_allclose(outputs.patches, x[:, 1:], atol=1e-5)


def test_hidden_patches_have_no_influence():
    encoder, ids = small_encoder(), np.array([[0, 1, 3]] * 3)
    changed = IMAGES.copy()
    changed[:, :, 8:] = random_images(3, (8, 4, 3), seed=7)  # patches 2 and 5
    changed[:, 4:, 4:8] = 0  # patch 4
    outputs, others = encoder.encode(IMAGES, ids_keep=ids), encoder.encode(changed, ids_keep=ids)
    np.testing.assert_array_equal(outputs.patches, others.patches)
    assert (encoder(IMAGES)["cls_token"].numpy() != encoder(changed)["cls_token"].numpy()).any()


def test_without_a_class_token():
    encoder = small_encoder(num_cls_tokens=0)
    outputs = encoder(IMAGES)
    assert encoder.num_prefix_tokens == 0 and encoder.positions.table.shape == (6, 16)
    np.testing.assert_allclose(outputs["cls_token"], np.mean(outputs["patch_tokens"], axis=1), rtol=1e-6, atol=1e-6)


def test_drop_path_grows_with_depth_and_needs_training():
    encoder = small_encoder(num_layers=3, drop_path_rate=0.4)
    assert [block.drop_path_rate for block in encoder.blocks] == pytest.approx([0, 0.2, 0.4])
    np.testing.assert_array_equal(encoder(IMAGES)["cls_token"], encoder(IMAGES)["cls_token"])
    seeds = [ExampleSeed.of(0, step) for step in (0, 1)]
    draws = [encoder.encode(IMAGES, training=True, seed=seed).prefix.numpy() for seed in (*seeds, seeds[0])]
    assert (draws[0] != draws[1]).any()
    np.testing.assert_array_equal(draws[0], draws[2])


def test_inside_a_functional_model(tmp_path):
    encoder = small_encoder()
    inputs = keras.Input((8, 12, 3), dtype="uint8")
    model = keras.Model(inputs, keras.layers.Dense(2)(encoder(inputs)["cls_token"]))
    expected = model.layers[-1](encoder(IMAGES)["cls_token"])
    np.testing.assert_allclose(model(IMAGES), expected, atol=1e-6)  # the same operations
    model.save(tmp_path / "functional.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "functional.keras")(IMAGES), model(IMAGES))


def test_with_image_shape_makes_another_sincos_table():
    encoder = small_encoder()
    other = encoder.with_image_shape((16, 8, 3))
    assert other.grid == (4, 2) and other is not encoder
    np.testing.assert_array_equal(other.positions.table, sincos_position_embedding((4, 2), 16, 1))
    for ours, theirs in zip(encoder.weights, other.weights, strict=True):
        if ours is not encoder.positions.table:
            np.testing.assert_array_equal(ours, theirs)
    assert other(random_images(1, (16, 8, 3)))["patch_tokens"].shape == (1, 8, 16)
    warm = small_encoder(position_temperature=10.0).with_image_shape((16, 8, 3))
    np.testing.assert_array_equal(warm.positions.table, sincos_position_embedding((4, 2), 16, 1, temperature=10.0))


def test_with_image_shape_resizes_a_learned_table():
    encoder = small_encoder(position_embedding="learned", dtype="mixed_bfloat16")
    table = keras.ops.convert_to_numpy(encoder.positions.table)
    other = encoder.with_image_shape((16, 8, 3))
    np.testing.assert_array_equal(other.positions.table, resize_position_embedding(table, (2, 3), (4, 2), 1))
    assert other.get_config() == {**encoder.get_config(), "image_shape": (16, 8, 3)}
    same = encoder.with_image_shape((8, 12, 3))
    np.testing.assert_array_equal(same(IMAGES)["cls_token"], encoder(IMAGES)["cls_token"])


def test_no_weight_decay_is_biases_norms_tokens_and_positions():
    encoder = small_encoder(num_layers=2, position_embedding="learned")
    excluded = {variable.path for variable in encoder.no_weight_decay()}
    decayed = {v.path for v in encoder.trainable_variables} - excluded
    assert decayed == {v.path for v in encoder.weights if v.path.endswith("kernel")}
    assert len(decayed) == 1 + 2 * 4  # the patch projection, and four matrices a block


def test_initial_weights():
    encoder = ViTEncoder((32, 32, 3), 16, hidden_dim=768, num_layers=1, position_embedding="learned")
    block = encoder.blocks[0]

    def limit(kernel):
        return np.abs(keras.ops.convert_to_numpy(kernel)).max()

    # Xavier: sqrt(6 / (in + out)); the largest of 590,000 uniform numbers is within 1e-4 of the limit
    for kernel, fans in (
        (encoder.patch_projection.kernel, 768 + 768),
        (block.attention.qkv.kernel, 768 + 3 * 768),  # as one matrix
        (block.attention.projection.kernel, 768 + 768),
        (block.mlp_hidden.kernel, 768 + 3072),
        (block.mlp_output.kernel, 3072 + 768),
    ):
        np.testing.assert_allclose(limit(kernel), np.sqrt(6 / fans), rtol=1e-4)
    np.testing.assert_allclose(limit(encoder.patch_projection.kernel), 0.0625, rtol=1e-4)
    # the standard deviation of n numbers is known to 1 / sqrt(2 n): five of that
    for token in (encoder.cls_token, encoder.positions.table):
        values = keras.ops.convert_to_numpy(token)
        np.testing.assert_allclose(values.std(), 0.02, rtol=5 / np.sqrt(2 * values.size))
    for variable in encoder.weights:
        if variable.path.endswith(("bias", "beta")):
            np.testing.assert_array_equal(variable, 0)
        if variable.path.endswith("gamma"):
            np.testing.assert_array_equal(variable, 1)


def test_mean_and_std_defaults():
    assert small_encoder().normalize_pixels.mean == (0.485, 0.456, 0.406)
    gray = small_encoder((8, 12, 1)).normalize_pixels
    assert gray.mean == gray.std == (0.5,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (10, 12, 3)}, "divisible by the patch size: got images of 10 x 12 and patches of 4 x 4"),
        ({"image_shape": (8, 12)}, r"image_shape is \(height, width, channels\), got \(8, 12\)"),
        ({"num_heads": 3}, "divisible by num_heads: got hidden_dim=16 and num_heads=3"),
        ({"hidden_dim": 18, "num_heads": 3}, "a width divisible by 4, got 18"),
        ({"position_embedding": "rope"}, "one of sincos, learned, None; got 'rope'"),
        ({"mean": (0.5,)}, "one number a channel: got 1 for 3 channels"),
        ({"std": (0.5, 0.5, 0.0)}, "every std above 0"),
        ({"num_layers": 2, "drop_path_rate": 1.0}, r"a drop path rate lies in \[0, 1\)"),
        ({"patch_size": (4, 4, 4)}, "a patch size is a positive integer or a pair"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_encoder(**arguments)


@pytest.mark.parametrize(
    "shape", [(2, 8, 12, 1), (2, 8, 12, 4), (2, 12, 8, 3), (8, 12, 3), (2, 8, 12), (1, 2, 8, 12, 3)]
)
def test_images_of_another_shape(shape):
    message = r"expected images of shape \(batch, 8, 12, 3\), got .*with_image_shape"
    encoder, images = small_encoder(), random_images(1, shape)[0]
    with pytest.raises(ValueError, match=message):
        encoder(images)
    with pytest.raises(ValueError, match=message):
        encoder.encode(images, ids_keep=np.array([[0], [0]]))


def test_bad_arguments_of_encode():
    encoder, mask, token = small_encoder(), np.zeros((3, 6)), np.zeros((1, 1, 16), "float32")
    with pytest.raises(ValueError, match="ids_keep .* or mask .*, not both"):
        encoder.encode(IMAGES, ids_keep=np.zeros((3, 2), "int32"), mask=mask, mask_token=token)
    for arguments in ({"mask": mask}, {"mask_token": token}):
        with pytest.raises(ValueError, match="mask and mask_token go together"):
            encoder.encode(IMAGES, **arguments)
    with pytest.raises(ValueError, match="has 3 channels, cannot take 1"):
        encoder.with_image_shape((8, 12, 1))


def test_fresh_weights_differ_between_blocks():
    first, second = (weights_of(block) for block in ViTEncoder((8, 12, 3), 4, 16, 2, 2).blocks)
    assert (first[2] != second[2]).any()  # the qkv kernels
