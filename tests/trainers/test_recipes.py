"""Every recipe loads, states its evidence, and takes a step once its sizes are reduced."""

import dataclasses
import importlib

import numpy as np
import pytest

from keras_mae.optimizers import WarmupCosine, adamw
from keras_mae.trainers import recipes
from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.pretrain import build
from tests.base import weights_of


@pytest.mark.parametrize("name", recipes.names())
def test_loads_and_states_its_evidence(name):
    config = recipes.load(name)
    assert isinstance(config, PretrainConfig)
    documentation = importlib.import_module(f"keras_mae.trainers.recipes.{name}").__doc__
    assert "Evidence:" in documentation and "Deviations from the paper:" in documentation
    assert recipes.title(name) == documentation.splitlines()[0]
    assert 0 <= config.warmup_epochs < config.epochs


@pytest.mark.medium
@pytest.mark.parametrize("name", recipes.names())
def test_takes_a_step(name):
    """With a narrow network, a few patches and a small batch; all else is the recipe's."""
    recipe = recipes.load(name)
    config = dataclasses.replace(
        recipe,
        image_size=tuple(3 * side for side in recipe.patch_size),
        hidden_dim=4 * (recipe.num_heads or 12),
        num_layers=1,
        num_heads=recipe.num_heads or 12,
        decoder_hidden_dim=4 * recipe.decoder_num_heads,
        decoder_num_layers=1,
        batch_size=4,
    )
    mae = build(config)
    schedule = WarmupCosine(config.peak_learning_rate, 1, config.epochs)
    mae.compile(optimizer=adamw(mae, schedule, config.weight_decay, config.beta_2), jit_compile=False)
    before = weights_of(mae)
    images = np.random.default_rng(0).integers(0, 256, (8, *config.image_shape)).astype("uint8")
    history = mae.fit(images, batch_size=4, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert all(np.isfinite(after).all() for after in weights_of(mae))
    assert any((new != old).any() for new, old in zip(weights_of(mae), before, strict=True))


def test_the_same_seed_builds_the_same_model_and_another_builds_another():
    config = dataclasses.replace(recipes.load("mae_digits"), hidden_dim=8, num_layers=1, num_heads=2)
    one, same, other = (weights_of(build(dataclasses.replace(config, seed=seed))) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


def test_unknown_recipe_shows_the_near_ones():
    with pytest.raises(
        ValueError, match="no recipe is called 'mae_digit'; did you mean mae_digits.* There are: mae_di"
    ):
        recipes.load("mae_digit")
    with pytest.raises(
        ValueError, match="no recipe is called '' There are: mae_digits, mae_small_images, mae_vit_base"
    ):
        recipes.load("")


def test_the_papers_recipe():
    """arXiv 2111.06377, table 8, and the defaults of section 3."""
    config = recipes.load("mae_vit_base")
    assert (config.preset, config.image_shape, config.patch_size) == ("vit_base_patch16", (224, 224, 3), (16, 16))
    assert (config.decoder_hidden_dim, config.decoder_num_layers, config.decoder_num_heads) == (512, 8, 16)
    assert (config.mask_ratio, config.normalize_target, config.epochs, config.warmup_epochs) == (0.75, True, 800, 40)
    assert (config.batch_size, config.base_learning_rate, config.weight_decay) == (4096, 1.5e-4, 0.05)
    assert (config.beta_2, config.crop_scale, config.flip, config.crop_ratio) == (0.95, (0.2, 1.0), True, 0.875)
    assert config.peak_learning_rate == pytest.approx(2.4e-3, rel=1e-12)  # float64 round-off
