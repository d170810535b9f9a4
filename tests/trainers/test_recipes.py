"""Every recipe loads, states its evidence, and takes a step once it is shrunk; the paper's are as published."""

import dataclasses
import functools
import importlib
import re

import numpy as np
import pytest
import tensorflow as tf

from keras_mae.data import ArraySource, open_source
from keras_mae.trainers import finetune, linear_probe, recipes, segment
from keras_mae.trainers.classifier_config import FinetuneConfig
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.model_parts import Cross, Transformer
from keras_mae.trainers.pretrain import build
from keras_mae.trainers.settings import replaced
from tests.base import weights_of
from tests.trainers.pretraining import of

OF = recipes.by_program()
IMAGENET = 1_281_167  # images to train on


def to_take_a_step(program):
    """The recipes of a program; those that are another's in a larger size, which is shrunk here, are slow."""
    names = recipes.names()
    slow = [name for name in OF[program] if re.sub("_(large|huge)$", "_base", name) in set(names) - {name}]
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in OF[program]]


@pytest.mark.parametrize("name", recipes.names())
def test_loads_and_states_its_evidence(name):
    config = recipes.load(name)
    documentation = importlib.import_module(f"keras_mae.trainers.recipes.{name}").__doc__
    for said in ("\nEvidence: ", "`keras-mae ", "\nDeviations from the paper: "):  # and the command
        assert said in documentation, f"{name} does not say {said!r}"
    assert recipes.title(name) == documentation.splitlines()[0]
    # the schedule is made, as the program does, for as many images as ImageNet has
    optimizer = config.optimizer
    schedule = optimizer.schedule(IMAGENET // optimizer.batch_size)
    np.testing.assert_allclose(schedule(schedule.warmup_steps), optimizer.peak_learning_rate, rtol=1e-6)  # float32


def test_every_recipe_is_for_one_program():
    assert sorted(name for names in OF.values() for name in names) == recipes.names()
    assert all(OF.values())


def narrow(decoder):
    """A decoder of the same kind with one block, behind an encoder of one."""
    layers = {"encoder_layers": (1,)} if getattr(decoder, "encoder_layers", None) else {}
    sizes = {"hidden_dim": 4 * decoder.num_heads, "num_layers": 1, "num_heads": 2}
    return dataclasses.replace(decoder, **sizes, **layers)


@pytest.mark.medium
@pytest.mark.parametrize("name", to_take_a_step("pretrain"))
def test_pretraining_takes_a_step(name):
    """With a narrow network, a few patches and a small batch; all else is the recipe's."""
    recipe = recipes.load(name)
    heads = recipe.encoder.num_heads or 12
    unit = getattr(recipe.masking, "unit", 0)
    config = replaced(
        recipe,
        image_size=tuple(max(4 * side, 2 * unit) for side in recipe.encoder.patch_size),  # 2 x 2 units of masks
        batch_size=4,
        **{"encoder.hidden_dim": 4 * heads, "encoder.num_layers": 1, "encoder.num_heads": heads},
        **({} if recipe.decoder is None else {"decoder": narrow(recipe.decoder)}),
    )
    mae = build(config)
    mae.compile(optimizer=config.optimizer.build(mae, steps=1), run_eagerly=True)
    before = weights_of(mae)
    images = np.random.default_rng(0).integers(0, 256, (8, *config.encoder.image_shape)).astype("uint8")
    history = mae.fit(images, batch_size=4, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert all(np.isfinite(after).all() for after in weights_of(mae))
    assert any((new != old).any() for new, old in zip(weights_of(mae), before, strict=True))


def test_the_same_seed_builds_the_same_model_and_another_builds_another():
    small = {"encoder.hidden_dim": 8, "encoder.num_layers": 1, "encoder.num_heads": 2}
    config = replaced(recipes.load("mae_digits"), **small)
    one, same, other = (weights_of(build(replaced(config, seed=seed))) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Images with labels, of 28 x 28 pixels."""
    path = tmp_path_factory.mktemp("data") / "squares.npz"
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28, 3)).astype("uint8")
    np.savez(path, images=images, labels=np.arange(12) % 6)
    return f"npz:{path}"


@pytest.fixture(scope="module")
def source(squares):
    return open_source(squares)


@functools.cache  # several recipes have the same data, whose graph takes more time than all else here
def first_batch(training):
    return next(iter(training.at()))


def toy(config, squares):
    """A narrow network of one block on one epoch of few images; all else is the recipe's."""
    of_one_block = {"num_trainable_layers": 0.5, "layer": 1}  # where the recipe chooses among them
    of_one_block = {key: value for key, value in of_one_block.items() if getattr(config.head, key, None)}
    of_one_block |= {"num_queries": 4} if config.head.pooling == "attentive" else {}
    return replaced(
        config,
        preset=config.encoder.preset or "vit_tiny_patch16",
        image_size=(28, 28),
        patch_size=(14, 14),
        hidden_dim=12,
        num_layers=1,
        num_heads=3,
        validation_data=squares,
        epochs=1,
        warmup_epochs=0.5,
        batch_size=6,
        jit_compile=False,
        **of_one_block,
    )


def step(classifier, optimizer, training):
    """One step of the recipe's optimizer on a batch of its data; graphs for each would take most of the time."""
    classifier.compile(optimizer=optimizer, run_eagerly=True)
    before = weights_of(classifier.head)
    dataset = tf.data.Dataset.from_tensors(first_batch(training))
    assert np.isfinite(classifier.fit(dataset, verbose=0).history["loss"][0])
    moved = [(new != old).any() for new, old in zip(weights_of(classifier.head), before, strict=True)]
    assert any(moved) and all(np.isfinite(weight).all() for weight in weights_of(classifier))


@pytest.mark.medium
@pytest.mark.parametrize("name", to_take_a_step("finetune"))
def test_fine_tuning_takes_a_step(name, squares, source):
    """RandAugment, whose graph takes five seconds, is left out but of one, which is slow; `tests/data` have it."""
    config = toy(recipes.load(name), squares)
    if name != "finetune_vit_large":
        config = replaced(config, rand_augment=None)
    classifier = finetune.build(config, 6)
    optimizer = config.optimizer.build(classifier, steps=1)
    step(classifier, optimizer, finetune.prepared(classifier, config, source, source).training)


@pytest.mark.medium
@pytest.mark.parametrize("name", to_take_a_step("linear-probe"))
def test_probing_takes_a_step(name, squares, source):
    config = toy(recipes.load(name), squares)
    probe = linear_probe.build(config, 6)
    optimizer = config.optimizer.build(probe, steps=1)
    step(probe, optimizer, linear_probe.prepared(probe, config, source, source).training)


@pytest.mark.medium
@pytest.mark.parametrize("name", to_take_a_step("segment"))
def test_segmentation_takes_a_step(name):
    """In crops of the recipe's augmentation."""
    config = replaced(
        recipes.load(name), preset="vit_tiny_patch16", image_size=(16, 16), patch_size=(8, 8), hidden_dim=12,
        num_layers=1, num_heads=3, batch_size=4, epochs=2, warmup_epochs=0.5,
    )  # fmt: skip
    draw = np.random.default_rng(0)
    images, masks = draw.integers(0, 256, (4, 20, 24, 3)).astype("uint8"), draw.integers(0, 4, (4, 20, 24))
    segmenter = segment.build(config, 4)
    batch = first_batch(segment.training_data(segmenter, config, ArraySource(images, masks=masks)))
    segmenter.compile(optimizer=config.optimizer.build(segmenter, steps=1), run_eagerly=True)
    before = weights_of(segmenter.masks)
    assert np.isfinite(segmenter.fit(tf.data.Dataset.from_tensors(batch), shuffle=False, verbose=0).history["loss"][0])
    assert any((new != old).any() for new, old in zip(weights_of(segmenter.masks), before, strict=True))
    assert all(np.isfinite(weight).all() for weight in weights_of(segmenter))


def test_the_paper_s_recipe_for_ade20k():
    """Appendix A.4, and mmsegmentation's peak learning rate of 1e-4 for batches of 16."""
    config = recipes.load("segment_vit_base")
    assert config.optimizer.peak_learning_rate == pytest.approx(1e-4)
    assert (config.optimizer.epochs, config.optimizer.batch_size, config.encoder.image_size) == (100, 16, (512, 512))
    assert (config.optimizer.layer_decay, config.encoder.drop_path_rate) == (0.65, 0.1)
    steps = 20_210 // 16  # images of ADE20K to train on
    assert config.optimizer.schedule(steps).warmup_steps == pytest.approx(1500, rel=0.02)


def test_unknown_recipe_shows_the_near_ones():
    with pytest.raises(
        ValueError,
        match="no recipe is called 'mae_digit'; did you mean mae_digits or .* There are: auto, crossmae_vit_base, fi",
    ):
        recipes.load("mae_digit")
    with pytest.raises(
        ValueError,
        match="no recipe is called ''; there are: auto, crossmae_vit_base, finetune_digits, .*, simmim_vit_base$",
    ):
        recipes.load("")


def test_a_recipe_for_another_program():
    message = "mae_digits is a recipe for keras-mae pretrain, not for finetune; for that there are: finetune_digits, "
    with pytest.raises(ValueError, match=message):
        recipes.load("mae_digits", FinetuneConfig)
    assert recipes.load("mae_digits", PretrainConfig) == recipes.load("mae_digits")


@pytest.mark.parametrize(
    ("name", "preset", "patch"),
    [("base", "vit_base_patch16", 16), ("large", "vit_large_patch16", 16), ("huge", "vit_huge_patch14", 14)],
)
def test_the_papers_pretraining(name, preset, patch):
    """arXiv 2111.06377, table 8, and the defaults of section 3."""
    config = recipes.load(f"mae_vit_{name}")
    assert of(config, "preset image_size channels patch_size") == (preset, (224, 224), 3, (patch, patch))
    assert config.decoder == Transformer(hidden_dim=512, num_layers=8, num_heads=16)
    assert of(config, "encoder.hidden_dim encoder.num_layers encoder.num_heads") == (None, None, None)  # the preset's
    assert of(config, "method masking target") == ("mae", "random", "pixels")
    assert of(config, "mask_ratio normalize_target epochs warmup_epochs") == (0.75, True, 800, 40)
    assert of(config, "batch_size base_learning_rate weight_decay") == (4096, 1.5e-4, 0.05)
    assert of(config, "beta_2 crop_scale flip crop_ratio") == (0.95, (0.2, 1.0), True, 0.875)
    assert config.optimizer.peak_learning_rate == pytest.approx(2.4e-3, rel=1e-12)  # float64 round-off


def test_crossmae_s_pretraining():
    """arXiv 2401.14391: MAE's settings, but for the decoder."""
    config = recipes.load("crossmae_vit_base")
    assert config.decoder == Cross(512, 12, 16, encoder_layers=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12))
    assert of(config, "mask_ratio predict_ratio visible_weight") == (0.75, 1.0, 0.0)
    assert replaced(config, decoder=Transformer()) == recipes.load("mae_vit_base")


@pytest.mark.parametrize(("name", "drop_path"), [("base", 0), ("large", 0), ("huge", 0.4)])
def test_pixio_s_pretraining(name, drop_path):
    """arXiv 2512.15715, and the command for the huge one in its repository."""
    config = recipes.load(f"pixio_vit_{name}")
    assert of(config, "preset image_size patch_size") == (f"pixio_vit_{name}_patch16", (256, 256), (16, 16))
    assert of(config, "num_cls_tokens position_embedding drop_path_rate") == (8, "learned", drop_path)
    assert of(config, "encoder.hidden_dim encoder.num_layers encoder.num_heads") == (None, None, None)  # the preset's
    assert of(config, "method masking unit mask_ratio target normalize_target") == (
        *("mae", "units", 64, 0.75, "pixels", True),
    )
    assert config.decoder == Transformer(hidden_dim=512, num_layers=32, num_heads=16)
    assert of(config, "batch_size base_learning_rate weight_decay beta_2") == (8192, 2.5e-5, 0.05, 0.95)
    assert of(config, "crop_scale flip crop_ratio") == ((0.2, 1.0), False, 1.0)
    schedule = config.optimizer.schedule(13_153_500 // 8192)  # images of ImageNet-21k
    assert (schedule.warmup_steps, schedule.total_steps) == (40 * 1605, 400 * 1605)
    assert config.optimizer.peak_learning_rate == pytest.approx(8e-4, rel=1e-12)  # float64 round-off


@pytest.mark.parametrize(
    ("name", "preset", "epochs", "base_rate", "peak", "layer_decay", "drop_path"),
    [
        ("base", "vit_base_patch16", 100, 5e-4, 2e-3, 0.65, 0.1),
        ("large", "vit_large_patch16", 50, 1e-3, 4e-3, 0.75, 0.2),
        ("huge", "vit_huge_patch14", 50, 1e-3, 4e-3, 0.75, 0.3),
    ],
)
def test_the_papers_fine_tuning(name, preset, epochs, base_rate, peak, layer_decay, drop_path):
    """arXiv 2111.06377, table 9."""
    config = recipes.load(f"finetune_vit_{name}")
    assert of(config, "preset epochs warmup_epochs batch_size") == (preset, epochs, 5, 1024)
    assert of(config, "base_learning_rate min_learning_rate") == (base_rate, 1e-6)
    assert config.optimizer.peak_learning_rate == pytest.approx(peak, rel=1e-12)  # float64 round-off
    assert of(config, "weight_decay beta_2 layer_decay") == (0.05, 0.999, layer_decay)
    assert of(config, "drop_path_rate label_smoothing mixup cutmix") == (drop_path, 0.1, 0.8, 1.0)
    assert of(config, "rand_augment random_erasing pooling") == ((9.0, 0.5), 0.25, "mean")
    assert of(config, "crop_scale flip crop_ratio") == ((0.08, 1.0), True, 0.875)
    assert config.head.num_trainable_layers is None


@pytest.mark.parametrize(("name", "epochs"), [("base", 90), ("large", 50), ("huge", 50)])
def test_the_papers_probe(name, epochs):
    """arXiv 2111.06377, table 10."""
    config = recipes.load(f"probe_vit_{name}")
    assert of(config, "epochs warmup_epochs batch_size base_learning_rate") == (epochs, 10, 16384, 0.1)
    assert config.optimizer.peak_learning_rate == pytest.approx(6.4, rel=1e-12)  # float64 round-off
    assert of(config, "momentum weight_decay min_learning_rate") == (0.9, 0, 0)
    assert of(config, "crop_scale flip pooling") == ((0.08, 1.0), True, "cls")
    assert config.encoder.preset.startswith(f"vit_{name}_patch")
