"""Who trains what of an encoder that several models share, and what a user froze."""

import keras
import numpy as np
import pytest

from keras_mae.models import ImageClassifier, MAEDecoder, MaskedAutoencoder, SimMIM, ViTEncoder
from keras_mae.optimizers import adamw, layer_decay_scales
from keras_mae.targets import TokenTarget
from tests.base import fill_randomly, random_images, small_encoder, small_mae, small_simmim, weights_of

pytestmark = pytest.mark.medium

IMAGES, LABELS = random_images(4, (8, 12, 3)), np.array([0, 1, 2, 3])


def train(model, optimizer=None):
    """One step; the graph of each would take longer."""
    model.compile(optimizer=optimizer or keras.optimizers.SGD(0.1), run_eagerly=True)
    model.fit(IMAGES, LABELS, batch_size=4, verbose=0)


def moved(model, act):
    """The paths of the weights of `model` that calling `act` changes."""
    before = weights_of(model)
    act()
    return {v.path for v, old, new in zip(model.weights, before, weights_of(model), strict=True) if (old != new).any()}


def all_of(encoder):
    return {variable.path for variable in encoder.weights} - {"vit_encoder/positions/table"}  # sin-cos


def classifier_of(encoder, count=None):
    return fill_head(ImageClassifier(encoder, 4, num_trainable_layers=count))


def fill_head(classifier):
    fill_randomly(classifier.head)
    return classifier


def mae_of(encoder):
    return MaskedAutoencoder(encoder, MAEDecoder(12, 1, 3))


@pytest.mark.parametrize("order", [(None, 0, 0.5), (0, None, 0.5), (0.5, 0, None)], ids=str)
def test_a_selection_belongs_to_the_classifier_that_made_it(order):
    """Whatever was made before or after: each trains its own part, and pretraining all of it."""
    encoder = small_encoder(num_layers=2)
    first = mae_of(encoder)
    classifiers = {count: classifier_of(encoder, count) for count in order}
    last = small_simmim_of(encoder)
    mlp = ("vit_encoder/block_1/norm2", "vit_encoder/block_1/mlp", "vit_encoder/norm")
    expected = {
        None: all_of(encoder),
        0: set(),
        0.5: {path for path in all_of(encoder) if path.startswith(mlp)},
    }
    assert encoder.trainable and len(expected[0.5]) == 8
    assert {v.path for v in encoder.trainable_variables} == all_of(encoder)
    for count, classifier in classifiers.items():
        assert moved(encoder, lambda classifier=classifier: train(classifier)) == expected[count], count
    for model in (first, last):
        assert moved(encoder, lambda model=model: train(model)) == all_of(encoder)


def small_simmim_of(encoder):
    return fill_randomly(SimMIM(encoder, small_simmim().masking))


def test_two_autoencoders_share_an_encoder():
    encoder = small_encoder()
    one, other = mae_of(encoder), mae_of(encoder)
    for mae in (one, other, one):
        assert moved(encoder, lambda mae=mae: train(mae)) == all_of(encoder)


FROZEN = [
    (lambda encoder: setattr(encoder, "trainable", False), set()),
    (lambda encoder: setattr(encoder.blocks[0], "trainable", False), {"block_1", "norm", "patch_proj", "cls"}),
    (lambda encoder: setattr(encoder.cls_token, "trainable", False), {"block", "norm", "patch_proj"}),
]
# each part for each model, before and after it is made
WHEN = {
    "mae-before": (mae_of, "before", FROZEN),
    "mae-after": (mae_of, "after", FROZEN),
    "simmim-before": (small_simmim_of, "before", FROZEN[::2]),
    "simmim-after": (small_simmim_of, "after", FROZEN[1:2]),
    "classifier-before": (classifier_of, "before", FROZEN[1:2]),
    "classifier-after": (classifier_of, "after", FROZEN[::2]),
}


@pytest.mark.parametrize(("make", "when", "parts"), WHEN.values(), ids=WHEN)
def test_what_a_user_froze_stays_as_it_is(make, when, parts):
    for freeze, expected in parts:
        encoder = small_encoder(num_layers=2)
        if when == "before":
            freeze(encoder)
        model = make(encoder)
        if when == "after":
            freeze(encoder)
        paths = moved(encoder, lambda model=model: train(model, adamw(model, 0.01)))
        assert paths == {path for path in all_of(encoder) if path.split("/", 1)[1].startswith(tuple(expected))}


