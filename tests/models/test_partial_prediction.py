"""A part of the masked patches predicted, and a loss on the visible ones: `predict_ratio` and `visible_weight`."""

import itertools
import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mae.example_seed import ExampleSeed
from keras_mae.masking import RandomMasking
from keras_mae.models import MAEDecoder, MaskedAutoencoder, SimMIM
from keras_mae.models.saved_files import load_model_file
from tests.base import fill_randomly, random_images, random_noise, small_encoder, small_simmim, weights_of
from tests.models.partial import DECODERS, assert_same_step, make, step_of

IMAGES, NOISE = random_images(3, (8, 16, 3)), random_noise(3, 8)  # 2 x 4 patches, of which 5 are masked
MASKS = (NOISE * 8 >= 3).astype("float32")
INPUTS = {"images": IMAGES, "noise": NOISE}
both_decoders = pytest.mark.parametrize("decoder", list(DECODERS))


@both_decoders
@pytest.mark.parametrize(("ratio", "count"), [(1.0, 5), (0.5, 2), (0.25, 1)])
def test_loss_and_every_gradient_against_pytorch(decoder, ratio, count):
    mae = make(decoder, predict_ratio=ratio)
    (ids,) = assert_same_step(mae, INPUTS, MASKS)
    assert ids.shape == (3, count) and np.take_along_axis(MASKS, ids, axis=1).all()


@both_decoders
@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_with_mask_tokens_in_the_encoder(decoder, ratio):
    """All tokens are there: the decoder adds none, and a part is a choice among its outputs."""
    mae = make(decoder, predict_ratio=ratio, mask_tokens_in_encoder=True)
    unused = [mae.decoder.mask_token.path] if decoder == "plain" else []
    assert_same_step(mae, INPUTS, MASKS, unused=unused)


@both_decoders
@pytest.mark.parametrize("inside", [False, True])
def test_loss_on_visible_patches_against_pytorch(decoder, inside):
    mae = make(decoder, visible_weight=0.1, mask_tokens_in_encoder=inside)
    unused = [mae.decoder.mask_token.path] if inside and decoder == "plain" else []
    places = assert_same_step(mae, INPUTS, MASKS, visible_weight=0.1, unused=unused)
    assert sorted(places[1][0]) == np.flatnonzero(MASKS[0] == 0).tolist()


@both_decoders
def test_visible_patches_count_by_their_weight(decoder):
    """At weight w the loss is masked + w visible: linear in w, and at 0 that of the plain model."""
    losses = []
    for weight in (0.0, 0.1, 1.0):
        losses.append(float(step_of(make(decoder, visible_weight=weight), INPUTS)[0]))
    assert losses[0] == float(step_of(make(decoder), INPUTS)[0])
    # a tenth of the difference, in float32
    np.testing.assert_allclose((losses[1] - losses[0]) / (losses[2] - losses[0]), 0.1, rtol=1e-4)


def test_the_number_of_predicted_patches():
    mae = make()
    for mask_ratio, masked in ((0.875, 7), (0.6, 5), (0.5, 4), (0.125, 1)):
        for ratio in (1.0, 0.9, 1 / 3, 0.25, 0.01):
            mae.masking.mask_ratio, mae.predict_ratio = mask_ratio, ratio
            (ids,) = step_of(mae, IMAGES)[1]
            assert ids.shape == (3, max(1, round(masked * ratio)))


@both_decoders
def test_without_masked_patches_the_loss_is_zero(decoder):
    mae = make(decoder, mask_ratio=0.0, predict_ratio=0.5)
    assert float(mae.batch_loss(IMAGES, ExampleSeed.of(0, 0), training=True)) == 0.0
    seen = make(decoder, mask_ratio=0.0, visible_weight=0.5)
    assert float(seen.batch_loss(IMAGES, ExampleSeed.of(0, 0), training=True)) > 0.1


def numbered(count):
    """Images of 4 x 6 pixels, each a patch, where a patch's level is its number, and a tiny model of them."""
    images = np.tile(10 * np.arange(24, dtype="uint8").reshape(1, 4, 6, 1), (count, 1, 1, 1))
    return images, small_encoder((4, 6, 1), 1, hidden_dim=4, num_heads=1, mlp_dim=4)


def tiny(encoder, **arguments):
    settings = {"hidden_dim": 4, "num_layers": 1, "num_heads": 1, "mlp_dim": 4}
    return make(encoder=encoder, normalize=False, settings=settings, **arguments)


def test_every_set_of_masked_patches_is_chosen_equally_often():
    """2 of 4 masked ones: 6 sets. False-alarm rate: 6 x P(|z| > 5) = 3.4e-6, were the seed drawn anew."""
    images, encoder = numbered(6000)
    mask = np.zeros((6000, 24), "float32")
    mask[:, [3, 8, 9, 20]] = 1
    mae = tiny(encoder, mask_ratio=4 / 24, predict_ratio=0.5)
    (ids,) = step_of(mae, {"images": images, "mask": mask})[1]
    sets, counts = np.unique(np.sort(ids, axis=1), axis=0, return_counts=True)
    assert sets.tolist() == [list(pair) for pair in itertools.combinations([3, 8, 9, 20], 2)]
    z = (counts - 1000) / np.sqrt(6000 * 1 / 6 * 5 / 6)
    assert np.abs(z).max() < 5, counts
    # and from one example to the next as by chance: two neighbours agree in a sixth of all cases
    same = (np.sort(ids, axis=1)[1:] == np.sort(ids, axis=1)[:-1]).all(axis=1).sum()
    assert abs(same - 1000) / np.sqrt(6000 * 5 / 36) < 5


def test_every_patch_is_predicted_equally_often_under_drawn_masks():
    """And which patches are predicted says nothing of which are masked beside them."""
    images, encoder = numbered(6000)
    mae = tiny(encoder, mask_ratio=0.75, predict_ratio=1 / 3)
    (ids,) = step_of(mae, images)[1]
    counts, share = np.bincount(ids.ravel(), minlength=24), 6 / 24
    assert np.abs((counts - 6000 * share) / np.sqrt(6000 * share * (1 - share))).max() < 5, counts
    _, mask = mae.mask(images, seed=ExampleSeed.of(0, 0))
    predicted = np.zeros((6000, 24))
    np.put_along_axis(predicted, ids, 1, axis=1)
    left, right = mask.mask.numpy(), np.roll(predicted, 1, axis=1)  # a patch predicted, and its neighbour masked
    given = (left * right).sum() / right.sum()
    # 17 of the other 23 patches are masked; 36,000 predicted ones, somewhat dependent
    assert abs(given - 17 / 23) < 0.015


def test_the_choice_is_a_function_of_seed_step_and_masked_patches():
    mae = make(predict_ratio=0.5)
    first = np.sort(step_of(mae, INPUTS)[1][0], axis=1)
    np.testing.assert_array_equal(np.sort(step_of(mae, INPUTS)[1][0], axis=1), first)
    # the same patches masked, named by a mask, or by noise of another order
    again = NOISE[:, ::-1].argsort(axis=1).argsort(axis=1) / 100
    others = [{"mask": MASKS}, {"mask": MASKS.astype(bool)}, {"noise": np.where(MASKS > 0, 0.9 + again, again)}]
    for other in others:
        found = step_of(mae, {"images": IMAGES, **other})[1][0]
        np.testing.assert_array_equal(np.sort(found, axis=1), first)
    many = {"images": random_images(40, (8, 16, 3)), "mask": np.tile(MASKS[:1], (40, 1))}
    chosen = [np.sort(step_of(mae, many, seed, step)[1][0], axis=1) for seed, step in ((0, 0), (0, 1), (1, 0))]
    for one, other in itertools.combinations(chosen, 2):
        assert 10 < (one != other).any(axis=1).sum()  # a tenth of 40 would be the same by chance
    assert len(np.unique(chosen[0], axis=0)) > 5  # of the ten sets of 2 in 5


def test_evaluation_predicts_the_same_part():
    mae = make(predict_ratio=0.5)
    for training in (True, False):
        assert step_of(mae, INPUTS, training=training)[1][0].shape == (3, 2)


@both_decoders
def test_calls_and_pictures_are_of_all_patches(decoder):
    mae, whole = make(decoder, predict_ratio=0.25), make(decoder)
    np.testing.assert_array_equal(mae(INPUTS)["prediction"], whole(INPUTS)["prediction"])
    shown, expected = mae.reconstruct(IMAGES, NOISE), whole.reconstruct(IMAGES, NOISE)
    np.testing.assert_array_equal(shown["reconstruction"], expected["reconstruction"])
    mae.compile(run_eagerly=True)
    predicted = mae.predict(INPUTS, verbose=0)
    assert predicted["prediction"].shape == (3, 8, 48)
    np.testing.assert_array_equal(predicted["mask"], MASKS)