def test_a_frozen_encoder_is_not_thawed_by_a_selection():
    encoder = small_encoder(num_layers=2)
    encoder.blocks[1].attention.trainable = False
    classifier = classifier_of(encoder, 1)
    train(classifier)
    trained = {path for path in all_of(encoder) if path.startswith(("vit_encoder/block_1", "vit_encoder/norm"))}
    trained = {path for path in trained if "/attention/" not in path}
    assert moved(encoder, lambda: train(classifier)) == trained
    assert not encoder.blocks[1].attention.trainable


def test_a_frozen_classifier_trains_nothing():
    classifier = classifier_of(small_encoder())
    classifier.trainable = False
    assert classifier.trainable_variables == classifier.trainable_weights == []
    assert [group for group in classifier.layer_groups() if group] == classifier.no_weight_decay() == []


def test_a_frozen_head():
    """Patterns of an optimizer and of the decay's groups match what is trained, and no more."""
    classifier = classifier_of(small_encoder(), 1)
    classifier.head.trainable = False
    assert moved(classifier.head, lambda: train(classifier, adamw(classifier, 0.01, layer_decay=0.5))) == set()
    assert set(layer_decay_scales(classifier, 0.5)) == {v.path for v in classifier.trainable_variables}


@pytest.mark.parametrize(
    "make", [small_mae, small_simmim, lambda: small_mae_with_tokens()], ids=["mae", "simmim", "tokens"]
)
def test_a_frozen_token_or_decoder(make):
    model = make()
    token = model.mask_token if hasattr(model, "mask_token") else model.decoder.mask_token
    token.trainable = False
    model.decoder.trainable = False
    adamw(model, 0.01, layer_decay=0.5).build(model.trainable_variables)
    assert {v.path for v in model.trainable_variables} == {v.path for v in model.encoder.trainable_variables}


def small_mae_with_tokens():
    return MaskedAutoencoder(small_encoder(), MAEDecoder(12, 1, 3), mask_tokens_in_encoder=True)


def test_what_is_trained_and_what_is_not_are_all_weights():
    probe = classifier_of(small_encoder(), 0)
    assert probe.trainable_variables == probe.trainable_weights == probe.head.weights
    rest = {id(v) for v in probe.non_trainable_weights}
    assert rest == {id(v) for v in probe.weights} - {id(v) for v in probe.head.weights}
    assert rest == {id(v) for v in probe.non_trainable_variables}
    assert "Trainable params: 68 " in summary(probe)  # 16 x 4 and 4


def summary(model):
    lines = []
    model.summary(print_fn=lambda line, line_break=True: lines.append(line))
    return "\n".join(lines)


def test_a_frozen_constructor_freezes_all_of_it():
    """Keras' `trainable=False` alone does not reach the layers inside, and a model around them would train those."""
    encoder = ViTEncoder((8, 12, 3), 4, 16, 1, 2, trainable=False)
    mae = MaskedAutoencoder(encoder, MAEDecoder(12, 1, 3, trainable=False))
    assert mae.trainable_variables == []


FREEZES = {
    "all": lambda encoder: setattr(encoder, "trainable", False),
    "a block": lambda encoder: setattr(encoder.blocks[0], "trainable", False),
    "all but a block": lambda encoder: (
        setattr(encoder, "trainable", False),
        setattr(encoder.blocks[1], "trainable", True),
    ),
    "a layer": lambda encoder: setattr(encoder.blocks[1].attention, "trainable", False),
    "variables": lambda encoder: [setattr(v, "trainable", "bias" in v.path) for v in encoder.trainable_variables],
}


@pytest.mark.parametrize("freeze", FREEZES.values(), ids=FREEZES)
def test_copies_and_files_keep_what_was_frozen(freeze, tmp_path):
    encoder = small_encoder(num_layers=2, relative_position_bias="shared")
    encoder.relative_positions[0].trainable = False
    freeze(encoder)
    expected = {v.path: v.trainable for v in encoder.weights}
    blocks = [block.trainable for block in encoder.blocks]
    classifier = ImageClassifier(encoder, 4, num_trainable_layers=1)
    classifier.head.bias.trainable = False
    classifier.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {v.path for v in loaded.trainable_variables} == {v.path for v in classifier.trainable_variables}
    others = (
        loaded.encoder,
        ViTEncoder.from_config(encoder.get_config()),
        encoder.with_image_shape((16, 12, 3)),
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(mae_of(encoder))).encoder,
    )
    for other in others:
        assert {v.path: v.trainable for v in other.weights} == expected
        assert other.trainable == encoder.trainable and [block.trainable for block in other.blocks] == blocks
    per_block = encoder.with_relative_position_bias("per_block")
    assert not any(layer.table.trainable for layer in per_block.relative_positions)
    assert {v.path: v.trainable for v in per_block.weights if v.path in expected} == expected