def shallow(decoder, **arguments):
    """One layer each, for what is traced several times."""
    encoder = small_encoder((8, 16, 3), position_embedding="learned")
    return make(decoder, encoder=encoder, settings={"num_layers": 1}, **arguments)


@pytest.mark.medium
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_fit_evaluate_and_another_mask_ratio(jit_compile):
    """The graphs of `fit` and `evaluate` are those of the ratio of the moment; compiled by XLA as well."""
    mae = shallow("plain", predict_ratio=0.5)
    mae.compile(keras.optimizers.SGD(0.01), jit_compile=jit_compile)
    for mask_ratio in (0.6, 0.25):
        mae.masking.mask_ratio = mask_ratio
        mae.masked_loss.targets.clear()
        mae.fit(IMAGES, batch_size=3, verbose=0)
        mae.evaluate(IMAGES, batch_size=3, verbose=0)
        masked = 8 - int(8 * (1 - mask_ratio))
        assert {target.shape[1] for target in mae.masked_loss.targets} == {max(1, round(masked / 2))}


@pytest.mark.medium
def test_ratio_and_weight_may_be_set_between_two_fits():
    mae = shallow("cross", predict_ratio=0.5)
    mae.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    for ratio, weight, predicted in ((0.5, 0.0, {2}), (1.0, 0.5, {5, 3})):
        mae.predict_ratio, mae.visible_weight = ratio, weight
        for run in (mae.fit, mae.evaluate):
            mae.masked_loss.targets.clear()
            run(IMAGES, batch_size=3, verbose=0)
            assert {target.shape[1] for target in mae.masked_loss.targets} == predicted


def test_ratio_and_weight_are_checked_when_they_are_set():
    mae = make(predict_ratio=0.5)
    for name, wrong, said in (
        ("predict_ratio", 7.0, r"\(0, 1\]"),
        ("visible_weight", -1, r"\[0, 1\]"),
        ("visible_weight", 0.1, "set predict_ratio=1"),
    ):
        with pytest.raises(ValueError, match=said):
            setattr(mae, name, wrong)
    assert (mae.predict_ratio, mae.visible_weight) == (0.5, 0.0)


def test_a_part_is_of_masked_patches():
    """A visible patch among a part would get the prediction of a mask token in its place."""
    mae = make()
    images, mask = mae.mask(INPUTS)
    tokens = mae.encode(images, mask)
    with pytest.raises(ValueError, match="only if all of them are masked: leave ids out"):
        mae.decode(tokens, mask, mask.ids_keep[:, :2])


@pytest.mark.medium
@pytest.mark.parametrize(
    ("decoder", "jit_compile"),
    [
        ("plain", True),
        ("cross", False),
        pytest.param("plain", False, marks=pytest.mark.slow),
        pytest.param("cross", True, marks=pytest.mark.slow),
    ],
)
def test_a_compiled_step_is_the_eager_one(decoder, jit_compile):
    losses, weights = [], []
    for arguments in ({"run_eagerly": True}, {"jit_compile": jit_compile}):
        mae = shallow(decoder, predict_ratio=0.5)
        mae.compile(keras.optimizers.SGD(0.1), **arguments)
        losses.append(mae.fit(IMAGES, epochs=2, batch_size=3, shuffle=False, verbose=0).history["loss"])
        weights.append(weights_of(mae))
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)  # float32 sums in another order, two steps


@pytest.mark.parametrize("wrong", [0, 0.0, -0.5, 1.5, True, None, "0.5", float("nan")])
def test_a_share_of_the_masked_patches(wrong):
    with pytest.raises(ValueError, match=r"predict_ratio .*\(0, 1\]") as error:
        make(predict_ratio=wrong)
    assert repr(wrong) in str(error.value)


@pytest.mark.parametrize("wrong", [-0.1, 1.5, True, None, "0.1", float("nan"), float("inf")])
def test_a_weight_of_the_visible_patches(wrong):
    with pytest.raises(ValueError, match=r"visible_weight .*\[0, 1\]") as error:
        make(visible_weight=wrong)
    assert repr(wrong) in str(error.value)


def test_a_part_and_visible_patches_exclude_each_other():
    with pytest.raises(ValueError, match="predict_ratio") as error:
        make(predict_ratio=0.5, visible_weight=0.1)
    assert "visible_weight" in str(error.value) and "0.5" in str(error.value) and "0.1" in str(error.value)


def test_simmim_predicts_what_it_masks():
    mae = small_simmim(mask_ratio=0.5)
    assert "predict_ratio" not in mae.get_config() and "visible_weight" not in mae.get_config()
    with pytest.raises((TypeError, ValueError), match="predict_ratio"):
        SimMIM(small_encoder(), RandomMasking(0.5), predict_ratio=0.5)


@pytest.mark.medium
@pytest.mark.parametrize("arguments", [{"predict_ratio": 0.5}, {"visible_weight": 0.1}])
def test_a_file_keeps_both_numbers(arguments, tmp_path):
    mae = make(**arguments)
    mae.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for model in (loaded, MaskedAutoencoder.from_config(mae.get_config())):
        assert model.get_config() == mae.get_config()
    assert arguments.items() <= loaded.get_config().items()
    losses = [float(step_of(model, INPUTS)[0]) for model in (mae, loaded)]
    assert losses[0] == losses[1]


@pytest.mark.medium
def test_a_file_of_earlier_versions(tmp_path):
    """Without the two numbers in its config: all masked patches, and no visible one."""
    encoder = small_encoder()
    mae = fill_randomly(MaskedAutoencoder(encoder, MAEDecoder(12, 1, 3, 20), RandomMasking(0.5)))
    mae.save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as new, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for member in new.namelist():
            content = new.read(member)
            if member == "config.json":
                config = json.loads(content)
                assert config["config"].pop("predict_ratio") == 1.0
                assert config["config"].pop("visible_weight") == 0.0
                content = json.dumps(config)
            old.writestr(member, content)
    images = random_images(2, (8, 12, 3))
    loaded = load_model_file(str(tmp_path / "old.keras"))
    np.testing.assert_array_equal(loaded(images)["prediction"], mae(images)["prediction"])
    assert (loaded.get_config()["predict_ratio"], loaded.get_config()["visible_weight"]) == (1.0, 0.0)


# each decoder on one replica, on two, and in two parts; the encoder's final norm has no gradient with `encoder_layers`
RUNS = [
    {"decoder": decoder, "settings": settings, "replicas": replicas, "accumulation_steps": parts}
    for decoder, settings in (("plain", {"num_layers": 1}), ("cross", {"num_layers": 1, "encoder_layers": (1, 2)}))
    for replicas, parts in ((1, 1), (2, 1), (1, 2))
]
SOME = [RUNS[0], RUNS[1], RUNS[3], RUNS[5]]


def children(which):
    from tests.forked import Child

    return Child(lambda: [one_run(**case) for case in {"some": SOME, "all": RUNS}[which]], devices=2).result()


def one_run(decoder, settings, replicas, accumulation_steps):
    strategy = tf.distribute.get_strategy()
    if replicas > 1:
        devices = [f"CPU:{index}" for index in range(replicas)]
        strategy = tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        encoder = small_encoder((8, 16, 3), num_layers=max(settings.get("encoder_layers", [1])))
        mae = make(decoder, encoder=encoder, settings=settings, predict_ratio=0.5)
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        mae.compile(optimizer, jit_compile=False, accumulation_steps=accumulation_steps, clip_norm=1.0)
    before = weights_of(mae)
    images = tf.data.Dataset.from_tensor_slices(random_images(16, (8, 16, 3))).batch(8, drop_remainder=True)
    losses = mae.fit(images, verbose=0, shuffle=False).history["loss"]
    moved = max(np.abs(one - other).max() for one, other in zip(before, weights_of(mae), strict=True))
    return {"loss": losses, "moved": float(moved), "weights": [weight.tolist() for weight in weights_of(mae)]}


@pytest.mark.medium
@pytest.mark.parametrize("which", ["some", pytest.param("all", marks=pytest.mark.slow)])
def test_replicas_and_parts_take_the_same_two_steps(which):
    """Weights to 1e-5: float32 sums in other parts. Another choice of patches would move them by far more."""
    from tests.base import run_forked

    process = run_forked("-m", "tests.forked", "tests.models.test_partial_prediction", which)
    assert process.returncode == 0, process.stderr[-4000:]
    runs = json.loads(process.stdout.split("RESULT", 1)[1])
    for start in range(0, len(runs), len(runs) // 2):  # those of one decoder
        whole, *others = runs[start : start + len(runs) // 2]
        assert whole["moved"] > 1e-2 and others
        for other in others:
            np.testing.assert_allclose(other["loss"], whole["loss"], rtol=1e-5)
            for one, expected in zip(other["weights"], whole["weights"], strict=True):
                np.testing.assert_allclose(one, expected, atol=1e-5)