def test_a_file_of_an_autoencoder_keeps_what_was_frozen_in_its_decoder(tmp_path):
    mae = small_mae()
    mae.decoder.blocks[0].trainable = False
    mae.save(tmp_path / "mae.keras")
    loaded = keras.saving.load_model(tmp_path / "mae.keras")
    assert [v.path for v in loaded.trainable_variables] == [v.path for v in mae.trainable_variables]
    assert not loaded.decoder.blocks[0].trainable and loaded.decoder.trainable


def test_an_optimizer_from_a_file_has_slots_for_the_selection_alone(tmp_path):
    classifier = classifier_of(small_encoder(num_layers=2), 0.5)
    train(classifier, keras.optimizers.Adam(0.01))
    classifier.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert len(loaded.optimizer.variables) == 2 + 2 * len(classifier.trainable_variables) == 2 + 2 * 10
    for one, other in zip(classifier.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    weight_decay = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    assert all(path.startswith(("vit_encoder/block_1/", "vit_encoder/norm/", "head/", "image_classifier/head/"))
               for path in moved(loaded, lambda: train(loaded, weight_decay)))  # fmt: skip


def test_a_selection_that_changes_after_compile_is_refused():
    """The step that was made would go on with the variables it knows."""
    mae = mae_of(small_encoder())
    train(mae)
    mae.encoder.trainable = False
    with pytest.raises(ValueError, match=r"trains has changed since it was compiled, \d+ .* now: call compile again"):
        mae.fit(IMAGES, verbose=0)
    with pytest.raises(ValueError, match="call compile again"):
        mae.train_on_batch(IMAGES)
    assert moved(mae.encoder, lambda: train(mae)) == set()


def test_a_tokenizer_is_left_as_it_is():
    tokenizer = keras.Sequential([keras.Input((8, 12, 3)), keras.layers.Conv2D(7, 4, 4), keras.layers.Reshape((6, 7))])
    mae = MaskedAutoencoder(small_encoder(), MAEDecoder(12, 1, 3), target=TokenTarget(tokenizer, 7))
    assert moved(tokenizer, lambda: train(mae)) == set()
    mae.trainable = False
    mae.trainable = True
    assert tokenizer.trainable and len(tokenizer.trainable_variables) == 2
    assert not {v.path for v in tokenizer.weights} & {v.path for v in mae.trainable_variables}
    tokenizer.trainable = False
    mae.trainable = True
    assert not tokenizer.trainable


@pytest.mark.parametrize("count", [-1, 2.5, 3, 0.25])
def test_layers_that_are_not_there(count):
    with pytest.raises(ValueError, match=f"a multiple of 0.5 up to 2; got {count}"):
        small_encoder(num_layers=2).outside_of_last_layers(count)


@pytest.mark.parametrize(
    ("count", "trainable"),
    [
        (None, {"stem", "block_0", "block_1", "block_2", "norm"}),
        (2, {"block_1", "block_2", "norm"}),
        (3, {"block_0", "block_1", "block_2", "norm"}),
        (0.5, {"mlp of block_2", "norm"}),
        (1.5, {"mlp of block_1", "block_2", "norm"}),
        (0, set()),
    ],
)
def test_the_last_layers(count, trainable):
    encoder = small_encoder(num_layers=3, position_embedding="learned")
    outside = {variable.path for variable in encoder.outside_of_last_layers(count)}
    expected = set()
    for variable in encoder.weights:
        part = variable.path.split("/")[1]
        is_mlp = any(name in variable.path for name in ("mlp", "norm2"))
        part = part if part.startswith("block") or part == "norm" else "stem"
        if part in trainable or (is_mlp and f"mlp of {part}" in trainable):
            expected.add(variable.path)
    assert {variable.path for variable in encoder.weights} - outside == expected
